"""Code laid out, calls recorded and made again: real git, real interpreters; the repository is never touched."""

import json
import os
import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.code_calls import CodeCalls
from activities.code_candidates import REPEAT, CodeCandidates, repeated
from activities.code_checks import CodeChecks
from perfwright.analysis.codemods.proposals import unified_patch
from perfwright.analysis.optimization_questions import approach_question
from perfwright.models.change import PatchSpec
from perfwright.models.cpu_optimization import (
    CallsRecorded,
    CallsToRecord,
    Candidate,
    CandidatesFound,
    CandidatesQuery,
    Checked,
    CheckOrder,
    CodeBase,
    GivenOrder,
    HotCodeQuery,
    HotFunction,
    StackOrder,
)
from perfwright.models.cpu_profiling import HotPaths, HotSpot
from perfwright.models.measurement import Interval
from tests.activities.code_projects import DEDUPE, PYTHON, git, hot, prepared, project, snapshot

WRONG = DEDUPE.replace("    found = []\n", "    found, known = [], set()\n").replace(
    "not in found:\n            found.append(value)", "not in known:\n            known.add(value)\n            found.append(value)"
)
"""As many would write it: it raises where a value cannot be hashed."""


class Site:
    """The activities of a worker with a folder of its own, and a prepared commit."""

    def __init__(self, folder: Path) -> None:
        self.environment = ActivityEnvironment()
        self.candidates = CodeCandidates(folder / "state", {})
        self.calls = CodeCalls(folder / "state", {})
        self.checks = CodeChecks(folder / "state", {})
        self.state = folder / "state"

    async def code(self, repository: Path, **commands: Any) -> CodeBase:
        return await self.environment.run(self.candidates.prepare_code, prepared(repository, **commands))

    async def recorded(self, code: CodeBase, *functions: HotFunction) -> CallsRecorded:
        return await self.environment.run(self.calls.record_calls, CallsToRecord(code=code, functions=functions))

    async def found(self, code: CodeBase, calls: CallsRecorded, *functions: HotFunction) -> tuple[Candidate, ...]:
        query = CandidatesQuery(code=code, functions=functions, calls=calls, least_gain_share=0.01)
        return (await self.environment.run(self.candidates.find_candidates, query)).candidates

    async def check(self, code: CodeBase, candidate: Candidate, calls: CallsRecorded, line: int, patch: str = "") -> Checked:
        order = CheckOrder(code=code, tip=code.commit, patch=patch or candidate.patch, candidate=candidate, line=line, calls=calls)
        return await self.environment.run(self.checks.check_code, order)


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


DISTINCT = hot("shop/dedupe.py", DEDUPE, "distinct")


async def test_a_candidate_is_found_checked_and_leaves_no_trace(site: Site, tmp_path: Path) -> None:
    """The hot function's calls are recorded, a change of it is proposed and answers them all alike; nothing of it is left anywhere."""
    repository = project(tmp_path / "repository")
    before = snapshot(repository)
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    assert calls.functions[0].calls == 20 and calls.functions[0].kept >= 12
    [candidate] = await site.found(code, calls, DISTINCT)
    checked = await site.check(code, candidate, calls, DISTINCT.line)
    assert checked.problem == "" and checked.differential is not None
    assert checked.differential.recorded >= 12 and checked.differential.raised > 5 and checked.differential.differences == 0
    await site.environment.run(site.candidates.release_code, code)
    assert snapshot(repository) == before
    assert [*(site.state / "trees").iterdir()] == []


async def test_a_change_that_is_wrong_on_an_edge_is_found(site: Site, tmp_path: Path) -> None:
    """What passes the project's tests and every recorded call, but raises for a value that cannot be hashed, is not right."""
    repository = project(tmp_path / "repository", {"check.py": "from shop.dedupe import distinct\n\nassert distinct([1, 1]) == [1]\n"})
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    [candidate] = await site.found(code, calls, DISTINCT)
    checked = await site.check(code, candidate, calls, DISTINCT.line, unified_patch("shop/dedupe.py", DEDUPE, WRONG))
    assert checked.tests is not None and checked.tests.passed
    assert checked.differential is not None and checked.differential.differences > 0
    assert "unhashable" in checked.problem and "answered differently" in checked.problem


