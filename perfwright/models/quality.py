"""Automatic checks. No data is never a pass."""

from typing import Literal

from perfwright.models.vocabulary import Model

QualityOutcome = Literal["passed", "failed", "no data", "waived"]


class QualityGate(Model):
    """A metric against a threshold, as it was judged."""

    name: str
    metric: str
    comparison: Literal["<=", ">=", "==", "<", ">"]
    threshold: float
    observed: float | None
    unit: str
    outcome: QualityOutcome
    note: str = ""
    waived_by: str = ""
    waived_at_gate: str = ""
