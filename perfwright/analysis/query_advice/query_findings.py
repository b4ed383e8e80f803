"""Findings from causes: title with the number, severity, evidence, places.

Severity is by what can be won: the share of the database's time at the nodes times the expected gain. A statement of less than 1 % of the
time can therefore make no finding above `information`, however bad its plan.
"""

from collections.abc import Sequence

from perfwright.analysis.query_advice.causes import Cause
from perfwright.analysis.query_advice.gains import Gain
from perfwright.analysis.query_advice.index_candidates import PlanViews
from perfwright.analysis.query_advice.shares import OF_DATABASE, Loads
from perfwright.models.artifact import ArtifactRef
from perfwright.models.finding import Evidence, Finding, Location, Severity
from perfwright.models.measurement import Estimate
from perfwright.models.query_performance import PlanHit, WaitShare, plan_anchor

STEPS: tuple[tuple[float, Severity], ...] = ((0.5, "critical"), (0.2, "high"), (0.05, "medium"), (0.01, "low"))
"""Of the database's time that may be won. Half of it is a server of half the size; 5 % is the least that a change to one statement should
win to be worth a person's day; 1 % is what observing costs."""
IDLE_SESSIONS = 0.01
"""A cause that keeps a session busy for less than a hundredth of the time is at most `low`: nobody waits for it."""
LOCATIONS, EVIDENCE = 8, 8
TEXT = 400
NAMED = 3
"""Tables in a title."""
WAITING_SESSIONS = 1.0
"""On average at the same time: a session is idle in its transaction for a moment between any two statements."""
WAIT_SHARE = 0.2
"""Of the looks at sessions in a transaction: from a fifth on, waiting is what a plan cannot explain."""
_WAITS = (
    (
        "Lock:",
        "lock-waits",
        "Sessions wait for locks",
        "Shorten the transactions that hold them (`pg_blocking_pids` names them), lock rows in one order, use SKIP LOCKED where a queue is "
        "read.",
    ),
    (
        "Client: ClientRead in transaction",
        "idle-in-transaction",
        "Sessions sit idle in a transaction",
        "Commit before calling other services or waiting for people, and set idle_in_transaction_session_timeout: open transactions hold "
        "locks and keep VACUUM from freeing rows.",
    ),
)


def finding_of(cause: Cause, gain: Gain, loads: Loads, views: PlanViews, plans: ArtifactRef | None) -> Finding:
    """One finding; `plans` is the artifact that the evidence was read from."""
    share = loads.of_hits(cause.hits, views)
    severity = severity_of(gain.expected, share, loads)
    sentences = [_sentence(cause.hits[0].statement)]
    if cause.reason:
        sentences.append(_sentence(cause.reason))
    if len(cause.fingerprints) > 1:
        sentences.append(f"{len(cause.fingerprints)} statements are concerned.")
    sentences.append(gain.derivation)
    if severity == "information":
        sentences.append("Listed to show what was looked at; at this size there is nothing to do.")
    return Finding(
        id=cause.id,
        title=title_of(cause, share, loads),
        severity=severity,
        summary=" ".join(sentences)[:1_500],
        cost=Estimate(value=round(share, 6), unit=loads.unit),
        locations=tuple(_location(hit, loads) for hit in _first_of_each(cause.hits)[:LOCATIONS]),
        evidence=tuple(_evidence(hit, loads, plans) for hit in cause.hits[:EVIDENCE]),
        confidence=gain.confidence,
    )


def severity_of(won: float, share: float, loads: Loads) -> Severity:
    """`won` and `share` of the database's time; on a nearly idle server nothing is above `low`."""
    severity: Severity = next((name for step, name in STEPS if won >= step), "information")
    sessions = loads.sessions()
    if sessions is not None and sessions * share < IDLE_SESSIONS and severity not in ("low", "information"):
        return "low"
    return severity