async def test_what_the_real_run_was_given_is_not_told(site: Site, tmp_path: Path) -> None:
    """Arguments may be secrets: of a call that differs only its shape leaves the host, of an exception what the interpreter wrote itself."""
    bench = "from shop.dedupe import distinct\n\nfor _ in range(3):\n    distinct(['hunter2-hunter2', {'token': 'hunter2'}])\n"
    repository = project(tmp_path / "repository", {"bench.py": bench, "check.py": ""})
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    [candidate] = await site.found(code, calls, DISTINCT)
    for new in (
        WRONG,
        DEDUPE.replace("return found", "raise ValueError(values)"),
        DEDUPE.replace("return found", "raise KeyError(values[0])"),
    ):
        checked = await site.check(code, candidate, calls, DISTINCT.line, unified_patch("shop/dedupe.py", DEDUPE, new))
        assert checked.differential is not None and checked.differential.differences
        assert "hunter2" not in calls.model_dump_json() + checked.model_dump_json()


@pytest.mark.parametrize(
    ("new", "told"),
    [
        (DEDUPE.replace("not in found", "in found"), "tests do not pass"),
        (DEDUPE.replace("return found", "return found)"), "cannot be compiled"),
        (DEDUPE.replace("return found", "values.sort(key=str)\n    return found"), "answered differently"),
        (DEDUPE.replace("return found", "print(len(found))\n    return found"), "answered differently"),
        (
            DEDUPE.replace(
                "def distinct(values):\n", "def distinct(values, seen=[]):\n    seen.append(1)\n    values = values[len(seen) - 1 :]\n"
            ),
            "answered differently",
        ),
        (DEDUPE.replace("    found = []", "    if len(values) >= 1_005:\n        return distinct(values)\n    found = []"), "too much"),
    ],
)
async def test_other_wrong_changes_are_found(site: Site, tmp_path: Path, new: str, told: str) -> None:
    """Tests that fail, a file that is no Python, arguments that are left changed, words on standard output, a second call that differs, calls
    within calls without end."""
    repository = project(tmp_path / "repository")
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    [candidate] = await site.found(code, calls, DISTINCT)
    checked = await site.check(code, candidate, calls, DISTINCT.line, unified_patch("shop/dedupe.py", DEDUPE, new))
    assert told in checked.problem, checked


async def test_no_recorded_call_is_no_pass(site: Site, tmp_path: Path) -> None:
    """A function whose arguments cannot be kept is not shown to be right, and the reason is told."""
    bench = "from shop.dedupe import distinct\n\nfor _ in range(3):\n    distinct([lambda: 1, lambda: 2])\n"
    repository = project(tmp_path / "repository", {"bench.py": bench})
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    assert calls.functions[0].kept == 0 and "pickled" in calls.functions[0].not_kept
    [candidate] = await site.found(code, calls, DISTINCT)
    assert "pickled" in (await site.check(code, candidate, calls, DISTINCT.line)).problem


async def test_a_candidate_is_made_again_on_what_was_kept(site: Site, tmp_path: Path) -> None:
    """On top of a commit that moved its lines the same change is proposed; where another has made it, it is not there any more."""
    repository = project(tmp_path / "repository")
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    [candidate] = await site.found(code, calls, DISTINCT)
    tips = []
    for text in (f'"""More."""\n\nIMPORTANT = 1\n{DEDUPE}', WRONG):
        (repository / "shop" / "dedupe.py").write_text(text)
        git(repository, "commit", "-q", "-a", "-m", "moved")
        tips.append(git(repository, "rev-parse", "HEAD").strip())
    orders = [StackOrder(code=code, tip=tip, candidate=candidate, function=DISTINCT, calls=calls) for tip in tips]
    moved, gone = [await site.environment.run(site.candidates.stack_candidate, order) for order in orders]
    assert "IMPORTANT" in moved.patch and "_Members" in moved.patch
    assert gone.patch == "" and gone.why


async def test_a_fix_of_a_linter_is_found_again_on_moved_lines(site: Site, tmp_path: Path) -> None:
    """The hot line stands elsewhere now; what ruff calls unsafe is told so."""
    source = "def cold(xs):\n    return list([x for x in xs])\n\n\ndef warm(xs):\n    return list([x + 1 for x in xs])\n"
    repository = project(tmp_path / "repository", {"shop/more.py": source})
    code = await site.code(repository)
    function, calls = hot("shop/more.py", source, "warm"), CallsRecorded(functions=())
    [candidate] = await site.found(code, calls, function)
    assert candidate.id == "ruff unsafe:shop/more.py:warm" and candidate.title.endswith("(ruff calls it unsafe)")
    question = approach_question(prepared(repository).request, [candidate], CandidatesFound(candidates=(candidate,)))
    assert "(ruff calls it unsafe)" in question.evidence[0] and "which calls it unsafe" in question.evidence[0]
    (repository / "shop" / "more.py").write_text('"""More."""\n' + 30 * "\n" + source)
    git(repository, "commit", "-q", "-a", "-m", "moved")
    tip = git(repository, "rev-parse", "HEAD").strip()
    order = StackOrder(code=code, tip=tip, candidate=candidate, function=function, calls=calls)
    patch = (await site.environment.run(site.candidates.stack_candidate, order)).patch
    assert "+    return [x + 1 for x in xs]\n" in patch and patch.count("\n-  ") == 1


