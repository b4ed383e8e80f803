"""What a kept change looks like where its owner keeps state."""

import ast
from typing import Any

import pytest

from perfwright.analysis.changes.deliveries import branch_of, files_of
from perfwright.analysis.explaining.sql_texts import quoted_identifier
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


@pytest.mark.parametrize("action", ["create", "drop"])
def test_an_index_becomes_a_migration(action: str) -> None:
    """Plain SQL both ways, and an Alembic revision that does the same outside of a transaction."""
    up, down, alembic = files_of(index(action), "orders by day")
    first, second = (up, down) if action == "create" else (down, up)
    assert CREATE in first.content and f'DROP INDEX CONCURRENTLY IF EXISTS {quoted_identifier("public")}."by day"' in second.content
    module = ast.parse(alembic.content)
    functions = {node.name: ast.unparse(node) for node in module.body if isinstance(node, ast.FunctionDef)}
    assert ("CREATE" in functions["upgrade"]) == (action == "create") and "autocommit_block" in functions["downgrade"]
    assert all(one.name.isascii() and " " not in one.name and "orders by day" in one.content for one in (up, alembic))


@pytest.mark.parametrize(
    ("undo", "line"),
    [
        (SETTING, "work_mem = '64MB'"),
        (SETTING.model_copy(update={"context": "postmaster"}), "after a restart"),
        (SETTING.model_copy(update={"scope": "role", "role": 'o"k'}), 'ALTER ROLE "o""k" SET work_mem = \'64MB\';'),
        (SETTING.model_copy(update={"scope": "role in database", "role": "a", "database": "b"}), 'ALTER ROLE "a" IN DATABASE "b" SET'),
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
