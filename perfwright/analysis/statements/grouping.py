"""From counters, log and given SQL to one table of statements, by libpg_query's fingerprint.

pg_stat_statements keeps an entry per role, database, level and query id; entries of one shape become one statement. Where counters and log
both have a statement the counters tell calls and time, and the log adds quantiles and real calls. Nothing is dropped: what cannot be read
is listed in `unreadable`, and what has no plan says why.
"""

from collections.abc import Iterable
from datetime import datetime
from hashlib import blake2b

from perfwright.analysis.database.own_statements import is_own
from perfwright.analysis.masking.sql_values import masked
from perfwright.analysis.mysql import shapes
from perfwright.analysis.server_log.literals import without_strings
from perfwright.analysis.statements import mysql_digests
from perfwright.analysis.statements.finishing import Finisher
from perfwright.analysis.statements.merging import Merged
from perfwright.analysis.statements.parsing import ParsedStatement, Unreadable, normalized_text, parse_statement, utility_word
from perfwright.analysis.statements.safety import Judgement, SafetyJudge
from perfwright.analysis.statements.splitting import split_statements
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.statement import (
    HIDDEN_TEXT,
    LogDigest,
    LoggedStatement,
    ObservedWindow,
    ServerCounters,
    Statement,
    StatementSample,
    StatementSource,
    StatementTable,
)

TYPED_FIRST = 600
"""So many of the costliest get types at their `$n` from the catalog: more are never examined in one run."""
TIME_FORMATS = ("%Y-%m-%d %H:%M:%S.%f", "%Y-%m-%d %H:%M:%S")


def group_statements(
    window: ObservedWindow | None,
    log: LogDigest | None,
    given: tuple[str, ...],
    catalog: Catalog | None,
    *,
    database: DatabaseFacts,
    given_kept_in: str = "",
) -> StatementTable:
    """All statements of the database by share of its time; those of other databases and our own are left out.

    Shares are of time per second, because a given log may cover another time than the window. Statements that ran inside functions have
    their own total, but the whole counts them once: in the statement that called. `given_kept_in`: where the host of the target keeps what
    is given with its values; texts have none then.
    """
    if database.system == "postgresql":
        return _Grouping(catalog, database, given_kept_in).table(window, log, given)
    return _DigestGrouping(catalog, database, given_kept_in).table(window, log, given)


class _Grouping:
    """Statements of PostgreSQL."""

    def __init__(self, catalog: Catalog | None, database: DatabaseFacts, given_kept_in: str = "") -> None:
        self._database, self._given_kept_in = database, given_kept_in
        self._catalog = catalog
        escapes = database.setting("standard_conforming_strings") != "off"
        self._judge = SafetyJudge(catalog, extensions=database.extensions, standard_strings=escapes)
        self._merged: dict[str, Merged] = {}
        self._seen: dict[str, tuple[ParsedStatement, Judgement] | str] = {}
        """Normalized text -> what it says and may do; text -> why it cannot be read."""

    def table(self, window: ObservedWindow | None, log: LogDigest | None, given: tuple[str, ...]) -> StatementTable:
        if window is not None:
            for counters in sorted(window.statements, key=lambda one: -one.total_ms):
                if counters.database in ("", self._database.database) and not is_own(counters.text):
                    self._count(counters, window.source)
        if log is not None:
            for logged in sorted(log.statements, key=lambda one: -one.total_ms):
                if not is_own(logged.text):
                    self._log(logged)
        for number, text in enumerate(given):
            # Statements that are kept elsewhere came one by one.
            for one in (text,) if self._given_kept_in else split_statements(text):
                self._give(one, f"{self._given_kept_in}:{number}" if self._given_kept_in else "")
        seconds, log_seconds = _seconds(window, log)
        shares, total_ms = _shares(self._merged.values(), window, seconds, log_seconds)
        ordered = self._finished(shares)
        unreadable = {one.fingerprint for one in self._merged.values() if one.unreadable and not one.utility}
        return StatementTable(
            statements=tuple(one for one in ordered if one.fingerprint not in unreadable),
            total_ms=total_ms,
            seconds=seconds or log_seconds,
            sources=tuple(dict.fromkeys(source for one in ordered for source in one.sources)),
            unreadable=tuple(one for one in ordered if one.fingerprint in unreadable),
        )

    def _finished(self, shares: dict[str, float]) -> list[Statement]:
        finisher = Finisher(self._judge, self._catalog, self._database.version_number)
        ordered = _by_share(finisher.finished(one, shares.get(one.fingerprint, 0.0)) for one in self._merged.values())
        return [finisher.explainable(one) for one in ordered[:TYPED_FIRST]] + ordered[TYPED_FIRST:]

    def _count(self, counters: ServerCounters, source: StatementSource) -> None:
        hidden = HIDDEN_TEXT if counters.text.strip() == HIDDEN_TEXT else ""
        merged = self._of(
            counters.text, fingerprint=_name_of(f"{hidden} {counters.query_id}") if hidden or not counters.text.strip() else ""
        )
        merged.counters.append(counters)
        merged.sources[source] = None

    def _log(self, logged: LoggedStatement) -> None:
        merged = self._merged.get(logged.fingerprint) or self._of(logged.text, fallback=logged.fingerprint)
        merged.logged.append(logged)
        merged.samples += logged.samples
        merged.sources["log"] = None
        if logged.plans or any(one.source == "auto_explain" for one in logged.samples):
            merged.sources["auto_explain"] = None

    def _give(self, text: str, kept_as: str) -> None:
        merged = self._of(text)
        merged.samples.append(StatementSample(text=text, source="given", kept_as=kept_as))
        merged.sources["given"] = None

    def _of(self, text: str, *, fingerprint: str = "", fallback: str = "") -> Merged:
        """Where a text belongs: by what it says, or where it cannot be read by its letters; `fallback` is the log's name for it."""
        seen = self._read(text, with_values=bool(fallback))
        if isinstance(seen, tuple):
            parsed, judgement = seen
            merged = self._merged.setdefault(parsed.fingerprint, Merged(parsed.fingerprint))
            merged.unreadable = ""
            merged.saw(parsed, judgement)
            return merged
        name = fingerprint or fallback or letters_fingerprint(text)
        merged = self._merged.setdefault(name, Merged(name))
        if merged.parsed is None and not merged.text:
            merged.text, merged.unreadable, merged.utility = masked(text), seen, utility_word(text)
        return merged

    def _read(self, text: str, *, with_values: bool) -> tuple[ParsedStatement, Judgement] | str:
        if text.strip() == HIDDEN_TEXT:
            return "its text is hidden from our role: grant it pg_read_all_stats"
        if not text.strip():
            return "its text is not known"
        known = self._seen.get(text) or (self._seen.get(normalized_text(text)) if with_values else None)
        if known is None:
            try:
                parsed = parse_statement(text)
                known = parsed.without_tree(), self._judge.judge(parsed)
                self._seen[parsed.text] = known
            except Unreadable as trouble:
                known = f"its text cannot be read: {trouble}"
                self._seen[text] = known
        return known


