"""Questions to people, and their answers.

A gate is opened with a `GateQuestion`; what is on show gets a digest; people answer with a `DecisionInput` by signal
(`approve`, `reject`, `request_changes`) or by the update `decide`. The state machine is `perfwright.analysis.gates`.
"""

import hashlib
import json
import re
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

GATE_NAME_PATTERN = r"^[a-z][a-z0-9_]{0,62}$"
GateName = Annotated[str, StringConstraints(pattern=GATE_NAME_PATTERN)]


def is_gate_name(name: str) -> bool:
    """Small letters, digits and underscores, beginning with a letter, at most 63 characters."""
    return re.fullmatch(GATE_NAME_PATTERN[:-1], name) is not None


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

    @property
    def essence(self) -> str:
        """A hash over all that is on show."""
        return hashlib.sha256(json.dumps(self.model_dump(mode="json"), sort_keys=True).encode()).hexdigest()


def shown_digest(essence: str, revision: int) -> str:
    """Eight hex digits over the revision and all that is on show: decisions are bound to it."""
    return hashlib.sha256(f"{revision} {essence}".encode()).hexdigest()[:8]


class GatePolicy(Model):
    """How a gate is answered here: read from the registry when the gate opens, and recorded."""

    policy: Policy = "ask"
    essence: str = ""
    """Of the question that was put. Recorded with the policy, because decisions are bound to it: a later release may word the question
    differently, and still has to take the decisions of a run that is replayed."""
    approvers: tuple[str, ...] = ()
    """Who may answer; empty: anyone."""
    self_approval: bool = True
    """False: the one who started the run does not approve it."""
    deadline_s: float = 86_400.0
    reminders: int = 2
    """How many reminders are sent before the deadline, evenly spaced; at most 10."""
    reason: str = ""
    """Why this policy: `environment lab: review = "notify"`."""
    environment: str = ""
    """The environment it was read for."""
    approvers_required: bool = False
    """True: nobody approves unless the registry names approvers (production, `change` and `keep`)."""
    started_by: tuple[str, ...] = ()
    """Names that the one who started the run is known by."""
    notifies: bool = False
    """Whether notification addresses are configured."""


class GatePolicyQuery(Model):
    """What the policy of a gate depends on."""

    gate: str
    kind: GateKind
    environment: str
    risk: RiskClass = "observe"
    deadline_s: float
    """The deadline that the run asks for; an environment may shorten it."""
    essence: str = ""
    """Of the question that is put."""


class GateNotification(Model):
    """What is sent to the team's addresses when a gate opens, and as a reminder."""

    workflow_id: str
    run_id: str
    gate: str
    kind: GateKind
    question: str
    consequence: str
    evidence: tuple[str, ...] = ()
    target: str = ""
    environment: str = ""
    digest: str = ""
    deadline_at: str
    policy: Policy = "ask"
    reminder: int = 0
    """0: the gate has just opened; n: the n-th reminder."""


class NotificationOutcome(Model):
    """How sending went; addresses are secrets and never told, only their kind."""

    sent: int = 0
    failed: int = 0
    note: str = ""
    """What failed, by kind of address: `json: connection refused`."""


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


class DecideInput(DecisionInput):
    """The one argument of the update `decide`: a decision with its action."""

    action: Action
    """`approve`, `reject` or `request_changes`."""


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
    objection: bool = False
    """A rejection of a review that policy `notify` had let pass: the run went on, the report says so."""

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


GateStatus = Literal["open", "noted", "approved", "closed"]
"""`noted`: the run went on, objections are taken. `approved`: a `change` that a later rejection can still stop. `closed`: over."""


class HeldGate(Model):
    """One gate name over all its revisions, as the state machine keeps it."""

    name: str
    revision: int
    digest: str
    kind: GateKind
    status: GateStatus
    shown: OpenGate | None = None
    """What is on show; None once closed."""
    decision: Decision | None = None
    """The decision in force on this revision; None while open, and when withdrawn."""
    answer_taken: bool = False
    """Whether the process that asked has had its answer; a run may continue as new between the two."""
    requests: int = 0
    """Changes requested since the last final decision."""
    max_revisions: int = 0
    checks_overrides: bool = False
    """Whether the process checks overrides itself, beyond their names."""
    reminders_sent: int = 0
    earlier_digests: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    """Signatures of what was taken on this revision: an identical answer is a duplicate."""


class GateState(Model):
    """Everything a run knows about its gates: carried whole through continue-as-new."""

    gates: dict[str, HeldGate] = {}
    decisions: tuple[Decision, ...] = ()
    decisions_dropped: int = 0
    refused: tuple[RefusedDecision, ...] = ()
    refused_dropped: int = 0
    duplicates: int = 0
    seen: dict[str, str] = {}
    """decision_id -> signature of what was taken under it."""
