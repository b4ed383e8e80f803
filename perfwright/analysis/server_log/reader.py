"""Reads a server log: bytes in, a digest of its statements out.

    reader = LogReader(database="shop")
    reader.begin_file("postgresql-Mon.json", "jsonlog")
    reader.feed("postgresql-Mon.json", data)     # cut anywhere; of several files in turns, if need be
    kept = reader.state()                        # JSON; LogReader.restore(kept) goes on from here
    reader.end_file("postgresql-Mon.json")
    reader.digest()

Memory is bounded (see shapes.py, fingerprints.py, sessions.py, lines.py). The same bytes give the same digest however they were cut, and
whether or not the reader was stored and restored between.
"""

from array import array
from typing import Any

import msgspec

from perfwright.analysis.database.own_statements import MARK
from perfwright.analysis.server_log.csvlog import CsvLog
from perfwright.analysis.server_log.entries import Entry, LogFormat
from perfwright.analysis.server_log.fingerprints import Fingerprints
from perfwright.analysis.server_log.jsonlog import JsonLog
from perfwright.analysis.server_log.messages import (
    in_other_language,
    millisecond_of_day,
    parameters_in_detail,
    plan_of,
)
from perfwright.analysis.server_log.sessions import Call, Sessions
from perfwright.analysis.server_log.shapes import Shape, ShapeTable
from perfwright.analysis.server_log.stderr import StderrLog
from perfwright.models.statement import LogDigest, StatementSource

FORMATS: dict[LogFormat, type[JsonLog] | type[CsvLog] | type[StderrLog]] = {"jsonlog": JsonLog, "csvlog": CsvLog, "stderr": StderrLog}
DURATION, STATEMENT, EXECUTE, FETCH, PLAN = "duration: ", "statement: ", "execute ", "fetch from ", "plan:\n"
LONGEST_MS = 1e10
"""Four months: what claims to have taken longer is no duration."""
MOST_GAPS = 50
MOST_DATABASES = 20
OWN_WITHIN = 160
"""Characters in which the mark of our own statements stands: behind the duration and the names of statement and portal."""
PIECE_BYTES = 1 << 20
"""What is worked on at a time, however much is fed."""


class _OpenFile(msgspec.Struct):
    """A file that is being read."""

    parser: JsonLog | CsvLog | StderrLog
    first_at: str = ""
    last_at: str = ""


class _State(msgspec.Struct):
    """All that the reader knows."""

    database: str
    own_application: str
    open_files: dict[str, _OpenFile] = {}
    table: ShapeTable = msgspec.field(default_factory=ShapeTable)
    sessions: Sessions = msgspec.field(default_factory=Sessions)
    files: list[str] = []
    read_bytes: int = 0
    lines: int = 0
    """Of files that ended."""
    broken: int = 0
    first_at: str = ""
    last_at: str = ""
    calls: int = 0
    temp_file_bytes: int = 0
    lock_waits: int = 0
    checkpoints: int = 0
    unreadable_plans: int = 0
    lone_durations: int = 0
    lone_statements: int = 0
    foreign_durations: int = 0
    unnamed_database: int = 0
    other_databases: dict[str, int] = {}
    """Entries that were left out, by database."""
    gaps: list[str] = []


