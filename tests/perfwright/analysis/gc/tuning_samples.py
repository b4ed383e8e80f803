"""Observations and samples, as short as can be said."""

from perfwright.analysis.gc.pauses import pause_table
from perfwright.models.gc_tuning import CollectorFacts, GcObservation, GcSample, Pause, PauseCause

MIB = 1 << 20
CPYTHON = CollectorFacts(runtime="python", collector="CPython", thresholds=(700, 10, 10))
G1 = CollectorFacts(runtime="jvm", collector="G1", heap_max_bytes=64 * MIB, region_bytes=MIB)


def sample(
    candidate: str, number: int = 0, *, p99: float = 100.0, share: float = 0.4, hz: float = 100.0, mib: float = 100.0, **more: object
) -> GcSample:
    given = {"pause_p99_ms": p99, "pause_max_ms": p99, "pause_share": share, "throughput_hz": hz, "memory_bytes": mib * MIB}
    return GcSample.model_validate(
        {"candidate": candidate, "round": number, "p50_ms": 1.0, "p99_ms": 10.0, "cpu_s": 1.0, "errors_share": 0.0} | given | more
    )


def seen(facts: CollectorFacts = CPYTHON, **sizes_ms: list[float]) -> GcObservation:
    """Ten seconds with these pauses; causes with underscores for blanks."""
    pauses = [Pause(at_s=1.0, ms=ms, cause=_cause(cause)) for cause, sizes in sizes_ms.items() for ms in sizes]
    return GcObservation(facts=facts, table=pause_table(pauses, 10.0))


def _cause(word: str) -> PauseCause:
    return word.replace("_", " ")  # type: ignore[return-value]
