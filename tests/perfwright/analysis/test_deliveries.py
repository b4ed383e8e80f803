"""What a kept change looks like where its owner keeps state."""

import ast
import runpy
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations

from perfwright.analysis.changes.deliveries import branch_of, files_of
from perfwright.models.change import FileSpec, IndexSpec, InterpreterSpec, LaunchSpec, PatchSpec, Replacement, SettingSpec
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.undo import UndoRecord
from perfwright.models.undo_data import CollectorState, FileUndo, IndexUndo, InterpreterUndo, LaunchUndo, PatchUndo, SettingUndo

CREATE = 'CREATE INDEX CONCURRENTLY "by day" ON public.orders USING btree (day)'
SETTING = SettingUndo(scope="system", name="work_mem", wanted=("64MB",), earlier="'4MB'")
STATE = CollectorState(thresholds=(700, 10, 10), enabled=True, frozen=False)


def record(spec: Any, undo: Any) -> UndoRecord:
    target = Target(name="shop", kind="process", environment="lab", process=ProcessSelector(command=("python", "shop.py")))
    return UndoRecord(change_id="run/1", title="a change", target=target, subject="x", spec=spec, undo=undo)


def index(action: str) -> UndoRecord:
    undo = IndexUndo(
        action=action, database="shop", schema_name="public", name="by day", table_oid=1, statement=CREATE, definition="USING btree (day)"
    )
    return record(IndexSpec(create=CREATE), undo)


def sent(code: str, function: str, folder: Path) -> str:
    """What Alembic sends to the server for it."""
    (folder / "revision.py").write_text(code)
    told = StringIO()
    context = MigrationContext.configure(dialect_name="postgresql", opts={"as_sql": True, "output_buffer": told})
    with Operations.context(context):
        runpy.run_path(str(folder / "revision.py"))[function]()
    return told.getvalue()


@pytest.mark.parametrize("action", ["create", "drop"])
def test_an_index_becomes_a_migration(action: str, tmp_path: Path) -> None:
    """Plain SQL both ways, and an Alembic revision that does the same outside of a transaction. It fits where the index stands already."""
    up, down, alembic = files_of(index(action), "orders by day")
    first, second = (up, down) if action == "create" else (down, up)
    create, drop = CREATE.replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS"), 'DROP INDEX CONCURRENTLY IF EXISTS public."by day"'
    assert f"\n{create};\n" in first.content and f"\n{drop};\n" in second.content
    for file, function in ((up, "upgrade"), (down, "downgrade")):
        assert (create if file is first else drop) in sent(alembic.content, function, tmp_path)
    functions = {node.name: ast.unparse(node) for node in ast.parse(alembic.content).body if isinstance(node, ast.FunctionDef)}
    assert all("autocommit_block" in functions[name] for name in ("upgrade", "downgrade"))
    assert all(one.name.isascii() and " " not in one.name and "orders by day" in one.content for one in (up, alembic))


def test_a_dropped_index_is_made_again_whole(tmp_path: Path) -> None:
    """With tablespace, statistics targets and comment, which its definition does not say; colons of a literal are no parameters."""
    made = CREATE + r" WHERE note <> 'see :word, 10:30, \:x' AND at > '2026-01-01'::date"
    more = {"statement": made, "tablespace": "Fast Disks", "comment": "it's :old", "statistics": {1: 500}}
    dropped = index("drop")
    dropped = dropped.model_copy(update={"undo": dropped.undo.model_copy(update=more)})
    _, down, alembic = files_of(dropped, "")
    wanted = [
        "SET default_tablespace = 'Fast Disks';",
        made.replace("CONCURRENTLY", "CONCURRENTLY IF NOT EXISTS") + ";",
        "RESET default_tablespace;",
        'ALTER INDEX public."by day" ALTER COLUMN 1 SET STATISTICS 500;',
        "COMMENT ON INDEX public.\"by day\" IS 'it''s :old';",
    ]
    for told in (down.content, sent(alembic.content, "downgrade", tmp_path)):
        assert [line for line in told.splitlines() if line in wanted] == wanted