class _DigestGrouping(_Grouping):
    """Statements of MySQL and MariaDB, which their server names by a digest."""

    def _of(self, text: str, *, fingerprint: str = "", fallback: str = "") -> Merged:
        name = fingerprint or fallback or shapes.fingerprint(text)
        merged = self._merged.setdefault(name, Merged(name))
        if not merged.text:
            merged.text = shapes.masked(text)
            merged.unreadable = "" if merged.text else "its text is not known"
            merged.tables = dict.fromkeys(mysql_digests.tables_of(text))
        return merged

    def _count(self, counters: ServerCounters, source: StatementSource) -> None:
        merged = self._of(counters.text, fingerprint=digest_fingerprint(counters.query_id) or _name_of(counters.text))
        merged.counters.append(counters)
        merged.sources[source] = None

    def _log(self, logged: LoggedStatement) -> None:
        merged = self._of(logged.text, fallback=logged.fingerprint)
        merged.logged.append(logged)
        merged.samples += logged.samples
        merged.sources["slow log"] = None

    def _finished(self, shares: dict[str, float]) -> list[Statement]:
        return _by_share(mysql_digests.finished(one, shares.get(one.fingerprint, 0.0), self._catalog) for one in self._merged.values())


def _by_share(statements: Iterable[Statement]) -> list[Statement]:
    return sorted(statements, key=lambda one: (-one.share, -one.total_ms, one.fingerprint))


def letters_fingerprint(text: str) -> str:
    """Of a text that the parser refuses: by its letters without what stands in quotes, as the reader of the server log names it."""
    return _name_of(without_strings(text))


def digest_fingerprint(digest: str) -> str:
    """The first sixteen digits of MySQL's DIGEST; empty when it is none."""
    start = digest[:16].lower()
    return start if len(start) == 16 and all(letter in "0123456789abcdef" for letter in start) else ""


def _name_of(text: str) -> str:
    return blake2b(text.encode("utf-8", "replace"), digest_size=8).hexdigest()


def _seconds(window: ObservedWindow | None, log: LogDigest | None) -> tuple[float, float]:
    """How long counters and log looked; the log at least as long as the window: it may just have had nothing to say at its ends."""
    seconds = window.seconds if window else 0.0
    span = 0.0
    if log is not None and (first := _time(log.first_at)) and (last := _time(log.last_at)):
        try:
            span = max(0.0, (last - first).total_seconds())
        except TypeError:  # one with and one without its time zone
            span = 0.0
    return seconds, max(seconds, span)


def _time(text: str) -> datetime | None:
    """`2026-03-01 10:00:00.123 UTC`, as logs have it: the zone's name is left out, since both ends have the same; or ISO 8601."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        pass
    bare = " ".join(text.replace("T", " ").split()[:2])
    for one in TIME_FORMATS:
        try:
            return datetime.strptime(bare, one)  # only differences count
        except ValueError:
            continue
    return None


def _shares(merged: Iterable[Merged], window: ObservedWindow | None, seconds: float, log_seconds: float) -> tuple[dict[str, float], float]:
    """Fingerprint -> share of the whole, and the whole in milliseconds as its sources counted it."""
    statements = list(merged)
    counted_ms = sum(one.top_level_ms for one in statements if one.counters)
    if window is not None:
        # The server may have had statements whose texts it dropped, or more than are listed.
        counted_ms = max(counted_ms, window.total_ms)
    logged_ms = sum(one.total_ms for one in statements if not one.counters)
    rates = {one.fingerprint: one.total_ms / _span(one, seconds, log_seconds) for one in statements}
    whole = counted_ms / (seconds or 1.0) + logged_ms / (log_seconds or 1.0)
    # Statements inside functions may be all that is known of their callers.
    whole = max(whole, max(rates.values(), default=0.0))
    return {name: rate / whole if whole > 0 else 0.0 for name, rate in rates.items()}, counted_ms + logged_ms


def _span(one: Merged, seconds: float, log_seconds: float) -> float:
    return (seconds if one.counters else log_seconds) or 1.0