class LogReader:
    """One log, in one or several files that follow each other. Statements of other databases, and of our own sessions, are left out."""

    def __init__(self, database: str = "", own_application: str = "") -> None:
        self._state = _State(database, own_application)
        self._fingerprints = Fingerprints(self._state.table)
        self._database_told = True

    @classmethod
    def restore(cls, state: bytes) -> "LogReader":
        """From what `state` gave. Raises ValueError for anything else."""
        reader = cls()
        try:
            reader._state = msgspec.json.decode(state, type=_State, dec_hook=_from_json)
        except (msgspec.DecodeError, UnicodeDecodeError) as trouble:
            raise ValueError(f"not the state of a log reader: {trouble}") from trouble
        reader._fingerprints = Fingerprints(reader._state.table)
        return reader

    def state(self) -> bytes:
        """Everything, as JSON."""
        return msgspec.json.encode(self._state, enc_hook=_to_json)

    @property
    def read_bytes(self) -> int:
        return self._state.read_bytes

    @property
    def lines(self) -> int:
        return self._state.lines + sum(one.parser.lines for one in self._state.open_files.values())

    @property
    def calls(self) -> int:
        """Statements that were executed, as far as read."""
        return self._state.calls

    def begin_file(self, name: str, log_format: LogFormat, *, in_middle: bool = False) -> None:
        """`in_middle`: what comes first may be the rest of a record whose begin is not fed."""
        if name not in self._state.files:
            self._state.files.append(name)
        parser = FORMATS[log_format]()
        if in_middle and isinstance(parser, CsvLog):
            parser.seeking = True
        self._state.open_files[name] = _OpenFile(parser)

    def feed(self, name: str, data: bytes) -> None:
        """The next bytes of a file."""
        file = self._state.open_files[name]
        self._state.read_bytes += len(data)
        for start in range(0, len(data), PIECE_BYTES):
            self._take(file, file.parser.feed(data[start : start + PIECE_BYTES]))

    def end_file(self, name: str, *, goes_on: bool = False) -> None:
        """Nothing more is fed of this file. What stands after its last newline is taken if it is whole, and broken if it is not; where the
        file goes on it is neither."""
        state, file = self._state, self._state.open_files[name]
        if goes_on:
            file.parser.forget_rest()
        self._take(file, file.parser.finish())
        del state.open_files[name]
        state.lines += file.parser.lines
        state.broken += file.parser.broken
        state.first_at = min((at for at in (state.first_at, file.first_at) if at), default="")
        state.last_at = max(state.last_at, file.last_at)

    def note_gap(self, text: str) -> None:
        """Something that could not be read."""
        gaps = self._state.gaps
        if text not in gaps and len(gaps) < MOST_GAPS:
            gaps.append(text)

    def digest(self) -> LogDigest:
        """What was read. After `end_file`; the reader is not used any more."""
        state = self._state
        assert not state.open_files, "end_file comes first"
        for call in state.sessions.finish():
            self._count_plan(call)
        return LogDigest(
            files=tuple(state.files),
            read_bytes=state.read_bytes,
            lines=state.lines,
            broken_lines=state.broken,
            first_at=state.first_at,
            last_at=state.last_at,
            statements=tuple(shape.as_statement() for shape in state.table.by_cost()),
            left_out=state.table.left_out(),
            temp_file_bytes=state.temp_file_bytes,
            lock_waits=state.lock_waits,
            checkpoints=state.checkpoints,
            gaps=(*state.gaps, *self._notes()),
        )

    def _take(self, file: _OpenFile, entries: list[Entry]) -> None:
        """The hot loop: everything that happens once per line, and nothing more."""
        if not entries:
            return
        state, find_shape = self._state, self._fingerprints.shape_of
        file.first_at = file.first_at or entries[0].timestamp
        file.last_at = entries[-1].timestamp
        self._database_told = not isinstance(file.parser, StderrLog)
        database, own, sessions = state.database, state.own_application, state.sessions
        for entry in entries:
            message = entry.message
            if not message.startswith(DURATION):
                self._take_other(entry)
                continue
            if database and entry.dbname != database:
                if not self._may_be_ours(entry):
                    continue
                state.unnamed_database += 1
            if own and (entry.application_name == own or MARK in message[:OWN_WITHIN]):
                continue
            end = message.find(" ms", 10)
            try:
                duration_ms = float(message[10:end])
            except ValueError:
                continue
            if not 0 <= duration_ms < LONGEST_MS:
                continue
            kind, detail = end + 5, entry.detail
            if message.startswith(STATEMENT, kind):
                text = message[kind + 11 :]
            elif message.startswith(EXECUTE, kind):
                text = message[message.find(": ", kind) + 2 :]  # behind the names of statement and portal
                if message.startswith(FETCH, kind + 8):  # goes on with an earlier execute: its time, not a call of its own
                    find_shape(text).total_ms += duration_ms
                    continue
            elif message.startswith(PLAN, kind):
                self._take_plan(entry, message[kind + 6 :], duration_ms)
                continue
            elif len(message) == end + 3 and (stated := sessions.statements.pop(entry.session_id, None)):
                text, detail = stated
            else:  # planning (parse, bind), or a duration without a statement
                state.lone_durations += len(message) == end + 3
                continue
            shape = find_shape(text)
            state.calls += 1
            if shape.add(duration_ms):
                self._offer(shape, text, parameters_in_detail(detail), duration_ms, "log")
            if session := entry.session_id:
                for call in sessions.counted(session, shape.fingerprint, duration_ms, entry.timestamp):
                    self._count_plan(call)

    def _take_plan(self, entry: Entry, body: str, duration_ms: float) -> None:
        state = self._state
        plan = plan_of(body)
        if plan is None or not plan.document:
            state.unreadable_plans += 1
        if plan is None:
            return
        shape = self._fingerprints.shape_of(plan.text)
        nested = bool(entry.context)
        if plan.document:
            self._grow(shape.offer_plan(plan.document, duration_ms))
        if not nested and shape.wants(duration_ms):  # a nested one has variables of its function in it
            self._offer(shape, plan.text, plan.parameters, duration_ms, "auto_explain")
        end_ms = millisecond_of_day(entry.timestamp)
        call = Call(shape.fingerprint, duration_ms, end_ms or 0.0, nested)
        joined = end_ms is not None and entry.session_id
        for one in state.sessions.plan(entry.session_id, call) if joined else [call]:
            self._count_plan(one)

    def _take_other(self, entry: Entry) -> None:
        """Everything but durations: statements before their duration, errors, temporary files, lock waits, checkpoints."""
        state, message = self._state, entry.message
        if message.startswith(("checkpoint complete:", "restartpoint complete:")):
            state.checkpoints += 1
            return
        if state.database and entry.dbname != state.database and not self._may_be_ours(entry):
            return
        if state.own_application and (entry.application_name == state.own_application or MARK in entry.statement[:OWN_WITHIN]):
            return
        if message.startswith(STATEMENT):
            self._stated(entry, message[len(STATEMENT) :])
        elif message.startswith(EXECUTE) and (colon := message.find(": ")) > 0:
            self._stated(entry, message[colon + 2 :])
        elif entry.error_severity in ("ERROR", "FATAL", "PANIC"):
            state.sessions.statements.pop(entry.session_id, None)
            if entry.statement:
                self._fingerprints.shape_of(entry.statement).errors += 1
        elif message.startswith("temporary file: path "):
            size = message.rpartition(", size ")[2]
            state.temp_file_bytes += int(size) if size.isdecimal() else 0
        elif message.startswith("process ") and " still waiting for " in message:
            state.lock_waits += 1
        elif in_other_language(message):
            state.foreign_durations += 1

    def _stated(self, entry: Entry, text: str) -> None:
        self._state.lone_statements += 1
        if entry.session_id:
            self._state.sessions.statement(entry.session_id, text, entry.detail)

    def _may_be_ours(self, entry: Entry) -> bool:
        """log_line_prefix need not tell the database."""
        if entry.dbname or self._database_told:
            others = self._state.other_databases
            if entry.dbname and (entry.dbname in others or len(others) < MOST_DATABASES):
                others[entry.dbname] = others.get(entry.dbname, 0) + 1
            return False
        return True

    def _offer(self, shape: Shape, text: str, parameters: str, duration_ms: float, source: StatementSource) -> None:
        self._grow(shape.offer_sample(text, parameters, duration_ms, source))

    def _grow(self, weight: int) -> None:
        self._state.table.weight += weight
        if weight > 0:
            self._fingerprints.make_room()

    def _count_plan(self, call: Call) -> None:
        """A plan whose statement has no other line: it is the only one that tells of this call."""
        shape = self._state.table.shapes.get(call.fingerprint)
        if shape is not None:
            self._state.calls += 1
            shape.add(call.duration_ms)

    def _notes(self) -> list[str]:
        """What the log does not tell, and what would make it tell."""
        state, notes = self._state, []
        if calls := state.table.dropped_calls:
            seconds = state.table.dropped_ms / 1000
            notes.append(
                f"{calls:,} calls ({seconds:,.1f} s in all) of the cheapest statements were left out: there are too many different ones"
            )
        if state.unreadable_plans:
            notes.append(f"{state.unreadable_plans:,} plans of auto_explain are not JSON and were not read: auto_explain.log_format = json")
        if state.foreign_durations:
            notes.append(f"{state.foreign_durations:,} lines have durations in another language than English: lc_messages = C")
        if not state.calls and state.lone_durations:
            notes.append(f"{state.lone_durations:,} durations have no statement (log_duration alone): log_min_duration_statement = 0")
        elif not state.calls and state.lone_statements:
            notes.append(f"{state.lone_statements:,} statements have no duration (log_statement alone): log_min_duration_statement = 0")
        if not state.calls and state.other_databases:
            entries = sum(state.other_databases.values())
            names = ", ".join(state.other_databases)
            notes.append(f"no statement is of database {state.database}; {entries:,} entries of {names} were left out")
        if state.unnamed_database:
            notes.append(
                f"{state.unnamed_database:,} entries do not tell their database, all were taken: log_line_prefix with %d, or jsonlog"
            )
        return notes


def _to_json(value: Any) -> Any:
    if isinstance(value, array):
        return [value.typecode, value.tolist()]
    raise NotImplementedError(f"{type(value).__name__} is not part of the state")


def _from_json(kind: type, value: Any) -> Any:
    return array(value[0], value[1])