async def test_what_sets_a_global_from_outside_is_known(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As one target of several, with its type, by its name as a text; names that are too many to be asked for are taken for set."""
    setting = 'import shop.price as p\n\np.A = p.B + 1\n(p.C, p.D) = 1, 2\np.E: int = 2\nsetattr(p, "F", 2)\nvars(p)["G"] = 2\nfor p.H in (1, 2):\n    pass\n'
    reading = 'import shop.price as p\n\nprint(p.I == 1, p.J, end="I")\nif p.K:\n    print({"J": p.J}["J"])\n'
    source = "".join(f"{name} = 1\n" for name in "ABCDEFGHIJKL")
    files = {"shop/price.py": source, "shop/setting.py": setting, "shop/reading.py": reading}
    code = await site.code(project(tmp_path / "repository", files))
    assert await site.candidates._assigned_elsewhere(code, source) == {f".{name}" for name in "ACDEFGH"}
    monkeypatch.setattr("activities.code_candidates.GLOBALS_ASKED", 10)
    assert await site.candidates._assigned_elsewhere(code, source) == {f".{name}" for name in "ACDEFGHKL"}


async def test_given_changes_become_candidates(site: Site, tmp_path: Path) -> None:
    """A patch and a branch are taken, with the recorded function that they touch; what does not apply is told."""
    repository = project(tmp_path / "repository")
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    patch = unified_patch("shop/dedupe.py", DEDUPE, WRONG)
    git(repository, "checkout", "-q", "-b", "mine")
    (repository / "shop" / "dedupe.py").write_text(WRONG)
    git(repository, "commit", "-q", "-a", "-m", "mine")
    specs = [
        PatchSpec(patch=patch),
        PatchSpec(ref="mine"),
        PatchSpec(patch=patch.replace("found = []", "found = [0]")),
        PatchSpec(ref="nowhere"),
    ]
    orders = [GivenOrder(code=code, tip=code.commit, spec=spec, title="a set", by="grace", number=1, calls=calls) for spec in specs]
    by_patch, by_ref, wrong, nowhere = [await site.environment.run(site.candidates.read_given_change, order) for order in orders]
    for read in (by_patch, by_ref):
        assert read.candidate is not None and read.candidate.function == "distinct" and read.line == DISTINCT.line
    assert wrong.candidate is None and "does not apply" in wrong.why
    assert nowhere.candidate is None and "nowhere" in nowhere.why


async def test_a_ref_is_taken_as_its_author_made_it(site: Site, tmp_path: Path) -> None:
    """Where it stands on the tip; one with a password in it is not taken, and not told."""
    repository = project(tmp_path / "repository")
    code = await site.code(repository)
    git(repository, "checkout", "-q", "-b", "mine")
    for text in (f"{DEDUPE}\n", DEDUPE.replace("value not in found", "not found.count(value)")):
        (repository / "shop" / "dedupe.py").write_text(text)
        git(repository, "commit", "-q", "-a", "-m", "mine")
    mine = git(repository, "rev-parse", "HEAD").strip()
    (repository / "shop" / "dedupe.py").write_text(f'{DEDUPE}\npassword = "hunter2-Tr0ub4dor"\n')
    git(repository, "commit", "-q", "-a", "-m", "secret")
    git(repository, "checkout", "-q", "main")
    (repository / "more.py").write_text("")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "kept meanwhile")
    tips = (code.commit, git(repository, "rev-parse", "HEAD").strip(), code.commit)
    orders = [
        GivenOrder(
            code=code, tip=tip, spec=PatchSpec(ref=ref), title="count", by="grace", number=1, calls=CallsRecorded(functions=(), file="")
        )
        for tip, ref in zip(tips, (mine, mine, "mine"), strict=True)
    ]
    on_top, moved, secret = [await site.environment.run(site.candidates.read_given_change, order) for order in orders]
    assert on_top.candidate is not None and on_top.candidate.ref == mine
    assert moved.candidate is not None and moved.candidate.ref == ""
    assert secret.candidate is None and "password" in secret.why and "hunter2" not in secret.model_dump_json()


async def test_a_changed_method_and_what_cannot_be_called(site: Site, tmp_path: Path) -> None:
    """A method is called by its class; code that fails when it is imported is a difference; an inner function is not tried."""
    cart = "class Cart:\n    def total(self, values):\n        return sum(values)\n"
    bench = "from shop.cart import Cart\n\nfor turn in range(30):\n    Cart().total([turn, 1])\n"
    repository = project(tmp_path / "repository", {"shop/cart.py": cart, "bench.py": bench, "check.py": "pass\n"})
    code = await site.code(repository)
    total = hot("shop/cart.py", cart, "total")
    calls = await site.recorded(code, total)
    read = []
    for text in (
        cart.replace("sum(values)", "sum(list(values))"),
        f"raise SystemExit(3)\n{cart}".replace("sum(values)", "sum((*values,))"),
    ):
        spec = PatchSpec(patch=unified_patch("shop/cart.py", cart, text))
        order = GivenOrder(code=code, tip=code.commit, spec=spec, title="a list", by="grace", number=1, calls=calls)
        read.append(await site.environment.run(site.candidates.read_given_change, order))
    candidates = [one.candidate for one in read]
    assert candidates[0] is not None and candidates[1] is not None and candidates[0].function == "Cart.total"
    inner = candidates[0].model_copy(update={"codemod": "memoise", "function": "outer.<locals>.total"})
    right, fails, within = [await site.check(code, one, calls, total.line) for one in (candidates[0], candidates[1], inner)]
    assert right.problem == "" and right.differential is not None and right.differential.recorded > 0
    assert "cannot be called" in fails.problem and "exit code 3" in fails.problem
    assert "inside another function" in within.problem


TABLES = "LIMIT = 40\n"
RUN = """from shop import tables


def keys(values):
    yield from values


def clock(values):
    import time
    return time.monotonic_ns()


def run(values):
    return [value for value in keys(values)][: tables.LIMIT]


def last(values):
    return values[-1]
"""
RUNNING = "from shop.run import clock, last, run\n\nfor turn in range(20):\n    values = [*range(60 + turn)]\n    run(values), last(values), clock(values)\n"


async def test_a_given_change_is_judged_by_every_recorded_function(site: Site, tmp_path: Path) -> None:
    """Also where it changes a constant of another module, or two functions of which the second is wrong; what answers otherwise each time,
    and what cannot be called, is told and no obstacle; a change that no recorded call covers does not pass."""
    files = {"shop/tables.py": TABLES, "shop/run.py": RUN, "bench.py": RUNNING, "check.py": "pass\n"}
    repository = project(tmp_path / "repository", files)
    code = await site.code(repository)
    functions = [hot("shop/run.py", RUN, name) for name in ("keys", "clock", "run", "last")]
    calls = await site.recorded(code, *functions)
    both = RUN.replace("in keys(values)]", "in values]")
    changes = {
        "constant": unified_patch("shop/tables.py", TABLES, TABLES.replace("40", "4")),
        "second": unified_patch("shop/run.py", RUN, both.replace("values[-1]", "values[0]")),
        "right": unified_patch("shop/run.py", RUN, both.replace("def last(values):\n    return values[-1]\n", "last = max\n")),
    }
    found = {}
    for name, patch in changes.items():
        order = GivenOrder(code=code, tip=code.commit, spec=PatchSpec(patch=patch), title=name, by="grace", number=1, calls=calls)
        read = await site.environment.run(site.candidates.read_given_change, order)
        assert read.candidate is not None
        found[name] = await site.check(code, read.candidate, calls, read.line)
    assert "run(list of 60 int) gives" in found["constant"].problem and "answered differently" in found["constant"].problem
    assert "last(" in found["second"].problem
    right = found["right"].differential
    assert found["right"].problem == "" and right is not None and right.functions == ("run",)
    assert "last: it is not there any more" in right.not_called and {one.partition(":")[0] for one in right.not_called} == {
        "keys",
        "clock",
        "last",
    }
    for none in (calls.model_copy(update={"functions": calls.functions[:1]}), CallsRecorded(functions=())):
        assert "no recorded call covers this change" in (await site.check(code, read.candidate, none, 0)).problem


async def test_a_run_that_goes_on_keeps_its_tree_and_calls(site: Site, tmp_path: Path, client: Client, task_queue: str) -> None:
    """For weeks, beside other runs that lay out theirs; of a run that is over all is removed after a day. Calls that somebody removed are
    told, and a tree is laid out again."""
    waits = await client.start_workflow("Waits", id=f"waits-{task_queue}", task_queue=task_queue)
    site.environment = ActivityEnvironment(client)
    site.environment.info = replace(site.environment.info, workflow_id=waits.id, workflow_run_id=waits.first_execution_run_id)
    repository = project(tmp_path / "repository")
    code = await site.code(repository)
    calls = await site.recorded(code, DISTINCT)
    [candidate] = await site.found(code, calls, DISTINCT)
    candidate = candidate.model_copy(update={"mutable": False})  # the recorded calls will do
    ours = {Path(code.tree), Path(calls.file), Path(f"{code.tree}.owner")}
    weeks = time.time() - 20 * 86_400

    async def left_beside_another() -> set[Path]:
        for one in ours:
            os.utime(one, (weeks, weeks))
        other = prepared(repository).model_copy(update={"prefix": "another run"})
        await site.environment.run(site.candidates.prepare_code, other)
        return {one for one in ours if one.exists()}

    assert await left_beside_another() == ours
    shutil.rmtree(code.tree)
    assert (await site.check(code, candidate, calls, DISTINCT.line)).problem == "" and Path(code.tree).is_dir()
    await waits.terminate()
    assert await left_beside_another() == set()
    assert "not on this host any more" in (await site.check(code, candidate, calls, DISTINCT.line)).problem


async def test_hot_functions_are_found_in_the_repository(site: Site, tmp_path: Path) -> None:
    """By the end of their path, their name and their lines; what is elsewhere is not."""
    code = await site.code(project(tmp_path / "repository"))
    none = Interval(low=0.0, high=1.0)

    def spot(function: str, file: str, line: int, share: float) -> HotSpot:
        return HotSpot(
            function=function,
            file=file,
            line=line,
            origin="user",
            self_share=share,
            self_interval=none,
            total_share=share,
            total_interval=none,
            samples=9,
        )

    hot_paths = HotPaths(
        samples=100,
        functions=(
            spot("distinct", "dedupe.py", 6, 0.7),
            spot("distinct", "other.py", 6, 0.2),
            spot("distinct", "shop/dedupe.py", 60, 0.1),
        ),
        lines=(spot("distinct", "dedupe.py", 7, 0.6), spot("distinct", "dedupe.py", 90, 0.6)),
    )
    found = await site.environment.run(site.candidates.locate_hot_code, HotCodeQuery(code=code, hot_paths=hot_paths))
    assert [(one.path, one.function, one.line, one.share) for one in found.functions] == [("shop/dedupe.py", "distinct", 4, 0.7)]
    assert [(one.line, one.share) for one in found.functions[0].lines] == [(7, 0.6)]
    assert found.elsewhere_share == 0.2


async def test_a_benchmark_that_fails_is_told(site: Site, tmp_path: Path) -> None:
    code = await site.code(project(tmp_path / "repository", {"bench.py": "raise SystemExit('no data')\n"}))
    with pytest.raises(ApplicationError, match="no data"):
        await site.recorded(code, DISTINCT)


async def test_a_repository_that_is_none_is_told(site: Site, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "empty", tmp_path / "nowhere"):
        with pytest.raises(ApplicationError, match="shop"):
            await site.code(folder)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("python", "-m", "lab", "-x"), ("python", str(REPEAT), "9", "-m", "lab", "-x")),
        (("/usr/bin/python3.11", "-X", "dev", "-u", "run.py"), ("/usr/bin/python3.11", "-X", "dev", "-u", str(REPEAT), "9", "run.py")),
        (("python", "-c", "pass"), ("python", "-c", "pass")),
        (("./bench", "-m", "x"), ("./bench", "-m", "x")),
    ],
)
def test_scripts_and_modules_are_repeated(command: tuple[str, ...], words: tuple[str, ...]) -> None:
    """What is no Python script is run as it is."""
    assert repeated(command, 9.0) == words


def test_a_repeated_program_runs_again_and_again(tmp_path: Path) -> None:
    """With its arguments, its folder on the path, and until its first error."""
    (tmp_path / "beside.py").write_text("count = 0\n")
    (tmp_path / "bench.py").write_text(
        "import json, sys, beside\n\nbeside.count += 1\nprint(json.dumps([beside.count, sys.argv[1:], __name__]))\nsys.exit(3 if beside.count == 4 else 0)\n"
    )
    command = repeated((PYTHON, "bench.py", "--size", "2"), 60.0)
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    assert [json.loads(line) for line in ended.stdout.splitlines()] == [[n, ["--size", "2"], "__main__"] for n in (1, 2, 3, 4)]
