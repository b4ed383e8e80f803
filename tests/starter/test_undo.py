"""`perfwright undo`: what stands is listed and undone by hand, with no Temporal server at hand."""

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.history import History
from activities.undo_records import UndoRecords
from lab.starting import ROOT
from perfwright.models.change import FileSpec, Replacement
from perfwright.models.history import RunStart
from perfwright.models.registry import parse_registry
from perfwright.models.undo import ChangeOrder, ChangeOwner
from tests.grafana import Grafana, grafana
from tests.starter.conftest import CLI, say

__all__ = ["grafana"]

REGISTRY = """
[targets.files]
kind = "http"
environment = "lab"
url = "http://localhost:1"
files_root = "{root}"
"""
BEFORE = "workers = 2\n"
NO_SERVER = {"PYTHONPATH": str(ROOT), "TEMPORAL_ADDRESS": "127.0.0.1:1"}
OWNER = ChangeOwner(workflow_id="trial/files", run_id="run-1")


class Stage:
    """A folder with a registry, a history, and a file of two stacked changes of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.file = folder, folder / "etc" / "app.conf"

    async def apply(self, spec: FileSpec, change_id: str, state_folder: Path, owner: ChangeOwner = OWNER) -> None:
        """As a worker does that has its state there."""
        target = parse_registry((self.folder / "perfwright.toml").read_text()).target("files")
        assert target is not None
        history = await History.open("sqlite+aiosqlite:///.perfwright/history.db", folder_of_relative=self.folder)
        work = CarryingOut(UndoRecords(history), Site({}, state_folder))
        await work.apply(ChangeOrder(change_id=change_id, target=target, spec=spec, owner=owner))
        await history.close()

    async def undo(self, *words: str) -> tuple[int, str, str]:
        """Where no Temporal server is."""
        said = await say(["undo", *words], os.environ | NO_SERVER, self.folder)
        return said.code, said.out, said.err


@pytest.fixture
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    stage = Stage(tmp_path)
    stage.file.parent.mkdir()
    stage.file.write_text(BEFORE)
    (tmp_path / "perfwright.toml").write_text(REGISTRY.format(root=stage.file.parent))
    history = await History.open("sqlite+aiosqlite:///.perfwright/history.db", folder_of_relative=tmp_path)
    started = RunStart(
        process="P", target="files", environment="lab", workflow_id="trial/files", run_id="run-1", started_at="2026-03-01T10:00:00Z"
    )
    await history.number_run(started)
    await history.close()
    for number, (find, replace) in enumerate((("2", "4"), ("4", "8")), 1):
        spec = FileSpec(path="app.conf", replacements=(Replacement(find=find, replace=replace),))
        await stage.apply(spec, f"run-1/{number}", tmp_path / ".perfwright")
    yield stage


async def test_what_stands_is_listed(stage: Stage) -> None:
    """Every change that may stand is listed, the latest first, for people and as JSON."""
    command = [sys.executable, "-m", CLI, "undo", "list"]
    listed = subprocess.run(command, cwd=stage.folder, env=os.environ | NO_SERVER, capture_output=True, text=True, timeout=60, check=True)
    out = listed.stdout
    assert "run-1/2" in out and "Edit app.conf" in out and "trial/files" in out
    _, out, _ = await stage.undo("list", "--json")
    assert [(one["change_id"], one["state"]) for one in json.loads(out)] == [("run-1/2", "applied"), ("run-1/1", "applied")]


@pytest.mark.parametrize("name", ["run-1", "trial/files", "files#1"])
async def test_a_run_is_undone(stage: Stage, name: str) -> None:
    """All changes of a run come off, the last first, by any of its names; again there is nothing left."""
    code, _, err = await stage.undo("run", name)
    assert code == 2 and "--yes" in err and stage.file.read_text() == "workers = 8\n"
    code, out, _ = await stage.undo("run", name, "--yes", "--json")
    assert code == 0 and [(one["change_id"], one["state"]) for one in json.loads(out)] == [("run-1/2", "reverted"), ("run-1/1", "reverted")]
    assert stage.file.read_text() == BEFORE
    code, out, _ = await stage.undo("run", name, "--yes")
    assert code == 0 and "Nothing of it is left" in out
    assert "run-1/1" in (await stage.undo("list", "--all"))[1] and "Nothing stands" in (await stage.undo("list"))[1]


async def test_of_several_runs_of_a_number_the_one_with_changes_is_meant(stage: Stage) -> None:
    """Also where its trial made them; where several have some, nothing is undone, and each is told by a name of its own."""
    history = await History.open("sqlite+aiosqlite:///.perfwright/history.db", folder_of_relative=stage.folder)
    for process, run_id in (("CpuOptimizationImplementation", "run-2"), ("CpuProfilingInvestigation", "run-3")):
        started = RunStart(
            process=process, target="files", environment="lab", workflow_id=f"w/{run_id}", run_id=run_id, started_at="2026-03-01T10:00:00Z"
        )
        await history.number_run(started)
    await history.close()
    spec = FileSpec(path="app.conf", replacements=(Replacement(find="8", replace="9"),))
    trial = ChangeOwner(workflow_id="w/run-2/trial/run-2/1", run_id="run-4")
    await stage.apply(spec, "run-4/1", stage.folder / ".perfwright", trial)
    code, _, err = await stage.undo("run", "files#1", "--yes")
    assert code == 2 and stage.file.read_text() == "workers = 9\n"
    assert "several runs go by" in err and "cpu-optimization-implementation/files#1" in err and "run-1" in err and "profiling" not in err
    code, out, _ = await stage.undo("run", "cpu-optimization-implementation/files#1", "--yes", "--json")
    assert code == 0 and [one["change_id"] for one in json.loads(out)] == ["run-4/1"] and stage.file.read_text() == "workers = 8\n"


async def test_one_change_is_undone_in_its_turn(stage: Stage) -> None:
    """A change under another is not undone before it; the reason is told, without a stack trace."""
    code, _, err = await stage.undo("run", "run-1/1", "--yes")
    assert code == 5 and "lies under later changes" in err and "Traceback" not in err
    assert (await stage.undo("run", "run-1/2", "--yes"))[0] == 0 and stage.file.read_text() == "workers = 4\n"


async def test_a_conflict_is_told_and_left(stage: Stage) -> None:
    """What somebody wrote meanwhile stays, with exit code 5; `--leave` closes the record."""
    stage.file.write_text("mine\n")
    code, out, _ = await stage.undo("run", "run-1/2", "--yes")
    assert code == 5 and out.startswith("conflict: ") and stage.file.read_text() == "mine\n"
    code, out, _ = await stage.undo("run", "run-1/2", "--yes", "--leave")
    assert code == 0 and "left as it is by" in out and stage.file.read_text() == "mine\n"


async def test_unknown_runs_are_told(stage: Stage) -> None:
    """A run without changes, and no run at all, are bad usage with the way out."""
    code, _, err = await stage.undo("run", "run-9", "--yes")
    assert code == 2 and "perfwright undo list --all" in err
    assert (await stage.undo("run"))[0] == 2


async def test_one_that_is_not_undone_keeps_no_other(stage: Stage, grafana: Grafana) -> None:
    """What was carried out at another place is refused here, where nothing would be found of it; the others are undone, and all are told.

    What is undone is marked on dashboards."""
    other = stage.file.with_name("other.conf")
    other.write_text(BEFORE)
    spec = FileSpec(path="other.conf", replacements=(Replacement(find="2", replace="4"),))
    await stage.apply(spec, "run-1/3", stage.folder / "elsewhere")
    with (stage.folder / "perfwright.toml").open("a") as registry:
        registry.write(f'[grafana]\nurl = "{grafana.url}"\n')
    code, out, err = await stage.undo("run", "run-1", "--yes", "--json")
    first, *others = json.loads(out)
    assert code == 5 and (first["change_id"], first["state"]) == ("run-1/3", "applied")
    assert str(stage.folder / "elsewhere") in first["failed"] and "--here" in err and "Traceback" not in err
    assert [one["state"] for one in others] == ["reverted", "reverted"]
    assert stage.file.read_text() == BEFORE and other.read_text() != BEFORE
    assert [body["tags"] for _, _, body in grafana.received] == [["perfwright", "undone", "files"]] * 2
    code, out, _ = await stage.undo("run", "run-1", "--yes", "--here")
    assert code == 0 and out.startswith("reverted: ") and other.read_text() == BEFORE
