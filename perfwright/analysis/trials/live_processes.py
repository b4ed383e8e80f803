"""Whether a live process holds more memory than before a change, or starts again more often; seen from outside, whatever its load is.

What a load drives is judged by nothing: only what was held at the most before counts as before, and CPU time is told beside it.
"""

import math
from collections.abc import Sequence

from perfwright.analysis.trials.boundaries import LEVEL
from perfwright.analysis.trials.live import Costs, judge_live
from perfwright.analysis.trials.watching import CPU, FILES, MEMORY, RESTARTS, THREADS
from perfwright.models.live_guards import ProcessReading
from perfwright.models.trial import Guard, GuardJudgement, GuardVerdict

Readings = tuple[ProcessReading, ProcessReading]
LEAST_S = 0.01
"""A start is told to the clock's tick."""


def is_same(first: ProcessReading, last: ProcessReading) -> bool:
    """Whether it is still the process that it was: a number comes again, a number and a start do not."""
    return first.pid == last.pid and abs(first.create_time_s - last.create_time_s) < 0.05


def facts_between(first: ProcessReading, last: ProcessReading, before: Readings) -> Costs:
    """What it holds beside the most that it held before, and the cores that it used beside those between the two readings before.

    Nothing is told of a window at whose end it did not run; no cores of one in which it was started again.
    """
    if last.not_seen:
        return {}
    found = {
        MEMORY: (max(one.most_bytes for one in before), last.pss_bytes),
        THREADS: (float(max(one.threads for one in before)), float(last.threads)),
    }
    files = [one.open_files for one in before if one.open_files is not None]
    if files and last.open_files is not None:
        found[FILES] = (float(max(files)), float(last.open_files))
    cores = (_cores(*before), _cores(first, last))
    if cores[0] is not None and cores[1] is not None:
        found[CPU] = (cores[0], cores[1])
    return {metric: pair for metric, pair in found.items() if min(pair) > 0}


def judge_process(
    guards: Sequence[Guard], windows: Sequence[Costs], restarts_s: Sequence[float], before: Readings, watched_s: float, of_windows: int
) -> tuple[GuardJudgement, ...]:
    """Each guard over what was seen. `restarts_s`: when it was found gone or another one, since the watch began; `watched_s`: until now."""
    return tuple(
        judge_restarts(guard, before[1].taken_s - before[1].create_time_s, restarts_s, watched_s, len(windows))
        if guard.metric == RESTARTS
        else judge_live((guard,), windows, of_windows)[0]
        for guard in guards
    )


def judge_restarts(guard: Guard, ran_before_s: float, restarts_s: Sequence[float], watched_s: float, windows: int) -> GuardJudgement:
    """Whether it starts again more often than before, by more than the margin (of the logarithm of the rate).

    How long it had run when it was last seen before the change is all that is known of its rate then. If restarts come by chance, at one
    rate until then and at `r` times that rate from the watch's beginning on, the age A at that moment is exponential, the k-th restart F is
    a sum of k, and r F / (A + r F) is Beta(k, 1): at most q with probability q^k. So each restart is tested exactly when it comes; the k-th
    has the 2^-k-th part of the level, and all together have no more than the level, however long the watch is. The one that came after a
    week of running and a minute of the change is a breach, that of a program which is started again every hour is none.
    With a guard whose scale is `difference`: more restarts than its margin, simply counted.
    """
    count = len(restarts_s)
    if not windows:
        return GuardJudgement(metric=guard.metric, verdict="unseen", rounds=0)
    if guard.scale == "difference":
        return GuardJudgement(
            metric=guard.metric, verdict="breached" if count > guard.margin else "held", rounds=windows, harm=float(count)
        )
    low = max((_log_rate(ran_before_s, (LEVEL / 2**k) ** (1 / k), after_s) for k, after_s in enumerate(restarts_s, 1)), default=None)
    high = _log_rate(ran_before_s, (1 - LEVEL) ** (1 / (count + 1)), watched_s)
    verdict: GuardVerdict = "unclear"
    if low is not None and low > guard.margin:
        verdict = "breached"
    elif high < guard.margin:
        verdict = "held"
    harm = math.log(count * max(ran_before_s, LEAST_S) / max(watched_s, LEAST_S)) if count else None
    return GuardJudgement(metric=guard.metric, verdict=verdict, rounds=windows, harm=harm, harm_low=low, harm_high=high)


def _log_rate(ran_before_s: float, share: float, after_s: float) -> float:
    """Logarithm of the rate r at which r F / (A + r F) is `share`."""
    return math.log(share / (1 - share) * max(ran_before_s, LEAST_S) / max(after_s, LEAST_S))


def _cores(first: ProcessReading, last: ProcessReading) -> float | None:
    if first.not_seen or last.not_seen or not is_same(first, last) or last.taken_s <= first.taken_s or last.cpu_s < first.cpu_s:
        return None
    return (last.cpu_s - first.cpu_s) / (last.taken_s - first.taken_s)
