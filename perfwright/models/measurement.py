"""Numbers with their unit and uncertainty."""

from perfwright.models.vocabulary import Model


class Interval(Model):
    """A confidence interval, in the unit of the estimate it belongs to."""

    low: float
    high: float
    level: float = 0.95
    method: str = ""


class Estimate(Model):
    """A value with its unit and, where it was sampled, its interval."""

    value: float
    unit: str
    interval: Interval | None = None


class EnvironmentFingerprint(Model):
    """Where a measurement was taken; two measurements are compared only knowing whether this is equal."""

    host: str
    kernel: str
    cpu_model: str
    cpu_count: int
    memory_bytes: int
    runtime: str = ""
    """Runtime and version of the target: `CPython 3.11.7`."""
    software: dict[str, str] = {}
    """Tool -> version."""
