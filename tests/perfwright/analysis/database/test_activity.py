"""Looks at sessions."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.database.activity import (
    SERIES_POINTS,
    TEXT_CHARACTERS,
    WAITS_KEPT,
    ActivitySample,
    Session,
    StateCount,
    activity_series,
    session_state,
    take_sample,
    wait_shares,
    without_values,
)


@pytest.mark.parametrize(
    ("state", "wait_type", "wait", "expected"),
    [
        ("active", None, None, "running"),
        ("active", "IO", "DataFileRead", "IO: DataFileRead"),
        ("active", "Lock", "transactionid", "Lock: transactionid"),
        ("idle in transaction", "Client", "ClientRead", "Client: ClientRead in transaction"),
        ("idle in transaction (aborted)", "Client", "ClientRead", "Client: ClientRead in transaction"),
        ("idle", "Client", "ClientRead", None),
        ("active", "Activity", "LogicalLauncherMain", None),
        ("disabled", None, None, None),
        (None, None, None, None),
    ],
)
def test_states_are_told_in_the_servers_words(state: str | None, wait_type: str | None, wait: str | None, expected: str | None) -> None:
    """Idle sessions, background processes and hidden ones are not looks at work."""
    assert session_state(state, wait_type, wait) == expected


def test_shares_are_of_all_looks_at_sessions_in_a_transaction() -> None:
    """Two looks: three of four sessions run the same statement with other values."""
    looks = [
        take_sample(0.0, [Session("active", None, None, f"select {n} from t", 1.0) for n in (1, 2)]),
        take_sample(1.0, [Session("active", None, None, "select 3 from t", 5.0), Session("active", "Lock", "tuple", "update t", 9.5)]),
    ]
    first, second = wait_shares(looks)
    assert (first.state, first.share, first.sessions, first.statement) == ("running", 0.75, 1.5, "select ? from t")
    assert (second.state, second.share, second.sessions) == ("Lock: tuple", 0.25, 0.5)
    assert max(look.longest_s for look in looks) == 9.5


def test_a_quiet_database_has_no_waits() -> None:
    """No sessions, no shares, and a series without lines."""
    looks = [take_sample(float(n), []) for n in range(3)]
    assert wait_shares(looks) == wait_shares([]) == ()
    assert activity_series(looks, 1.0) == {"t_s": [0.0, 1.0, 2.0], "series": []}


def test_a_gap_is_a_point_without_values() -> None:
    """While the server was away nothing is drawn: not zero, and no line across."""
    looks = [ActivitySample(at_s=at, states={"running": StateCount(sessions=2)}) for at in (0.0, 1.0, 30.0)]
    assert activity_series(looks, 1.0) == {
        "t_s": [0.0, 1.0, 2.0, 30.0],
        "series": [{"label": "running", "unit": "sessions", "values": [2.0, 2.0, None, 2.0]}],
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("SELECT * FROM t1 WHERE a = 'it''s' AND b=12.5e3 AND \"c 3\" = $1", 'SELECT * FROM t1 WHERE a = ? AND b=? AND "c 3" = $1'),
        ("select E'a\\'b', $x$ 1 $x$ -- 5\n, 0x1F /* 'no' */ from t", "select ?, ? , ? from t"),
        ("insert into t values ('cut shor", "insert into t values (?"),
        ("select '12", "select ?"),
    ],
)
def test_values_are_not_shown(text: str, expected: str) -> None:
    """Strings, numbers and comments go; names and parameters stay."""
    assert without_values(text) == expected


@given(st.text(st.characters(categories=["L"]), min_size=6), st.text())
def test_no_string_of_a_statement_is_shown(secret: str, rest: str) -> None:
    """Whatever stands around it, as long as it is a string."""
    assert secret not in without_values("SELECT '" + secret + "', " + rest.replace(secret, ""))


states = st.dictionaries(st.integers(0, 50).map(lambda n: f"IO: Wait{n}") | st.just("running"), st.integers(1, 9), max_size=45)


@given(st.lists(states, max_size=30))
def test_shares_add_up_and_stay_few(looks: list[dict[str, int]]) -> None:
    """However many kinds of waits there are, the shares are of the whole."""
    samples = [
        ActivitySample(at_s=float(i), states={state: StateCount(sessions=n) for state, n in look.items()}) for i, look in enumerate(looks)
    ]
    shares = wait_shares(samples)
    assert len(shares) <= WAITS_KEPT + 1
    if any(looks):
        assert sum(share.share for share in shares) == pytest.approx(1.0)
        assert sum(share.sessions for share in shares) == pytest.approx(sum(sum(look.values()) for look in looks) / len(looks))


def test_long_windows_make_short_series() -> None:
    """Twenty thousand looks are averaged into a thousand points; long statements are cut."""
    samples = [ActivitySample(at_s=float(i), states={"running": StateCount(sessions=i % 2)}) for i in range(20_000)]
    series = activity_series(samples, 1.0)
    assert len(series["t_s"]) == SERIES_POINTS
    assert set(series["series"][0]["values"]) == {0.5}
    assert len(without_values("select " + "a" * 1_000)) == TEXT_CHARACTERS
