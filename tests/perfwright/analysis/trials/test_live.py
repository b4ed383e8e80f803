"""What calls cost on a live server beside what they cost before: call for call, whoever calls what now."""

import math

import pytest

from perfwright.analysis.trials.live import costs_between, judge_live, names_table, told_old_sessions
from perfwright.analysis.trials.watching import BLOCKS, ROLLBACKS, TIME
from perfwright.models.live_guards import LiveReading, LiveStatement
from perfwright.models.trial import Guard

GUARD = Guard(metric=BLOCKS, margin=math.log(2))


def reading(commits: int = 0, rollbacks: int = 0, since: str = "", **statements: tuple[int, float, int]) -> LiveReading:
    found = {name: LiveStatement(calls=calls, total_ms=ms, blocks=blocks) for name, (calls, ms, blocks) in statements.items()}
    return LiveReading(since=since, statements=found, commits=commits, rollbacks=rollbacks)


BEFORE = (reading(a=(100, 50.0, 300), b=(10, 90.0, 4_000)), reading(1_000, 0, a=(200, 100.0, 600), b=(20, 180.0, 8_000)))
"""A call of `a` takes 3 blocks and half a millisecond, one of `b` 400 and nine."""


def test_another_mix_of_calls_is_no_harm() -> None:
    """Ten times as many of the dear calls cost what they cost before; dearer calls are dearer, whatever the mix."""
    first = reading(1_000, 0, a=(200, 100.0, 600), b=(20, 180.0, 8_000))
    last = reading(1_100, 10, a=(210, 105.0, 630), b=(120, 1_080.0, 48_000))
    costs = costs_between(first, last, BEFORE)
    assert costs[BLOCKS] == pytest.approx((40_030, 40_030)) and costs[TIME] == pytest.approx((905, 905))
    assert costs[ROLLBACKS] == pytest.approx((0.0, 10 / 110))
    dearer = costs_between(first, reading(a=(210, 110.0, 690), b=(20, 180.0, 8_000)), BEFORE)
    assert dearer[BLOCKS] == pytest.approx((30, 90)) and dearer[TIME] == pytest.approx((5, 10)) and ROLLBACKS not in dearer


@pytest.mark.parametrize(
    "last",
    [
        reading(since="restarted", a=(300, 150.0, 900)),
        reading(a=(200, 100.0, 600), c=(50, 1.0, 50)),
        reading(a=(5, 2.0, 15)),
        LiveReading(not_seen="it is gone"),
    ],
    ids=["counters began anew", "nothing that was seen before", "an entry that began again", "not seen"],
)
def test_what_cannot_be_compared_tells_nothing(last: LiveReading) -> None:
    """No window is made of counters that began anew, of statements that were not there before, or of none."""
    costs = costs_between(reading(a=(200, 100.0, 600)), last, BEFORE)
    assert BLOCKS not in costs and TIME not in costs
    assert judge_live((GUARD,), [costs], 24)[0].verdict == "unseen"


def test_a_dozen_bad_windows_are_a_breach() -> None:
    """Fewer say nothing, what is long past hides nothing, and what stays below the margin is held."""
    good = [{BLOCKS: (100.0, 99.0 + number % 5)} for number in range(24)]
    bad = [{BLOCKS: (100.0, 400.0 + number % 7)} for number in range(24)]
    assert judge_live((GUARD,), bad[:11], 24)[0].verdict == "unclear"
    assert judge_live((GUARD,), bad[:12], 24)[0].verdict == "breached"
    assert judge_live((GUARD,), good + bad[:12], 24)[0].verdict == "breached"
    assert judge_live((GUARD,), good, 24)[0].verdict == "held"


def test_a_longer_watch_wants_more_of_them() -> None:
    """It has more chances of a false alarm: of a day's windows nearly all of the latest 24, which then are the very same ones."""
    good = [{BLOCKS: (100.0, 99.0 + number / 100)} for number in range(500)]
    bad = [{BLOCKS: (100.0, 400.0 + number / 7)} for number in range(24)]
    assert judge_live((GUARD,), good + bad[:12], 2_880)[0].verdict != "breached"
    assert judge_live((GUARD,), good + bad, 2_880)[0].verdict == "breached"


def test_who_goes_on_without_a_setting_is_told() -> None:
    """Sessions that were open before a role's or a database's setting do not have it."""
    assert told_old_sessions(LiveReading(sessions=5)) == ""
    assert told_old_sessions(LiveReading(sessions=5, old_sessions=3)).startswith("3 of 5 sessions")


def test_a_table_is_named_as_a_word() -> None:
    """In any case of letters, quoted or with its schema; not as a part of another name."""
    assert names_table('UPDATE public."Orders" SET a = $1', "orders") and names_table("select * from ORDERS o", "orders")
    assert not names_table("SELECT * FROM orders_old, reorders", "orders")
