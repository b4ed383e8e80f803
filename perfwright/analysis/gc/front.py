"""Which candidate: the Pareto front of p99 pause, throughput and memory, within what may be paid.

Every candidate was measured in the same rounds, so that ratios are taken within a round: what drifts from round to round cancels.
"""

import statistics
from collections.abc import Sequence

from perfwright.analysis.gc.pauses import LEAST_MS, NOTICED_MS
from perfwright.models.gc_tuning import GcSample, GcScore, GcSweep

AS_IS = ""
FEWEST_ROUNDS = 2
LEAST_GAIN = 0.2
"""Of the excess over the targets: a candidate that is not ahead by a fifth is not worth a trial."""
MORE_ERRORS = 0.001
SAME = 0.1
"""Two values this near are equal: with a few fresh servers each, one is not dominated for noise."""
LEAST_SHARE = 0.005
"""Shares of the time below it are equal, as are pauses that cannot be noticed."""


def score(samples: Sequence[GcSample], memory_limit_share: float, throughput_limit_share: float) -> tuple[GcScore, ...]:
    """A score for each candidate that was measured, with what it may not cost; what is comes first. Raises ValueError where that lacks."""
    baseline = {one.round: one for one in samples if one.candidate == AS_IS and not one.trouble}
    if not baseline:
        raise ValueError("nothing was measured as it is")
    names = list(dict.fromkeys(one.candidate for one in samples))
    scores = [_score(name, [one for one in samples if one.candidate == name], baseline) for name in names]
    now = next(one for one in scores if one.candidate == AS_IS)
    judged = [one if one.candidate == AS_IS else _allowed(one, now, memory_limit_share, throughput_limit_share) for one in scores]
    on_front = [one for one in judged if one.allowed]
    return tuple(
        sorted(
            (one.model_copy(update=_dominance(one, on_front)) if one.allowed else one for one in judged),
            key=lambda one: (one.candidate != AS_IS, not one.allowed, one.pause_p99_ms),
        )
    )


def choose(scores: Sequence[GcScore], pause_target_ms: float, share_target: float, preferred: Sequence[str] = ()) -> GcSweep:
    """The candidate on the front that is nearest to both targets; of those that are as near, the ones with the best throughput; of those,
    the first of `preferred`, in which the simpler settings come first."""
    now = next(one for one in scores if one.candidate == AS_IS)
    rivals = [one for one in scores if one.candidate != AS_IS and one.allowed and one.on_front]

    def excess(one: GcScore) -> float:
        return max(1.0, one.pause_p99_ms / pause_target_ms, one.pause_share / share_target)

    if not rivals:
        return GcSweep(scores=tuple(scores), reason="no candidate is within what may be paid and ahead in anything")
    near = [one for one in rivals if excess(one) <= (1 + SAME) * min(map(excess, rivals))]
    quick = [one for one in near if one.throughput_ratio * (1 + SAME) >= max(other.throughput_ratio for other in near)]
    order = {name: place for place, name in enumerate(preferred)}
    best = min(quick, key=lambda one: (order.get(one.candidate, len(order)), excess(one), -one.throughput_ratio))
    if excess(best) > (1 - LEAST_GAIN) * excess(now):
        return GcSweep(scores=tuple(scores), reason=f"the best candidate, {best.candidate}, is not ahead by {100 * LEAST_GAIN:.0f} %")
    met = "meets both targets" if excess(best) <= 1.0 else "is nearest to the targets"
    return GcSweep(
        scores=tuple(scores),
        chosen=best.candidate,
        reason=f"{best.candidate} {met}: p99 {now.pause_p99_ms:.1f} to {best.pause_p99_ms:.1f} ms, share {100 * now.pause_share:.1f} to "
        f"{100 * best.pause_share:.1f} %, memory x{best.memory_ratio:.2f}, throughput x{best.throughput_ratio:.2f}",
    )


def _score(name: str, samples: Sequence[GcSample], baseline: dict[int, GcSample]) -> GcScore:
    good = [one for one in samples if not one.trouble and one.round in baseline]
    trouble = next((one.trouble for one in samples if one.trouble), "")
    if len(good) < min(FEWEST_ROUNDS, len(baseline)):
        return GcScore(
            candidate=name, rounds=len(good), pause_p99_ms=0.0, pause_max_ms=0.0, pause_share=0.0, throughput_hz=0.0, p99_ms=0.0,
            cpu_s=0.0, memory_bytes=0.0, memory_ratio=0.0, throughput_ratio=0.0, allowed=False, note=trouble or "too few rounds",
        )  # fmt: skip

    def median(field: str) -> float:
        return statistics.median(float(getattr(one, field)) for one in good)

    def ratio(field: str) -> float:
        return statistics.median(float(getattr(one, field)) / max(1e-9, float(getattr(baseline[one.round], field))) for one in good)

    return GcScore(
        candidate=name,
        rounds=len(good),
        pause_p99_ms=max(LEAST_MS, median("pause_p99_ms")),
        pause_max_ms=max(one.pause_max_ms for one in good),
        pause_share=median("pause_share"),
        throughput_hz=median("throughput_hz"),
        p99_ms=median("p99_ms"),
        cpu_s=median("cpu_s"),
        memory_bytes=median("memory_bytes"),
        memory_ratio=ratio("memory_bytes"),
        throughput_ratio=ratio("throughput_hz"),
        errors_share=statistics.fmean(one.errors_share for one in good),
        note=f"{trouble} in {len(samples) - len(good)} of {len(samples)} rounds" if trouble else "",
        allowed=not trouble or name == AS_IS,
    )


def _allowed(one: GcScore, now: GcScore, memory_limit_share: float, throughput_limit_share: float) -> GcScore:
    if not one.allowed:
        return one
    reasons = []
    if one.memory_ratio > 1 + memory_limit_share:
        reasons.append(f"memory x{one.memory_ratio:.2f}, x{1 + memory_limit_share:.2f} may be paid")
    if one.throughput_ratio < 1 - throughput_limit_share:
        reasons.append(f"throughput x{one.throughput_ratio:.2f}, x{1 - throughput_limit_share:.2f} may be paid")
    if one.errors_share > now.errors_share + MORE_ERRORS:
        reasons.append(f"errors {100 * one.errors_share:.2f} %")
    return one.model_copy(update={"allowed": not reasons, "note": "; ".join(reasons)})


def _dominance(one: GcScore, others: Sequence[GcScore]) -> dict[str, object]:
    by = next((other for other in others if other is not one and _dominates(other, one)), None)
    return {"on_front": by is None, "note": f"dominated by {by.candidate or 'what is'}" if by else one.note}


def _dominates(a: GcScore, b: GcScore) -> bool:
    """Nowhere clearly worse and somewhere clearly better; pauses, work and memory are costs, throughput is not."""
    pairs = [
        (max(a.pause_p99_ms, NOTICED_MS), max(b.pause_p99_ms, NOTICED_MS)),
        (max(a.pause_share, LEAST_SHARE), max(b.pause_share, LEAST_SHARE)),
        (a.memory_ratio, b.memory_ratio),
        (1 / max(1e-9, a.throughput_ratio), 1 / max(1e-9, b.throughput_ratio)),
    ]
    return all(x <= y * (1 + SAME) for x, y in pairs) and any(x < y / (1 + SAME) for x, y in pairs)
