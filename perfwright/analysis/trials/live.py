"""Whether statements cost more on a live server than before a change, call for call.

Who calls what changes from minute to minute. So each window is compared with what *its own* calls would have cost as before: Paasche's
index, with calls as quantities and costs per call as prices. Nothing is said of statements that were not seen before.
"""

import re
from collections.abc import Mapping, Sequence

from perfwright.analysis.trials.boundaries import LOOKS
from perfwright.analysis.trials.guards import guard_datum, judge_guard
from perfwright.analysis.trials.sequential import design
from perfwright.models.live_guards import LiveReading, LiveStatement
from perfwright.models.trial import Guard, GuardJudgement

BLOCKS, TIME, ROLLBACKS = "live_blocks", "live_ms", "live_rollbacks"
LEAST_CALLS = 5
"""Of a statement before the change: fewer do not say what a call costs."""
LEAST_TRANSACTIONS = 20
"""Of a window, for a share of rollbacks."""
JUDGED = 24
"""Windows: what is long past hides no breach."""
Costs = Mapping[str, tuple[float, float]]
"""Metric -> as before, and now: blocks and milliseconds of the window's calls, share of transactions rolled back."""


def names_table(text: str, table: str) -> bool:
    """Whether a statement's text has the table's name as a word, in any case of letters; views over it are not seen through."""
    return re.search(rf"(?<![\w$]){re.escape(table)}(?![\w$])", text, re.IGNORECASE) is not None


def costs_between(first: LiveReading, last: LiveReading, before: tuple[LiveReading, LiveReading]) -> Costs:
    """What a window's calls cost beside what they cost before; metrics that cannot be told are left out.

    Nothing is told of a window in which counters began anew.
    """
    if first.since != last.since or first.not_seen or last.not_seen:
        return {}
    calls, earlier = _calls(first, last), _calls(*before)
    expected_blocks = expected_ms = blocks = milliseconds = 0.0
    for name, now in calls.items():
        then = earlier.get(name)
        if then is None or then.calls < LEAST_CALLS:
            continue
        expected_blocks += now.calls * then.blocks / then.calls
        expected_ms += now.calls * then.total_ms / then.calls
        blocks += now.blocks
        milliseconds += now.total_ms
    costs = {BLOCKS: (expected_blocks, blocks), TIME: (expected_ms, milliseconds)}
    found = {metric: pair for metric, pair in costs.items() if min(pair) > 0}
    shares = (_rolled_back(*before), _rolled_back(first, last))
    if shares[0] is not None and shares[1] is not None:
        found[ROLLBACKS] = (shares[0], shares[1])
    return found


def judge_live(guards: Sequence[Guard], windows: Sequence[Costs]) -> tuple[GuardJudgement, ...]:
    """Each guard over the latest windows; one that no window tells of is `unseen`."""
    plan = design(LOOKS[-1])
    assert plan is not None, "the longest trial is affordable"
    return tuple(
        judge_guard(guard, [guard_datum(guard, *one[guard.metric]) for one in windows if guard.metric in one][-JUDGED:], plan)
        for guard in guards
    )


def _calls(first: LiveReading, last: LiveReading) -> dict[str, LiveStatement]:
    """Differences; an entry that is new within the window, or began again, is left out."""
    if first.since != last.since:
        return {}
    found = {}
    for name, now in last.statements.items():
        then = first.statements.get(name)
        if then is None or now.calls <= then.calls or now.blocks < then.blocks or now.total_ms < then.total_ms:
            continue
        found[name] = LiveStatement(calls=now.calls - then.calls, total_ms=now.total_ms - then.total_ms, blocks=now.blocks - then.blocks)
    return found


def _rolled_back(first: LiveReading, last: LiveReading) -> float | None:
    """Share of transactions; None of too few."""
    commits, rollbacks = last.commits - first.commits, last.rollbacks - first.rollbacks
    if first.since != last.since or min(commits, rollbacks) < 0 or commits + rollbacks < LEAST_TRANSACTIONS:
        return None
    return rollbacks / (commits + rollbacks)
