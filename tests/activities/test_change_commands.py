"""A command of the team's own that makes a change, with a real repository and real programs."""

import subprocess
import sys
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.change_commands import ChangeCommands
from lab import change_command
from perfwright.models.submission import BriefLocation, ChangeBrief, ChangeCommandOrder, ProducedChange
from perfwright.models.target import Target

SOURCE = "def doubled(values):\n    return list([one * 2 for one in values])\n"
COMMIT = "git -c user.name=A -c user.email=a@b commit -qam changed"


def git(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "repository"
    folder.mkdir()
    (folder / "work.py").write_text(SOURCE)
    for words in (("init", "-q"), ("add", "."), ("-c", "user.name=A", "-c", "user.email=a@b", "commit", "-qm", "Work")):
        git(folder, *words)
    return folder


def target(repository: Path, *command: str, names: tuple[str, ...] = ()) -> Target:
    return Target(
        name="shop",
        kind="repository",
        environment="lab",
        repository=str(repository),
        change_command=command or None,
        change_environment_names=names,
    )


async def produced(tmp_path: Path, given: Target, limit_s: float = 60.0, environ: dict[str, str] | None = None) -> ProducedChange:
    brief = ChangeBrief(title="Faster", goal="5 % less CPU", locations=(BriefLocation(file="work.py", line=2),))
    order = ChangeCommandOrder(target=given, brief=brief, limit_s=limit_s)
    return await ActivityEnvironment().run(ChangeCommands(environ or {}, tmp_path / "state").produce_change, order)


def untouched(repository: Path) -> bool:
    clean = not git(repository, "status", "--porcelain") and (repository / "work.py").read_text() == SOURCE
    return clean and git(repository, "worktree", "list").count("\n") == 0 and git(repository, "branch", "--list").count("\n") == 0


async def test_the_example_leaves_a_commit(tmp_path: Path, repository: Path) -> None:
    """The lab's command gets the brief and a worktree, and its commit is the change; the checkout is left alone."""
    made = await produced(tmp_path, target(repository, sys.executable, change_command.__file__))
    assert made.commits == 1 and made.output_tail == "1 of 1 files changed"
    assert made.spec.ref and "list([" not in git(repository, "show", f"{made.spec.ref}:work.py")
    assert made.spec.base == git(repository, "rev-parse", "HEAD") and untouched(repository)
    assert not list((tmp_path / "state" / "worktrees").iterdir())


@pytest.mark.parametrize(
    ("script", "told"),
    [
        ("true", "left nothing"),
        ("echo 1 >> work.py", "not committed"),
        ("exit 3", "exit code 3"),
        ("git checkout -q $(git -c user.name=A -c user.email=a@b commit-tree HEAD^{tree} -m other)", "does not follow"),
        ("sleep 60", "stopped at its limit"),
        ("echo $TOKEN >&2; exit 1", r"\*\*\*"),
    ],
)
async def test_what_is_no_change_is_told(tmp_path: Path, repository: Path, script: str, told: str) -> None:
    """Nothing, an error, something uncommitted or unrelated: said, and nothing of it is left in the repository."""
    command = target(repository, "sh", "-c", script, names=("TOKEN",))
    with pytest.raises(ApplicationError, match=told) as refused:
        await produced(tmp_path, command, limit_s=2.0 if "sleep" in script else 60.0, environ={"TOKEN": "hunter2-hunter2"})
    assert "hunter2" not in refused.value.message and untouched(repository)


async def test_it_has_the_brief_and_only_named_variables(tmp_path: Path, repository: Path) -> None:
    """Standard input is the brief; of the worker's environment it sees what the registry names."""
    script = f'cat > brief.json && echo "$TOKEN $OTHER" > seen && git add . && {COMMIT}'
    environ = {"TOKEN": "given", "OTHER": "hidden"}
    made = await produced(tmp_path, target(repository, "sh", "-c", script, names=("TOKEN",)), environ=environ)
    assert ChangeBrief.model_validate_json(git(repository, "show", f"{made.spec.ref}:brief.json")).title == "Faster"
    assert git(repository, "show", f"{made.spec.ref}:seen").split() == ["given"]


async def test_what_is_missing_is_told_before(tmp_path: Path, repository: Path) -> None:
    """No command, no clone, a variable that is not set: each with its way out."""
    for given, told in (
        (target(repository), "change_command"),
        (target(repository / "nowhere", "true"), "repository"),
        (target(repository, "true", names=("TOKEN",)), "TOKEN"),
    ):
        with pytest.raises(ApplicationError, match=told):
            await produced(tmp_path, given)
