"""A kept change written down for its owner: a migration, a settings fragment, a line of start-up code. Text in, text out."""

import base64
import hashlib
import json
import re
import shlex
from collections.abc import Callable, Sequence

from perfwright.analysis.changes.launches import LaunchRefused, changed_command
from perfwright.analysis.changes.settings_texts import entry_of, joined_list, set_statement
from perfwright.analysis.query_advice.identifiers import literal, qualified
from perfwright.models.change import InterpreterSpec, LaunchSpec
from perfwright.models.delivery import DeliveredFile
from perfwright.models.undo import UndoRecord
from perfwright.models.undo_data import FileUndo, IndexUndo, InterpreterUndo, LaunchUndo, PatchUndo, SettingUndo, UndoData

SQL, PYTHON, TEXT = "application/sql", "text/x-python", "text/plain"


def files_of(record: UndoRecord, reason: str) -> tuple[DeliveredFile, ...]:
    """What its owner adds to where state is kept; nothing for a patch, whose branch has it all."""
    for undo, write in _WRITERS.items():
        if isinstance(record.undo, undo):
            return write(record, _first_line(record, reason))
    return ()


def branch_of(record: UndoRecord) -> str:
    return record.undo.branch if isinstance(record.undo, PatchUndo) else ""


def _first_line(record: UndoRecord, reason: str) -> str:
    words = " ".join((reason or record.title).split())[:200]
    return f"{words} ({record.target.name}, change {record.change_id})"


def _index(record: UndoRecord, line: str) -> tuple[DeliveredFile, ...]:
    undo = record.undo
    assert isinstance(undo, IndexUndo), "chosen by it"
    title = qualified(undo.schema_name, undo.name)
    create, drop = _made_whole(undo, title), (f"DROP INDEX CONCURRENTLY IF EXISTS {title}",)
    up, down = (create, drop) if undo.action == "create" else (drop, create)
    name = f"{undo.action}_{re.sub(r'[^a-z0-9_]+', '_', undo.name.lower())[:60]}"
    note = "-- Not inside a transaction: it is CONCURRENTLY, so that writers go on. Drop what a build that was cut short left first.\n"
    revision = hashlib.sha256(f"{record.change_id} {'; '.join(up)}".encode()).hexdigest()[:12]
    alembic = (
        f'"""{_plain(line)}\n\nSet down_revision to the revision that it follows.\n"""\n\n'
        f'from alembic import op\n\nrevision = "{revision}"\ndown_revision = None\n\n\n'
        f"def upgrade() -> None:\n    with op.get_context().autocommit_block():\n{_executed(up)}\n\n"
        f"def downgrade() -> None:\n    with op.get_context().autocommit_block():\n{_executed(down)}"
    )
    return (
        DeliveredFile(name=f"{name}.up.sql", media_type=SQL, content=f"-- {line}\n{note}{_sql(up)}", title="Migration, plain SQL"),
        DeliveredFile(name=f"{name}.down.sql", media_type=SQL, content=f"-- Undo of: {line}\n{note}{_sql(down)}", title="Its undo"),
        DeliveredFile(name=f"{revision}_{name}.py", media_type=PYTHON, content=alembic, title="Migration, Alembic"),
    )


def _made_whole(undo: IndexUndo, title: str) -> tuple[str, ...]:
    """The index, with what its definition does not say. It stands already where it was kept, and migrations are run there too."""
    create = undo.statement.rstrip().rstrip(";").replace(" INDEX CONCURRENTLY ", " INDEX CONCURRENTLY IF NOT EXISTS ", 1)
    made = [create]
    if undo.tablespace:
        made = [f"SET default_tablespace = {literal(undo.tablespace)}", create, "RESET default_tablespace"]
    made += [f"ALTER INDEX {title} ALTER COLUMN {column} SET STATISTICS {target}" for column, target in sorted(undo.statistics.items())]
    if undo.comment is not None:
        made.append(f"COMMENT ON INDEX {title} IS {literal(undo.comment)}")
    return tuple(made)


