"""Every kind of measurement: one line each."""

from activities.trial_measuring.benchmark import Benchmarks
from activities.trial_measuring.kind import KindOfMeasurement
from activities.trial_measuring.queries import QueriesOnClones
from activities.trial_measuring.service import Services
from activities.trial_measuring.switched import SwitchedTargets
from perfwright.models.trial_run import TrialMeasurement

KINDS: tuple[KindOfMeasurement, ...] = (Benchmarks(), QueriesOnClones(), Services(), SwitchedTargets())


def kind_of(measurement: TrialMeasurement) -> KindOfMeasurement:
    """The kind that carries it out. Raises StopIteration for one that has no module yet."""
    return next(kind for kind in KINDS if isinstance(measurement, kind.spec))
