"""What every kind of measurement can do: open both sides once, then give one round after the other.

The loop around it (budget, looks, checkpoints, verdicts) is the same for all and stands in `measuring.py`. A new kind is one module with a
class like this, and one line in `kinds.py`.

A metric that is measured in parts (`wall_s/STATEMENT`) is judged as a whole by their weighted sums, or by a datum of the whole's name, and
each part by itself. Rounds may have an attribute `notes`, a tuple of sentences: what was left out, told with the evidence. In the phase
`watch` both sides are measured again, or B beside `order.reference`, what A cost in the trial.
"""

from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from perfwright.models.trial import RoundPlan
from perfwright.models.trial_run import Companion, MeasuringOrder
from perfwright.models.undo import UndoRecord


@dataclass(frozen=True)
class TrialSite(Site):
    """The site that kinds are given: also for those that switch a change on and off while they measure."""

    carrying_out: CarryingOut | None = None


@dataclass(frozen=True)
class Round:
    """What one round gave. In the phase `noise` both sides are A."""

    values: Mapping[str, tuple[float, float]]
    """Metric -> what A cost and what B cost."""
    data: Mapping[str, float] = field(default_factory=dict)
    """Metric -> log B / A, where that is not simply of the two values."""
    wall_s: float = 0.0
    void: str = ""
    """Why it does not count."""


class Rounds(Protocol):
    """Both sides, open."""

    async def measure(self, plan: RoundPlan, number: int) -> Round:
        """One round. Raises ToolFailed or ToolTimeout of a side."""
        ...

    async def companions(self) -> tuple[Companion, ...]:
        """Deterministic counts of both sides; none where there are none."""
        ...


class KindOfMeasurement(Protocol):
    """One kind. `spec` is what it takes."""

    spec: ClassVar[type[Any]]

    def opened(self, order: MeasuringOrder, record: UndoRecord | None, site: Site) -> AbstractAsyncContextManager[Rounds]:
        """Both sides for a phase, and nothing of them left at the end. `record`: of the applied change; None: both are A."""
        ...