@pytest.mark.parametrize(
    ("undo", "line"),
    [
        (SETTING, "work_mem = '64MB'\n"),
        (SETTING.model_copy(update={"context": "postmaster"}), "after a restart"),
        (SETTING.model_copy(update={"name": "log_line_prefix", "wanted": (r"it's \t",)}), r"log_line_prefix = 'it''s \\t'"),
        (
            SETTING.model_copy(update={"name": "temp_tablespaces", "listed": True, "wanted": ("MySpace", "a,b", "plain")}),
            """temp_tablespaces = '"MySpace", "a,b", plain'""",
        ),
        (SETTING.model_copy(update={"scope": "role", "role": 'o"k'}), 'ALTER ROLE "o""k" SET "work_mem" = \'64MB\';'),
        (SETTING.model_copy(update={"scope": "role in database", "role": "a", "database": "B"}), 'ALTER ROLE a IN DATABASE "B" SET'),
        (SETTING.model_copy(update={"scope": "database", "database": "b", "wanted": ("it's", "b")}), "= 'it''s', 'b';"),
    ],
)
def test_a_setting_becomes_a_fragment(undo: SettingUndo, line: str) -> None:
    """Of postgresql.conf for the server, as SQL for roles and databases."""
    [file] = files_of(record(SettingSpec(name="work_mem", value="64MB"), undo), "")
    assert line in file.content and "a change" in file.content


def test_the_others_become_what_their_owner_edits() -> None:
    """How it is launched, start-up code, an edit; a patch stays on its branch."""
    spec = LaunchSpec(after_program=("-X", "dev"), environment={"WORK": "a b", "OLD": None})
    [launch] = files_of(record(spec, LaunchUndo(file="f", before=None, after="[]")), "")
    assert "export WORK='a b'" in launch.content and "unset OLD" in launch.content and "python -X dev shop.py" in launch.content
    [other] = files_of(record(LaunchSpec(without=("--gone",)), LaunchUndo(file="f", before=None, after="[]")), "")
    assert "another one now" in other.content
    tuned = InterpreterSpec(gc_thresholds=(5_000, 10, 10), gc_enabled=True, gc_freeze=True)
    [code] = files_of(record(tuned, InterpreterUndo(pid=1, create_time_s=0.0, before=STATE, after=STATE)), "")
    compile(code.content, "collector.py", "exec")
    assert "gc.set_threshold(5000, 10, 10)" in code.content and "gc.freeze()" in code.content
    edit = FileUndo(
        root="/etc/shop",
        path="app.conf",
        offset=10,
        old="Mg==",
        new="NA==",
        sha256_before="",
        sha256_after="",
        mode=0,
        uid=0,
        gid=0,
        reload=True,
    )
    [shown] = files_of(record(FileSpec(path="app.conf", replacements=(Replacement(find="2", replace="4"),)), edit), "")
    assert "-2\n+4\n" in shown.content
    patch = record(PatchSpec(ref="main"), PatchUndo(repository="/r", base="a", commit="b", tree="c", branch="perfwright/x", worktree="/w"))
    assert files_of(patch, "") == () and branch_of(patch) == "perfwright/x" and branch_of(index("create")) == ""


def test_words_of_people_cannot_end_a_comment() -> None:
    """A title with line ends and quotes stays inside of its comment or docstring."""
    title = 'fast"""\nimport os\nos.system("rm")'
    for file in files_of(index("create"), title):
        if file.name.endswith(".py"):
            assert not [
                node for node in ast.parse(file.content).body if isinstance(node, ast.Expr) and not isinstance(node.value, ast.Constant)
            ]
        else:
            assert all(line.startswith(("--", "CREATE", "DROP")) for line in file.content.splitlines())