def _sql(statements: Sequence[str]) -> str:
    return "".join(f"{one};\n" for one in statements)


def _executed(statements: Sequence[str]) -> str:
    """Alembic makes SQLAlchemy's text() of what it executes, in which `:word` is a parameter and a backslash takes that from it."""
    return "".join("        op.execute({!r})\n".format(one.replace(":", "\\:")) for one in statements)


def _setting(record: UndoRecord, line: str) -> tuple[DeliveredFile, ...]:
    undo = record.undo
    assert isinstance(undo, SettingUndo), "chosen by it"
    if undo.scope == "system":
        shown = joined_list(undo.wanted) if undo.listed else undo.wanted[0]
        restart = "  # takes effect after a restart" if undo.restarts else ""
        content = f"# {line}\n{entry_of(undo.name, shown)}{restart}\n"
        return (DeliveredFile(name=f"{undo.name}.conf", media_type=TEXT, content=content, title="Fragment for postgresql.conf"),)
    content = f"-- {line}\n{set_statement(undo, undo.wanted)};\n"
    return (DeliveredFile(name=f"{undo.name}.sql", media_type=SQL, content=content, title="Setting, as SQL"),)


def _launch(record: UndoRecord, line: str) -> tuple[DeliveredFile, ...]:
    spec = record.spec
    assert isinstance(spec, LaunchSpec), "its undo is of a launch"
    command = record.target.process.command if record.target.process else None
    variables = [
        f"export {name}={shlex.quote(value)}" if value is not None else f"unset {name}" for name, value in spec.environment.items()
    ]
    lines = [f"# {line}", *variables]
    if command is not None:
        try:
            changed = changed_command(command, spec)
        except LaunchRefused as reason:
            lines.append(f"# its command in the registry is another one now: {reason}")
        else:
            lines += [shlex.join(changed), "# for the registry:", f"# command = {json.dumps(list(changed))}"]
    return (DeliveredFile(name="launch.sh", media_type=TEXT, content="\n".join(lines) + "\n", title="How it is launched"),)


def _interpreter(record: UndoRecord, line: str) -> tuple[DeliveredFile, ...]:
    spec = record.spec
    assert isinstance(spec, InterpreterSpec), "its undo is of an interpreter"
    lines = [f"# {line}", "# It does not survive a restart: put this where the program starts.", "import gc", ""]
    if spec.gc_thresholds is not None:
        lines.append(f"gc.set_threshold({', '.join(map(str, spec.gc_thresholds))})")
    if spec.gc_enabled is not None:
        lines.append("gc.enable()" if spec.gc_enabled else "gc.disable()")
    if spec.gc_freeze:
        lines += ["gc.collect()", "gc.freeze()  # once everything that lives for long is loaded"]
    return (DeliveredFile(name="collector.py", media_type=PYTHON, content="\n".join(lines) + "\n", title="Start-up code"),)


def _file(record: UndoRecord, line: str) -> tuple[DeliveredFile, ...]:
    undo = record.undo
    assert isinstance(undo, FileUndo), "chosen by it"
    old, new = (base64.b64decode(text).decode(errors="replace") for text in (undo.old, undo.new))
    content = f"# {line}\n# {undo.path}, at byte {undo.offset}\n{_marked('-', old)}{_marked('+', new)}"
    return (DeliveredFile(name="edit.txt", media_type=TEXT, content=content, title=f"Edit of {undo.path}"),)


_WRITERS: dict[type[UndoData], Callable[[UndoRecord, str], tuple[DeliveredFile, ...]]] = {
    IndexUndo: _index,
    SettingUndo: _setting,
    LaunchUndo: _launch,
    InterpreterUndo: _interpreter,
    FileUndo: _file,
}


def _marked(mark: str, text: str) -> str:
    return "".join(f"{mark}{one}\n" for one in text.splitlines())


def _plain(line: str) -> str:
    """Inside a docstring."""
    return line.replace("\\", "/").replace('"', "'")
