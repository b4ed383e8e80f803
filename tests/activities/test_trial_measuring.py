"""The measuring steps of a trial, with real programs: both sides alike in all but the change, and what comes of their rounds."""

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.changes.carrying_out import CarryingOut
from activities.changes.kind import Site
from activities.history import History
from activities.trial_measuring.kinds import kind_of
from activities.trial_measuring.measuring import TrialMeasuring
from activities.trial_measuring.sides import opened_sides
from activities.undo_records import UndoRecords
from perfwright.analysis.trials.rounds import plan_round
from perfwright.models.change import ChangeSpec, FileSpec, LaunchSpec, PatchSpec, Replacement
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial import Guard
from perfwright.models.trial_run import BenchmarkMeasurement, MeasuringOrder, TrialEvidence, TrialRequest
from perfwright.models.undo import ChangeOrder
from tests.needs import needs

pytestmark = pytest.mark.timeout(300)

PROGRAM = """
import json, os, sys, time
told = {name: os.environ.get(name, "") for name in ("PYTHONHASHSEED", "PERFWRIGHT_TRIAL_PADDING", "WORK")}
with open(sys.argv[1], "a") as log:
    print(json.dumps({**told, "cores": list(os.sched_getaffinity(0)), "folder": os.getcwd()}), file=log)
"""
WORKING = PROGRAM + "for number in range(int(os.environ.get('WORK', '400_000'))): number % 7\n"
SLEEPING = PROGRAM + "time.sleep(0.1)\n"
FAILING = PROGRAM + "sys.exit(len(open(sys.argv[1]).read().splitlines()) % 7 == 0)\n"
BROKEN = PROGRAM + "sys.exit(os.environ['WORK'])\n"
SLICES = """
import os, sys, time
for line in sys.stdin:
    walls, cpus = [], []
    for _ in range(int(line)):
        wall, cpu = time.perf_counter(), time.process_time()
        for number in range(int(os.environ.get("WORK", "4_000"))): number % 7
        walls.append(time.perf_counter() - wall); cpus.append(time.process_time() - cpu)
    print("slice", sum(walls), sum(cpus), walls[0], cpus[0], flush=True)
"""
SLICES_WITH_WORKERS = (
    """
import os, sys
over, alive = os.pipe()
ready, told = os.pipe()
workers = int(os.environ.get("WORKERS", "1"))
for _ in range(workers):
    if not os.fork():
        os.close(alive)
        held = b"x" * 40_000_000
        os.write(told, b".")
        os.read(over, 1)
        os._exit(0)
for _ in range(workers): os.read(ready, 1)
"""
    + SLICES
)
"""As many that stay up as well, each with 40 MB of its own."""
FASTER = LaunchSpec(environment={"WORK": "100_000"})


