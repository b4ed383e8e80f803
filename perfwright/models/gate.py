"""Questions to people, and their answers.

A gate is opened with a `GateQuestion`; what is on show gets a digest; people answer with a `DecisionInput` by signal
(`approve`, `reject`, `request_changes`) or by the update `decide`. The state machine is `perfwright.analysis.gates`.
"""

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints

from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import RiskClass
from perfwright.models.vocabulary import Input, Model, ShortText

GateKind = Literal["review", "change", "keep"]
"""`review`: evidence is on show, nothing will change. `change`: exactly this will be applied. `keep`: keep the effect or undo it."""

Policy = Literal["ask", "notify", "auto"]
Action = Literal["approve", "reject", "request_changes"]
DecisionSource = Literal["signal", "update", "policy", "deadline"]
DecisionOutcome = Literal["approved", "rejected", "changes_requested", "unreviewed", "noted"]
"""`unreviewed`: a review nobody answered in time. `noted`: policy `notify` let the run go on; objections may still come."""

GateName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]


class GateQuestion(Model):
    """What is put before a person. Everything in it is bounded; large evidence is an artifact."""

    name: str
    kind: GateKind
    question: str
    """One sentence that ends with a question mark."""
    consequence: str
    """What approval will do, exactly."""
    evidence: tuple[str, ...] = ()
    """Short statements with numbers, in Markdown."""
    artifacts: tuple[ArtifactRef, ...] = ()
    exact_change: str = ""
    """The exact DDL, diff or command of a `change` gate."""
    risk: RiskClass = "observe"
    overrides: dict[str, str] = {}
    """What `request_changes` may override: field -> what it means. Empty: comments only."""
    quality_passed: bool | None = None
    """Whether the quality gates behind it passed; `auto` answers only when True."""

    def digest(self, revision: int) -> str:
        """Eight hex digits over the revision and all that is on show: the decision is bound to it."""
        shown = json.dumps([revision, self.model_dump(mode="json")], sort_keys=True)
        return hashlib.sha256(shown.encode()).hexdigest()[:8]


class GatePolicy(Model):
    """How a gate is answered here: read from the registry when the gate opens, and recorded."""

    policy: Policy = "ask"
    approvers: tuple[str, ...] = ()
    """Who may answer; empty: anyone."""
    self_approval: bool = True
    """False: the one who started the run does not approve it."""
    deadline_s: float = 86_400.0
    reminders: int = 2
    """How many reminders are sent before the deadline, evenly spaced; at most 10."""
    reason: str = ""
    """Why this policy: `environment lab: review = "notify"`."""


class DecisionInput(Input):
    """The one argument of `approve`, `reject` and `request_changes`."""

    gate: GateName
    """Which gate."""
    by: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Who decides."""
    comment: ShortText = ""
    """Why; a rejection and a request for changes need one."""
    digest: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{8}$")] | None = None
    """The eight characters shown with the gate; needed at `change` and `keep` gates."""
    overrides: Annotated[dict[str, Any], Field(max_length=32)] = {}
    """`request_changes` only: fields of the request to change."""
    decision_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """The sender's own id: a decision sent twice counts once."""


class Decision(Model):
    """An answer as it was taken."""

    gate: str
    revision: int
    digest: str
    outcome: DecisionOutcome
    by: str
    comment: str = ""
    overrides: dict[str, Any] = {}
    decision_id: str = ""
    source: DecisionSource
    at: str = ""
    """ISO 8601, UTC."""

    @property
    def wants_changes(self) -> bool:
        return self.outcome == "changes_requested"

    @property
    def refused(self) -> bool:
        return self.outcome == "rejected"


class RefusedDecision(Model):
    """A message that was not taken, and why: never lost silently."""

    message: str
    """Name of the signal or update."""
    reason: str
    gate: str = ""
    by: str = ""
    at: str = ""
    received: str = ""
    """What came, cut to 300 characters."""


class OpenGate(Model):
    """A gate as it stands, for queries, details and the inbox."""

    name: str
    kind: GateKind
    revision: int
    digest: str
    question: GateQuestion
    policy: GatePolicy
    opened_at: str
    deadline_at: str
    revisions_left: int = 0