def title_of(cause: Cause, share: float, loads: Loads) -> str:
    """`orders is read whole for customer_id 214 times a second: 61% of database time`."""
    table = cause.table.title if cause.table else cause.hits[0].relation or _several(cause.hits[0].relations)
    # Where the advice is an index on an expression, that is among `cause.columns`; the title says what hides which column.
    columns = ", ".join(cause.hits[0].columns if cause.advice.guises else cause.columns) or "its condition"
    named = cause.advice.title_for(cause.hits[0].numbers)
    template = named if table or not cause.advice.without_table else cause.advice.without_table
    title = template.format(table=table or cause.hits[0].node_title, columns=columns)
    return f"{title[:200]}{_how_often(cause, loads)}: {percent(share)} of {'database time' if loads.unit == OF_DATABASE else 'the time'}"


def _several(relations: Sequence[str]) -> str:
    """`orders, customers and 2 more`."""
    named = ", ".join(relations[:NAMED])
    return f"{named} and {len(relations) - NAMED} more" if len(relations) > NAMED else named


def percent(share: float) -> str:
    """`61%`; below one with a digit more: `0.2%`."""
    return f"{share:.0%}" if share >= 0.01 or share == 0 else f"{share:.1%}" if share >= 0.001 else "under 0.1%"


def _how_often(cause: Cause, loads: Loads) -> str:
    """Rounds of the scan times calls of its statement; nothing where there was no window."""
    if "read whole" not in cause.advice.title or loads.seconds <= 0 or loads.unit != OF_DATABASE:
        return ""
    rounds = 0.0
    for name in cause.fingerprints:
        statement = loads.statement(name)
        loops = max((hit.numbers.get("loops", 1.0) for hit in cause.hits if hit.fingerprint == name), default=1.0)
        rounds += (statement.calls if statement else 0) * max(1.0, loops)
    a_second = rounds / loads.seconds
    if a_second >= 1:
        return f", {a_second:,.0f} times a second"
    return f", {60 * a_second:,.0f} times a minute" if 60 * a_second >= 1 else ""


def waits_found(waits: Sequence[WaitShare], unit: str) -> list[tuple[Finding, str]]:
    """What sessions waited for that no plan shows, with the advice."""
    found = []
    for begin, kind, title, advice in _WAITS:
        kinds = [one for one in waits if one.state.startswith(begin)]
        share = sum(one.share for one in kinds)
        if share < WAIT_SHARE or sum(one.sessions for one in kinds) < WAITING_SESSIONS:
            continue
        seen = [f"{one.state}: {one.share:.0%} of the looks, {one.sessions:.1f} sessions" for one in kinds]
        finding = Finding(
            id=f"{kind}:sessions",
            title=f"{title}: {share:.0%} of the looks at sessions in a transaction",
            severity="medium" if share >= 2 * WAIT_SHARE else "low",
            summary=f"{'; '.join(seen)}. Plans do not show this: the statements themselves may be fast.",
            cost=Estimate(value=round(share, 6), unit="share of the looks at sessions"),
            locations=tuple(Location(query=one.statement[:TEXT]) for one in kinds if one.statement)[:LOCATIONS],
            evidence=tuple(Evidence(statement=one) for one in seen[:EVIDENCE]),
            confidence="medium",
        )
        found.append((finding, advice))
    return found


def _evidence(hit: PlanHit, loads: Loads, plans: ArtifactRef | None) -> Evidence:
    return Evidence(
        statement=f"{hit.rule} at node {hit.node} ({hit.node_title[:120]}) of {hit.fingerprint}: {hit.statement[:TEXT]}",
        estimate=Estimate(value=round(loads.share(hit.fingerprint) * hit.share, 6), unit=loads.unit),
        artifact=plans,
    )


def _first_of_each(hits: Sequence[PlanHit]) -> list[PlanHit]:
    """The first hit of each statement."""
    return list({hit.fingerprint: hit for hit in reversed(hits)}.values())[::-1]


def _location(hit: PlanHit, loads: Loads) -> Location:
    statement = loads.statement(hit.fingerprint)
    return Location(query=statement.title if statement else hit.fingerprint, anchor=plan_anchor(hit.fingerprint, hit.node))


def _sentence(text: str) -> str:
    return f"{text.strip().rstrip('.')[:TEXT]}."
