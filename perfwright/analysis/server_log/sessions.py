"""What one line of a session says about another: statements logged before their durations, plans logged beside them.

- log_statement with log_duration: `statement: SQL`, then `duration: 1.2 ms` without the text.
- auto_explain with log_min_duration_statement: one call gives two lines, the plan before the duration (simple protocol) or after it
  (extended protocol, when the portal is closed). Its time must count once.
- auto_explain.log_nested_statements: plans of statements inside functions, whose time is in that of the outer statement.
"""

from collections.abc import Sequence

import msgspec

from perfwright.analysis.server_log.messages import millisecond_of_day

MOST_SESSIONS = 10_000
MOST_PLANS = 64
"""Plans of one session that wait for a line that tells what they belong to."""
ROUNDING_MS = 1.5
"""Times in the log are whole milliseconds; of two of them one may be rounded up and the other down."""


class Call(msgspec.Struct):
    """A plan's statement that is not counted yet: until the line comes that it is a part of, or turns out to be missing."""

    fingerprint: str
    duration_ms: float
    end_ms: float
    """Milliseconds of the day."""
    nested: bool = False

    def is_within(self, duration_ms: float, end_ms: float) -> bool:
        """Whether it ran while the other did."""
        starts = end_ms - duration_ms - ROUNDING_MS
        return self.end_ms - self.duration_ms >= starts and self.end_ms <= end_ms + ROUNDING_MS


class Sessions(msgspec.Struct):
    """By session id. Bounded: when there are too many, all are forgotten; that costs at most one call of each."""

    statements: dict[str, tuple[str, str]] = {}
    """Text and detail, logged before the duration."""
    last: dict[str, tuple[str, float]] = {}
    """Fingerprint and milliseconds of the last call that was counted, until its plan comes."""
    plans: dict[str, list[Call]] = {}
    durations_told: bool = False
    """The log has durations of whole statements, so that what ran inside of one need not be counted."""

    def statement(self, session: str, text: str, detail: str) -> None:
        """A statement was logged without a duration."""
        if len(self.statements) >= MOST_SESSIONS:
            self.statements.clear()
        self.statements[session] = (text, detail)

    def counted(self, session: str, fingerprint: str, duration_ms: float, timestamp: str) -> Sequence[Call]:
        """A call was counted: plans that belong to it are done with; returned are those that do not, to be counted themselves."""
        self.durations_told = True
        others: list[Call] = []
        if session in self.plans:
            end_ms = millisecond_of_day(timestamp)
            for call in self.plans.pop(session):
                if end_ms is None or not call.is_within(duration_ms, end_ms):
                    others.append(call)
                elif call.fingerprint == fingerprint:
                    self.last.pop(session, None)
                    fingerprint = ""
        if fingerprint:
            if len(self.last) >= MOST_SESSIONS:
                self.last.clear()
            self.last[session] = (fingerprint, duration_ms)
        return others

    def plan(self, session: str, call: Call) -> list[Call]:
        """A plan was logged. Returned are the calls to be counted now."""
        last = self.last.get(session)
        if last is not None and not call.nested and last[0] == call.fingerprint and call.duration_ms <= last[1]:
            del self.last[session]
            return []
        ready: list[Call] = []
        waiting = self.plans.get(session, [])
        if not call.nested:
            # Several of one text wait for the duration of all: `SELECT 1; SELECT 2` has two plans. Other texts had their chance.
            ready = [one for one in waiting if not one.nested and one.fingerprint != call.fingerprint]
            ready += [one for one in waiting if one.nested and not one.is_within(call.duration_ms, call.end_ms)]
            waiting = [one for one in waiting if not one.nested and one.fingerprint == call.fingerprint]
        waiting = [*waiting, call]
        if len(waiting) > MOST_PLANS:
            oldest = waiting.pop(0)
            if not (oldest.nested and self.durations_told):
                ready.append(oldest)
        if len(self.plans) >= MOST_SESSIONS:
            ready += self.finish()
        self.plans[session] = waiting
        return ready

    def finish(self) -> list[Call]:
        """All that wait: nothing more will come."""
        ready = [call for waiting in self.plans.values() for call in waiting]
        self.plans = {}
        return ready
