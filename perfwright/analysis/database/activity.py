"""What sessions were doing, from looks at pg_stat_activity: states, shares, and a series over time.

Source: PostgreSQL 18 documentation, 27.2.3 "pg_stat_activity" and table 27.4 "Wait Event Types".
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from perfwright.analysis.masking.sql_values import masked
from perfwright.models.query_performance import WaitShare
from perfwright.models.vocabulary import Model

RUNNING = "running"
IN_TRANSACTION = "in transaction"
WAITS_KEPT = 30
TEXT_CHARACTERS = 200
SERIES_POINTS = 1_000
"""A chart is not wider."""
_BACKGROUND = "Activity"
"""Waits of idle server processes."""
_GROUPS = {"IO": "reading or writing files", "Lock": "waiting for a lock", "LWLock": "waiting for a lock inside the server"}
_OTHER = "waiting for something else"


class Session(NamedTuple):
    """One session of the database, as it was seen."""

    state: str | None
    """As pg_stat_activity has it; None: another role's, hidden from us."""
    wait_type: str | None
    wait: str | None
    text: str
    transaction_s: float | None


class StateCount(Model):
    """Sessions in one state at one look."""

    sessions: int
    statement: str = ""
    """The commonest statement among them, without values."""


class ActivitySample(Model):
    """One look at all sessions. Kept in the recording's folder."""

    at_s: float
    """Since the window began."""
    states: dict[str, StateCount] = {}
    longest_s: float = 0.0
    """Age of the oldest transaction."""
    hidden: int = 0
    """Sessions of other roles whose state we may not see."""


def session_state(state: str | None, wait_type: str | None, wait: str | None) -> str | None:
    """`running`, `IO: DataFileRead`, `Client: ClientRead in transaction`; None for a session outside of any transaction (or hidden)."""
    if state is None or wait_type == _BACKGROUND:
        return None
    if state.startswith("idle in transaction"):
        return f"{wait_type or 'Client'}: {wait or 'ClientRead'} {IN_TRANSACTION}"
    if state not in ("active", "fastpath function call"):
        return None
    return f"{wait_type}: {wait}" if wait_type and wait else RUNNING


def without_values(text: str) -> str:
    """The statement on one line, values as `?`, at most TEXT_CHARACTERS long. For show: it need not be valid SQL any more."""
    return " ".join(masked(text).split())[:TEXT_CHARACTERS]


def take_sample(at_s: float, sessions: Iterable[Session]) -> ActivitySample:
    """Count sessions by state."""
    texts: dict[str, Counter[str]] = {}
    hidden, longest_s = 0, 0.0
    for session in sessions:
        hidden += session.state is None
        longest_s = max(longest_s, session.transaction_s or 0.0)
        if state := session_state(session.state, session.wait_type, session.wait):
            texts.setdefault(state, Counter())[session.text] += 1
    states = {
        state: StateCount(sessions=found.total(), statement=without_values(max(found, key=lambda text: (found[text], text))))
        for state, found in sorted(texts.items())
    }
    return ActivitySample(at_s=round(at_s, 3), states=states, longest_s=round(longest_s, 3), hidden=hidden)


def wait_shares(samples: Sequence[ActivitySample]) -> tuple[WaitShare, ...]:
    """Shares of all looks at sessions in a transaction, the commonest state first; the rarest beyond WAITS_KEPT are joined."""
    looks: Counter[str] = Counter()
    statements: dict[str, Counter[str]] = {}
    for sample in samples:
        for state, found in sample.states.items():
            looks[state] += found.sessions
            statements.setdefault(state, Counter())[found.statement] += found.sessions
    total = looks.total()
    ranked = sorted(looks, key=lambda state: (-looks[state], state))
    kept, rest = ranked[:WAITS_KEPT], sum(looks[state] for state in ranked[WAITS_KEPT:])
    shares = [_share(state, looks[state], total, len(samples), _commonest(statements[state])) for state in kept]
    return tuple(shares + ([_share("other waits", rest, total, len(samples), "")] if rest else []))


def activity_series(samples: Sequence[ActivitySample], interval_s: float) -> dict[str, Any]:
    """Sessions over time, as `SeriesFigure` reads it; where the server did not answer for long, a point without values."""
    size = max(1, -(-len(samples) // SERIES_POINTS))
    bins: list[list[ActivitySample]] = []
    for sample in samples:
        # A gap begins a bin of its own, with an empty one before it.
        gap = bool(bins and bins[-1]) and sample.at_s - bins[-1][-1].at_s > 3 * interval_s
        if gap:
            bins.append([])
        if not bins or gap or len(bins[-1]) >= size:
            bins.append([])
        bins[-1].append(sample)
    times = [round(found[0].at_s, 3) if found else round(bins[i - 1][-1].at_s + interval_s, 3) for i, found in enumerate(bins)]
    labels = sorted({_group(state) for sample in samples for state in sample.states}, key=_order)
    series = [{"label": label, "unit": "sessions", "values": [_mean(found, label) for found in bins]} for label in labels]
    return {"t_s": times, "series": series}


def _share(state: str, looks: int, total: int, samples: int, statement: str) -> WaitShare:
    return WaitShare(state=state, share=looks / total, sessions=looks / samples, statement=statement)


def _commonest(found: Counter[str]) -> str:
    return max(found, key=lambda text: (found[text], text))


def _group(state: str) -> str:
    if state == RUNNING:
        return RUNNING
    if state.endswith(IN_TRANSACTION):
        return "idle in transaction"
    return _GROUPS.get(state.partition(":")[0], _OTHER)


def _order(label: str) -> tuple[int, str]:
    order = (RUNNING, *_GROUPS.values(), "idle in transaction", _OTHER)
    return order.index(label), label


def _mean(found: list[ActivitySample], label: str) -> float | None:
    if not found:
        return None
    sessions = sum(count.sessions for sample in found for state, count in sample.states.items() if _group(state) == label)
    return round(sessions / len(found), 3)
