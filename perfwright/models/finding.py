"""What was observed, and what to do about it."""

from typing import Literal

from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import Change, RiskClass
from perfwright.models.measurement import Estimate
from perfwright.models.vocabulary import Model

Severity = Literal["critical", "high", "medium", "low", "information"]
SEVERITIES: tuple[Severity, ...] = ("critical", "high", "medium", "low", "information")
Confidence = Literal["high", "medium", "low"]
Effort = Literal["hours", "days", "weeks"]


class Location(Model):
    """Where: a line of code, a query, an index, an endpoint, a key pattern, a thread."""

    file: str | None = None
    line: int | None = None
    function: str | None = None
    thread: str | None = None
    query: str | None = None
    index: str | None = None
    endpoint: str | None = None
    key_pattern: str | None = None
    anchor: str = ""
    """Element of the report that shows it: `plan-1f0c8a7b6d5e4f32-3`, the node of a plan."""

    @property
    def title(self) -> str:
        """`pricing.py:41 match_rules`, or whatever of it is known."""
        place = f"{self.file}:{self.line}" if self.file and self.line else (self.file or "")
        rest = self.function or self.query or self.index or self.endpoint or self.key_pattern or self.thread or ""
        return f"{place} {rest}".strip()


class Evidence(Model):
    """A number a reader can check, and the artifact it was read from."""

    statement: str
    estimate: Estimate | None = None
    artifact: ArtifactRef | None = None


class Finding(Model):
    """Something observed. `id` is stable between runs of the same target: `hot-line:pricing.py:match_rules`."""

    id: str
    title: str
    severity: Severity
    summary: str
    cost: Estimate | None = None
    """What it costs now; findings are ordered by it."""
    locations: tuple[Location, ...] = ()
    evidence: tuple[Evidence, ...] = ()
    confidence: Confidence = "medium"


class Recommendation(Model):
    """What to do about findings, with the gain that can be expected and how it was derived."""

    id: str
    title: str
    finding_ids: tuple[str, ...]
    expected_gain: Estimate
    derivation: str
    """How the gain follows from the evidence: Amdahl, plan cost, hit-rate curve."""
    effort: Effort
    risk: RiskClass = "restart"
    score: float = 0.0
    """Gain over effort; recommendations are ordered by it."""
    brief: str = ""
    """Markdown that an engineer or an agent can act on: where, what was measured, what to try, how to check."""
    change: Change | None = None