class Bench:
    """One target, and a way to measure what is changed on it."""

    def __init__(self, folder: Path, history: History) -> None:
        self.folder, self.history = folder, history
        self.artifacts = ArtifactStore(f"file://{folder}/artifacts")
        self.state = folder / "state"
        self.work = CarryingOut(UndoRecords(history), Site({}, self.state))
        self.program = folder / "program.py"
        self.log = folder / "log"

    def target(self) -> Target:
        command = (sys.executable, str(self.program), str(self.log))
        return Target(
            name="shop",
            kind="process",
            environment="lab",
            process=ProcessSelector(command=command),
            repository=str(self.folder / "repository"),
            files_root=str(self.folder),
        )

    async def ordered(self, phase: str, change: ChangeSpec, *, command: tuple[str, ...] = (), **more: Any) -> MeasuringOrder:
        target, change_id = self.target(), ""
        if phase == "trial":
            change_id = "run/1"
            await self.work.apply(ChangeOrder(change_id=change_id, target=target, spec=change))
        protocol = more.pop("protocol", "run")
        request = TrialRequest(
            target=target,
            title="a try",
            change=change,
            measurement=BenchmarkMeasurement(command=command or (sys.executable, str(self.program), str(self.log)), protocol=protocol),
            artifact_prefix="trial",
            **{"budget_s": 40.0, "wanted_effect": 0.5} | more,
        )
        return MeasuringOrder(request=request, phase=phase, change_id=change_id, seconds=request.budget_s / (2 if phase == "noise" else 1))

    async def measured(self, phase: str, change: ChangeSpec, **more: Any) -> TrialEvidence:
        step = TrialMeasuring(self.artifacts, self.history, {}, self.state)
        return await ActivityEnvironment().run(step.measure_trial, await self.ordered(phase, change, **more))

    def runs(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    async def kept(self, evidence: TrialEvidence) -> list[dict[str, Any]]:
        assert evidence.data is not None
        return [json.loads(line) for line in (await self.artifacts.get(evidence.data)).splitlines()]


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    (tmp_path / "state").mkdir()
    history = await History.open("sqlite+aiosqlite:///history.db", folder_of_relative=tmp_path)
    yield Bench(tmp_path, history)
    await history.close()


@pytest.fixture
def uncounted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is counted under valgrind, which takes seconds: a test of its own does."""
    monkeypatch.setattr("activities.trial_measuring.valgrind.LIMIT_S", 0.0)


async def test_equal_sides_come_out_usable(bench: Bench) -> None:
    """A against A chooses a clock, tells how long a round takes, and keeps every round and a picture."""
    bench.program.write_text(WORKING)
    evidence = await bench.measured("noise", FASTER, guards=(Guard(metric="rss_bytes", margin=0.1),))
    assert evidence.metric == f"{evidence.clock}_s" and evidence.round_s > 0 and evidence.picture
    assert evidence.noise and evidence.noise.verdict in ("usable", "biased", "dependent", "too noisy") and evidence.noise.rounds >= 12
    assert set(evidence.medians) == {"cpu_s", "wall_s", "rss_bytes"} and [one.verdict for one in evidence.guards] == ["held"]
    kept = await bench.kept(evidence)
    assert len(kept) == evidence.rounds + len(evidence.void) and [one["number"] for one in kept] == list(range(len(kept)))
    assert {run["WORK"] for run in bench.runs()} == {""}, "nothing of the change is there yet"


@pytest.mark.usefixtures("uncounted")
async def test_both_sides_are_alike_in_all_but_the_change(bench: Bench) -> None:
    """In each round the same core, hash seed and padding, drawn anew for the next; only the change differs."""
    bench.program.write_text(WORKING)
    evidence = await bench.measured("trial", FASTER)
    assert (
        evidence.judgement and evidence.judgement.verdict == "better" and evidence.judgement.ratio and evidence.judgement.ratio.value < 0.9
    )
    pinned = [run for run in bench.runs() if run["PERFWRIGHT_TRIAL_PADDING"]]
    pairs = list(zip(pinned[::2], pinned[1::2], strict=True))
    assert len(pairs) >= 12 - 1, "a padding may be empty"
    for a, b in pairs:
        assert {a["WORK"], b["WORK"]} == {"", "100_000"} and len(a["cores"]) == 1
        assert all(a[name] == b[name] for name in ("cores", "PYTHONHASHSEED", "PERFWRIGHT_TRIAL_PADDING", "folder"))
    assert len({a["PYTHONHASHSEED"] for a, _ in pairs}) == len(pairs)
    assert {a["WORK"] for a, _ in pairs} == {"", "100_000"}, "either may be first"


async def test_what_waits_is_judged_by_wall_time(bench: Bench) -> None:
    """A program that hardly computes is not judged by its CPU time."""
    bench.program.write_text(SLEEPING)
    evidence = await bench.measured("noise", FASTER, budget_s=12.0)
    assert evidence.clock == "wall" and evidence.metric == "wall_s" and evidence.rounds >= 12


async def test_slices_of_a_program_that_stays_up(bench: Bench) -> None:
    """Iterations are gathered into slices that the clock can see; the change shows in CPU time and wall time."""
    bench.program.write_text(SLICES)
    evidence = await bench.measured("trial", LaunchSpec(environment={"WORK": "1_000"}), protocol="slices", metric="cpu_s")
    assert evidence.judgement and evidence.judgement.verdict == "better" and evidence.judgement.ratio
    assert 0.2 < evidence.judgement.ratio.value < 0.4
    assert set(evidence.medians) == {"cpu_s", "wall_s", "rss_bytes"}


async def test_the_memory_of_all_processes_of_a_side(bench: Bench) -> None:
    """Twice the workers hold twice as much, though no process holds more; how it was looked at is told with the evidence."""
    bench.program.write_text(SLICES_WITH_WORKERS)
    order = await bench.ordered("trial", LaunchSpec(environment={"WORKERS": "2"}), protocol="slices")
    record = await UndoRecords(bench.history).find(order.change_id)
    async with kind_of(order.request.measurement).opened(order, record, Site({}, bench.state)) as rounds:
        measured = await rounds.measure(plan_round(np.random.default_rng(1), sorted(os.sched_getaffinity(0))), 0)
        notes = rounds.notes  # type: ignore[attr-defined]  # of this kind
    a, b = measured.values["rss_bytes"]
    assert 40e6 < a < 75e6 and 33e6 < b - a < 50e6, "the program itself and what it shares are counted once"
    assert "up to 3 processes of a side" in notes[-1]


@pytest.mark.usefixtures("uncounted")
async def test_a_patch_is_measured_beside_its_base(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are laid out under paths of the same length and gone afterwards. The repository is not touched for it, nor the worktree of the
    change, so that it can be undone; and once it is kept, and its worktree gone, its guards are still watched, for weeks: nobody else takes
    its folders for abandoned."""
    repository = bench.folder / "repository"
    repository.mkdir()
    (repository / "work.py").write_text(WORKING + "# slow\n")
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "Work")):
        subprocess.run(["git", *words], cwd=repository, check=True)
    lines = WORKING.splitlines()
    shown = "".join(f" {line}\n" for line in lines[-3:-1])
    last = len(lines)
    diff = f"--- a/work.py\n+++ b/work.py\n@@ -{last - 2},4 +{last - 2},4 @@\n{shown}-{lines[-1]}\n+{lines[-1].replace('400_000', '100_000')}\n # slow\n"
    evidence = await bench.measured("trial", PatchSpec(patch=diff), command=(sys.executable, "work.py", str(bench.log)))
    assert evidence.judgement and evidence.judgement.verdict == "better"
    folders = {run["folder"] for run in bench.runs()}
    assert len(folders) == 2 and len({len(one) for one in folders}) == 1
    assert not any(Path(one).exists() for one in folders)
    worktrees = subprocess.run(["git", "worktree", "list"], cwd=repository, check=True, capture_output=True, text=True).stdout
    assert worktrees.count("\n") == 2, "the checkout, and that of the change"
    await bench.work.keep("run/1")
    order = await bench.ordered("watch", PatchSpec(patch=diff), command=(sys.executable, "work.py", str(bench.log)))
    record = await UndoRecords(bench.history).find("run/1")
    monkeypatch.setattr("activities.trial_measuring.sides.TOUCHED_EVERY_S", 0.01)
    async with opened_sides(order, record, Site({}, bench.state), ("true",), "") as sides:
        folder = sides["A"].directory
        os.utime(folder, (1.0, 1.0))
        while folder.stat().st_mtime == 1.0:  # the test's own limit ends it
            await asyncio.sleep(0.01)
        a, b = ((sides[side].directory / "work.py").read_text() for side in ("A", "B"))
        assert "400_000" in a and "100_000" in b
    assert (await bench.work.revert("run/1")).state == "reverted"


