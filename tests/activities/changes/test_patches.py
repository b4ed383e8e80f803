"""Patches and refs on real git repositories: a branch and a worktree of their own, and nothing else touched."""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from perfwright.models.change import PatchSpec
from perfwright.models.target import Target
from perfwright.models.undo_data import PatchUndo
from tests.activities.changes.changing_runs import Bench, bench, killed_at_random
from tests.needs import needs

pytestmark = needs("git")

PATCH = """diff --git a/shop/prices.py b/shop/prices.py
--- a/shop/prices.py
+++ b/shop/prices.py
@@ -1,3 +1,3 @@
 KNOWN = ["a", "b"]
BLANK
-def known(name): return name in KNOWN
+def known(name): return name in set(KNOWN)
""".replace("BLANK", " ")


@pytest.fixture
async def shop(tmp_path: Path):
    repository = tmp_path / "clone"
    (repository / "shop").mkdir(parents=True)
    (repository / "shop" / "prices.py").write_text('KNOWN = ["a", "b"]\n\ndef known(name): return name in KNOWN\n')
    (repository / "outside").symlink_to("/etc")
    git(repository, "init", "-q", "-b", "main")
    git(repository, "add", ".")
    git(repository, "commit", "-q", "-m", "first")
    (repository / "shop" / "prices.py").write_text("work in progress\n")  # what somebody is working on is not touched
    hook = repository / ".git" / "hooks" / "post-checkout"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(f"#!/bin/sh\ntouch {tmp_path}/hook-ran\n")
    hook.chmod(0o755)
    async with bench(tmp_path, Target(name="git-shop", kind="repository", environment="lab", repository=str(repository))) as opened:
        yield opened


def git(folder: Path, *words: str) -> str:
    who = ("-c", "user.name=Ada", "-c", "user.email=ada@example.com", "-c", "commit.gpgsign=false")
    return subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def _seen(shop: Bench) -> dict[str, Any]:
    repository = shop.folder / "clone"
    worktrees = shop.folder / "state" / "worktrees"
    return {
        "refs": git(repository, "for-each-ref"),
        "head": git(repository, "rev-parse", "HEAD"),
        "checkout": (repository / "shop" / "prices.py").read_text(),
        "status": git(repository, "status", "--porcelain"),
        "worktrees": git(repository, "worktree", "list", "--porcelain"),
        "admin": sorted(path.name for path in (repository / ".git" / "worktrees").glob("*")),
        "folders": {path.name: sorted(p.name for p in path.iterdir()) for path in worktrees.glob("*")},
        "config": (repository / ".git" / "config").read_text(),
    }


async def test_a_patch_comes_and_goes(shop: Bench) -> None:
    """A patch is a commit on a branch of its own in a worktree of its own; its undo leaves refs, checkout and worktrees as they were."""
    before = _seen(shop)
    order = shop.order(PatchSpec(patch=PATCH))
    shown = await shop.work.describe(order)
    assert "+def known(name): return name in set(KNOWN)" in shown.change.apply and shown.change.title == "Change shop/prices.py"
    assert (await shop.work.check(order)).passed and _seen(shop) == before
    for _ in range(2):
        outcome = await shop.work.apply(order)
        assert outcome.state == "applied"
    record = await shop.record(order)
    assert record is not None and record.undo.kind == "patch"
    worktree = Path(record.undo.worktree)
    assert "set(KNOWN)" in (worktree / "shop" / "prices.py").read_text()
    assert git(worktree, "log", "--format=%an %s") == "Perfwright Perfwright: a change to be measured\nAda first"
    assert record.undo.commit in shown.change.apply  # what was on show is what is there
    assert _seen(shop)["checkout"] == "work in progress\n"
    (worktree / "__pycache__").mkdir()
    (worktree / "__pycache__" / "prices.pyc").write_bytes(b"made by running it")
    for _ in range(2):
        assert (await shop.work.revert(order.change_id)).state == "reverted"
        assert _seen(shop) == before
    assert not (shop.folder / "hook-ran").exists()


