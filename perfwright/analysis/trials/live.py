"""Whether statements cost more on a live server than before a change, call for call; and how windows of any live target are judged.

Who calls what changes from minute to minute. So each window is compared with what *its own* calls would have cost as before: Paasche's
index, with calls as quantities and costs per call as prices. Nothing is said of statements that were not seen before.
"""

import re
from collections.abc import Mapping, Sequence

from perfwright.analysis.trials.boundaries import LEVEL
from perfwright.analysis.trials.guards import guard_datum, judge_guard
from perfwright.analysis.trials.sequential import MARGIN
from perfwright.analysis.trials.watch_boundaries import JUDGED, watch_boundary
from perfwright.analysis.trials.watching import BLOCKS, ROLLBACKS, TIME
from perfwright.models.live_guards import LiveReading, LiveStatement
from perfwright.models.trial import Guard, GuardJudgement, TrialDesign

LEAST_CALLS = 5
"""Of a statement before the change: fewer do not say what a call costs."""
LEAST_TRANSACTIONS = 20
"""Of a window, for a share of rollbacks."""
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


def judge_live(guards: Sequence[Guard], windows: Sequence[Costs], of_windows: int) -> tuple[GuardJudgement, ...]:
    """Each guard over its latest windows, as many as one is breached by; one that no window tells of is `unseen`.

    `of_windows`: how many the whole watch will have, each of which is judged; fixed before the first.
    """
    plan = TrialDesign(margin=MARGIN, looks=JUDGED, boundary=watch_boundary(of_windows), level=LEVEL)
    return tuple(
        _judged(guard, [guard_datum(guard, *one[guard.metric]) for one in windows if guard.metric in one], plan) for guard in guards
    )


def told_old_sessions(reading: LiveReading) -> str:
    """Whom a setting of a role or a database does not reach yet; empty: everybody has it, or nobody is there."""
    if not reading.old_sessions:
        return ""
    of = f"{reading.old_sessions} of {reading.sessions} sessions that the setting concerns"
    return f"{of} were open before it and go on without it: what was watched is the sum of both"


def _judged(guard: Guard, data: Sequence[float], plan: TrialDesign) -> GuardJudgement:
    """What is long past hides no breach, and what was a moment ago hides a large one for moments."""
    found = judge_guard(guard, data[-JUDGED[-1] :], plan)
    for latest in JUDGED[:-1]:
        if found.verdict != "breached" and latest < len(data):
            shorter = judge_guard(guard, data[-latest:], plan)
            found = shorter if shorter.verdict == "breached" else found
    return found


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