async def test_an_attempt_goes_on_where_a_killed_one_was(bench: Bench) -> None:
    """Rounds of the attempt before count, and are not measured again."""
    bench.program.write_text(WORKING)
    folder = bench.state / "trials" / "test-run-noise-test"
    folder.mkdir(parents=True)
    done = [{"number": one, "values": {"cpu_s": [0.1, 0.1], "wall_s": [0.1, 0.1]}, "wall_s": 0.5} for one in range(29)]
    (folder / "rounds.jsonl").write_text("".join(json.dumps(one) + "\n" for one in done) + '{"number": 29, "val')
    evidence = await bench.measured("noise", FASTER)
    assert evidence.rounds == 30 and len(bench.runs()) == 2 + 2, "one round, and each side once to warm up"
    assert [one["number"] for one in await bench.kept(evidence)] == list(range(30))


async def test_a_round_that_fails_does_not_count(bench: Bench) -> None:
    """It is told with its reason, and the trial goes on; where sides fail all the time it ends with the last reason."""
    bench.program.write_text(FAILING)
    evidence = await bench.measured("noise", FASTER, budget_s=60.0)
    assert evidence.void and all("exit code 1" in one for one in evidence.void) and evidence.rounds >= 12
    bench.program.write_text(BROKEN)
    with pytest.raises(ApplicationError, match="KeyError: 'WORK'"):
        await bench.measured("trial", FASTER)


async def test_too_short_a_budget_says_how_long_would_do(bench: Bench) -> None:
    """Not a round more is run than it takes to know."""
    bench.program.write_text(PROGRAM + "time.sleep(0.5)\n")
    evidence = await bench.measured("noise", FASTER, budget_s=5.0)
    assert evidence.noise and evidence.noise.verdict == "too few" and evidence.rounds == 2
    assert evidence.noise.seconds_needed and evidence.noise.seconds_needed >= 12


async def test_changes_without_two_sides_are_refused(bench: Bench) -> None:
    """A file is edited where it is: it has to be switched."""
    bench.program.write_text(WORKING)
    spec = FileSpec(path="program.py", replacements=(Replacement(find="% 7", replace="% 8"),), reload=False)
    with pytest.raises(ApplicationError, match='Measure it as "switched"'):
        await bench.measured("noise", spec)


@needs("valgrind")
async def test_counts_stand_beside_the_time(bench: Bench) -> None:
    """Counted by valgrind: less work shows as far fewer instructions and numbers made, however noisy the machine is."""
    bench.program.write_text("import os\nfor number in range(int(os.environ.get('WORK', '100_000'))): number % 7\n")
    evidence = await bench.measured("trial", LaunchSpec(environment={"WORK": "1_000"}), budget_s=10.0)
    ratios = {one.name: one.ratio for one in evidence.companions}
    assert set(ratios) <= {"instructions", "allocations", "allocated in all"}
    for name in ("instructions", "allocations"):
        if name not in ratios:  # a crowded machine takes too long
            assert any(name in one and "not counted" in one and " s" in one for one in evidence.warnings), evidence.warnings
            continue
        ratio = ratios[name]
        assert ratio is not None and ratio < 0.95, name