async def test_a_ref_comes_and_goes(shop: Bench) -> None:
    """A branch that somebody made is tried from its own commit, and stays where it is."""
    repository = shop.folder / "clone"
    git(repository, "stash", "-q")
    git(repository, "checkout", "-q", "-b", "faster")
    (repository / "shop" / "prices.py").write_text("def known(name): return True\n")
    git(repository, "commit", "-q", "-a", "-m", "faster")
    git(repository, "checkout", "-q", "main")
    before = _seen(shop)
    order = shop.order(PatchSpec(ref="faster"))
    await shop.work.apply(order)
    record = await shop.record(order)
    assert record is not None and record.undo.kind == "patch"
    assert git(Path(record.undo.worktree), "rev-parse", "HEAD") == git(repository, "rev-parse", "faster")
    await shop.work.revert(order.change_id)
    assert _seen(shop) == before


ON_TOP = """diff --git a/shop/prices.py b/shop/prices.py
--- a/shop/prices.py
+++ b/shop/prices.py
@@ -1,3 +1,3 @@
-KNOWN = ["a", "b"]
+KNOWN = ("a", "b")
BLANK
 def known(name): return name in set(KNOWN)
""".replace("BLANK", " ")


async def test_a_kept_patch_is_a_branch(shop: Bench) -> None:
    """Its worktree goes, so that people can check the branch out. It is not taken away while they have, nor under a commit that follows it,
    whose branch would still have it."""
    before, order = _seen(shop), shop.order(PatchSpec(patch=PATCH))
    await shop.work.apply(order)
    for _ in range(2):
        assert (await shop.work.keep(order.change_id)).state == "kept"
    record = await shop.record(order)
    assert record is not None and isinstance(record.undo, PatchUndo)
    assert _seen(shop) == before | {"refs": _seen(shop)["refs"]} and record.undo.branch in _seen(shop)["refs"]
    upper = shop.order(PatchSpec(patch=ON_TOP, base=record.undo.commit))
    await shop.work.apply(upper)
    with pytest.raises(ApplicationError, match=f"lies under later changes: {upper.change_id}"):
        await shop.work.revert(order.change_id)
    await shop.work.revert(upper.change_id)
    theirs = shop.folder / "theirs"
    git(shop.folder / "clone", "worktree", "add", "-q", str(theirs), record.undo.branch)
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and f"checked out in {theirs}" in outcome.note and record.undo.branch in _seen(shop)["refs"]
    git(shop.folder / "clone", "worktree", "remove", str(theirs))
    assert (await shop.work.revert(order.change_id)).state == "reverted"
    assert _seen(shop) == before


async def test_a_merged_patch_is_not_undone(shop: Bench) -> None:
    """Kept, taken into another branch, and its own deleted: the change is there, which is told as a conflict and not as undone."""
    order = shop.order(PatchSpec(patch=PATCH))
    await shop.work.apply(order)
    await shop.work.keep(order.change_id)
    record = await shop.record(order)
    assert record is not None and isinstance(record.undo, PatchUndo)
    git(shop.folder / "clone", "branch", "-q", "merged", record.undo.branch)
    git(shop.folder / "clone", "branch", "-q", "-D", record.undo.branch)
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and "is in merged: revert it there" in outcome.note


@pytest.mark.parametrize("what", ["a commit", "an edit", "a new file"])
async def test_work_of_others_is_a_conflict(shop: Bench, what: str) -> None:
    """A commit on the branch, an edit or a new file in the worktree is somebody's work: told, and not removed."""
    order = shop.order(PatchSpec(patch=PATCH))
    await shop.work.apply(order)
    record = await shop.record(order)
    assert record is not None and record.undo.kind == "patch"
    worktree = Path(record.undo.worktree)
    written = worktree / "shop" / ("notes.txt" if what == "a new file" else "prices.py")
    written.write_text("mine\n")
    if what == "a commit":
        git(worktree, "commit", "-q", "-a", "-m", "mine")
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and {"a commit": "committed", "an edit": "edited", "a new file": "notes.txt"}[what] in outcome.note
    assert written.read_text() == "mine\n"


async def test_a_repository_whose_volume_is_away_is_not_undone(shop: Bench) -> None:
    """Where the folder of the clone is away as well nothing is known, and it is tried again; where the clone alone is gone it is over."""
    clones, away = shop.folder / "clones", shop.folder / "away"
    clones.mkdir()
    clone = shutil.copytree(shop.folder / "clone", clones / "clone", symlinks=True)
    shop.target = shop.target.model_copy(update={"repository": str(clone)})
    orders = [shop.order(PatchSpec(patch=PATCH)) for _ in range(2)]
    for order in orders:
        await shop.work.apply(order)
    clones.rename(away)
    with pytest.raises(ApplicationError, match="Mount it") as refused:
        await shop.work.revert(orders[0].change_id)
    record = await shop.record(orders[0])
    assert not refused.value.non_retryable and record is not None and record.state == "applied"
    away.rename(clones)
    assert (await shop.work.revert(orders[0].change_id)).state == "reverted"
    clone.rename(away)
    outcome = await shop.work.revert(orders[1].change_id)
    assert (outcome.state, outcome.standing.word) == ("reverted", "gone")


def added(path: str, mode: str = "100644", text: str = "x") -> str:
    return f"diff --git a/{path} b/{path}\nnew file mode {mode}\n--- /dev/null\n+++ b/{path}\n@@ -0,0 +1 @@\n+{text}\n\\ No newline at end of file\n"


@pytest.mark.parametrize(
    ("patch", "reason"),
    [
        (added(".git/hooks/pre-commit"), "does not apply|git's own"),
        (added("shop/.GIT/config"), "does not apply|git's own"),
        (added("../outside.txt"), "does not apply|outside"),
        (added("/etc/motd"), "does not apply|outside"),
        (added("outside/motd"), "does not apply|symbolic link"),
        (added("link", "120000", "/etc/passwd"), "symbolic link"),
        (added(".gitattributes", text="* filter=x"), "decides what git runs"),
        (added("keys.txt", text="api_key = 'abcdef'"), "password or token"),
        (PATCH.replace("KNOWN = [", "UNKNOWN = ["), "does not apply"),
        ("no diff at all\n", "does not apply"),
        (PATCH.replace("+def known(name): return name in set(KNOWN)", "+def known(name): return name in KNOWN"), "changes nothing"),
    ],
)
async def test_hostile_patches_are_refused(shop: Bench, patch: str, reason: str) -> None:
    """A patch that leaves the repository, reaches into git's folder, makes links or does not fit is refused; no ref, file or record."""
    before = _seen(shop)
    order = shop.order(PatchSpec(patch=patch))
    assert not (await shop.work.check(order)).passed
    with pytest.raises(ApplicationError, match=reason) as refused:
        await shop.work.apply(order)
    assert refused.value.type == "TargetRefused" and await shop.record(order) is None and _seen(shop) == before


@pytest.mark.parametrize("revision", ["none", "main:shop", "HEAD^{tree}"])
async def test_unknown_refs_are_refused(shop: Bench, revision: str) -> None:
    """Only what names a commit is a ref."""
    with pytest.raises((ApplicationError, ValueError), match=r"no commit|pattern"):
        await shop.work.describe(shop.order(PatchSpec(ref=revision)))


async def test_kills_at_any_instant(shop: Bench) -> None:
    """kill -9 while branch and worktree are made or removed: afterwards refs, worktrees and checkout are as they were."""

    async def read() -> object:
        return _seen(shop)

    await killed_at_random(shop, PatchSpec(patch=PATCH), read)
