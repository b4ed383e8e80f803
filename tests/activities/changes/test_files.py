"""Edits of files, on a real file system: byte-exact in both directions, and nothing outside of the root."""

import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from temporalio.exceptions import ApplicationError

from activities.changes.files import FileEdits
from activities.changes.kind import NotAllowed
from perfwright.models.change import FileSpec, Replacement
from perfwright.models.target import Target
from perfwright.models.undo import UndoRecord
from tests.activities.changes.changing_runs import Bench, bench, killed_at_random

BEFORE = b"workers = 2\r\n# caf\xe9, not UTF-8\ntimeout = 30\nlog = plain\n\n"


@pytest.fixture
async def shop(tmp_path: Path):
    root = tmp_path / "etc"
    (root / "conf.d").mkdir(parents=True)
    file = root / "conf.d" / "app.conf"
    file.write_bytes(BEFORE)
    file.chmod(0o640)
    if os.geteuid() == 0:
        os.chown(file, 12345, 54321)
    (tmp_path / "reloads").write_text("")
    (tmp_path / "reload.sh").write_text(f'#!/bin/sh\ncat "$1" > /dev/null && echo reloaded >> {tmp_path}/reloads\n')
    (tmp_path / "reload.sh").chmod(0o755)
    target = Target(
        name="files-shop",
        kind="http",
        environment="lab",
        files_root=str(root),
        reload_command=(str(tmp_path / "reload.sh"), str(file)),
    )
    async with bench(tmp_path, target) as opened:
        yield opened


def _file(shop: Bench) -> Path:
    return shop.folder / "etc" / "conf.d" / "app.conf"


def _seen(shop: Bench) -> tuple[bytes, int, int, int, list[str]]:
    file = _file(shop)
    status = file.stat()
    return file.read_bytes(), status.st_mode, status.st_uid, status.st_gid, sorted(os.listdir(file.parent))


def _reloads(shop: Bench) -> int:
    return len((shop.folder / "reloads").read_text().split())


def an_edit(find: str = "timeout = 30", replace: str = "timeout = 5", **more: object) -> FileSpec:
    return FileSpec.model_validate({"path": "conf.d/app.conf", "replacements": (Replacement(find=find, replace=replace),)} | more)


async def test_an_edit_comes_and_goes(shop: Bench) -> None:
    """An edit changes exactly its bytes, keeps mode and owner, reloads; its undo gives the same bytes back. Each again changes nothing."""
    before = _seen(shop)
    order = shop.order(an_edit())
    shown = await shop.work.describe(order)
    assert "-timeout = 30" in shown.change.apply and "+timeout = 5" in shown.change.apply and shown.change.risk == "reload"
    assert (await shop.work.check(order)).passed and _seen(shop) == before
    for _ in range(2):
        assert (await shop.work.apply(order)).state == "applied"
        content, *rest = _seen(shop)
        assert content == BEFORE.replace(b"= 30", b"= 5") and rest == list(before[1:])
    assert (await shop.work.look(order.change_id)).standing.word == "changed"
    assert _reloads(shop) == 2  # a reload may have been cut short, so it is repeated
    for _ in range(2):
        assert (await shop.work.revert(order.change_id)).state == "reverted"
        assert _seen(shop) == before
    assert _reloads(shop) == 3
    record = await shop.record(order)
    assert record is not None and "plain" not in record.model_dump_json()  # only the stretch that differs is recorded


async def test_whole_contents(shop: Bench) -> None:
    """A new content, an empty one too, is undone byte by byte."""
    before = _seen(shop)
    for content in ("", "anything else\n", "workers = 2\r\n"):
        order = shop.order(FileSpec(path="conf.d/app.conf", content=content))
        await shop.work.apply(order)
        assert _file(shop).read_bytes() == content.encode()
        await shop.work.revert(order.change_id)
        assert _seen(shop) == before


async def test_a_foreign_edit_is_a_conflict(shop: Bench) -> None:
    """What somebody else wrote meanwhile is told and left alone; a person can close the record."""
    order = shop.order(an_edit())
    await shop.work.apply(order)
    _file(shop).write_bytes(b"mine now\n")
    outcome = await shop.work.revert(order.change_id)
    assert outcome.state == "conflict" and "somebody else" in outcome.note
    assert _file(shop).read_bytes() == b"mine now\n"
    assert (await shop.work.leave(order.change_id, "ada")).state == "reverted"
    assert _file(shop).read_bytes() == b"mine now\n"


async def test_a_changed_mode_is_a_conflict(shop: Bench) -> None:
    """A mode or owner that somebody set meanwhile is not overwritten by an undo."""
    order = shop.order(an_edit())
    await shop.work.apply(order)
    _file(shop).chmod(0o600)
    assert (await shop.work.revert(order.change_id)).state == "conflict"
    assert _file(shop).stat().st_mode & 0o777 == 0o600


async def test_stacked_edits_come_off_last_first(shop: Bench) -> None:
    """The lower of two edits of a file is not undone under the upper one; in the right order both go."""
    before = _seen(shop)
    lower, upper = shop.order(an_edit()), shop.order(an_edit("workers = 2", "workers = 8"))
    await shop.work.apply(lower)
    await shop.work.apply(upper)
    with pytest.raises(ApplicationError, match="lies under later changes"):
        await shop.work.revert(lower.change_id)
    await shop.work.revert(upper.change_id)
    await shop.work.revert(lower.change_id)
    assert _seen(shop) == before


async def test_a_failed_reload_is_undone(shop: Bench) -> None:
    """An edit whose reload fails is not left there: the file is as before, and the error says so."""
    before = _seen(shop)
    (shop.folder / "reload.sh").write_text('#!/bin/sh\nif grep -q "timeout = 5" "$1"; then echo refused >&2; exit 3; fi\n')
    order = shop.order(an_edit())
    with pytest.raises(ApplicationError, match=r"exit code 3: refused.*nothing of it is left") as failed:
        await shop.work.apply(order)
    assert failed.value.type == "ToolFailed" and _seen(shop) == before
    record = await shop.record(order)
    assert record is not None and record.state == "reverted"
    with pytest.raises(ApplicationError, match="was given up"):
        await shop.work.apply(order)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("../outside.conf", "not below"),
        ("/etc/passwd", "not below"),
        ("conf.d/../../outside.conf", "not below"),
        ("./conf.d/app.conf", "not below"),
        ("link.conf", "symbolic link"),
        ("linked/app.conf", "without links"),
        ("conf.d", "plain file"),
        ("conf.d/none.conf", "cannot be read"),
        ("conf.d/pipe", "no plain file"),
        ("conf.d/twin.conf", "hard links"),
    ],
)
async def test_what_is_no_plain_file_below_the_root_is_refused(shop: Bench, path: str, reason: str) -> None:
    """Paths that lead out of the root, links, pipes and files of several names are refused before anything is recorded."""
    root = shop.folder / "etc"
    (shop.folder / "outside.conf").write_text("timeout = 30\n")
    (root / "link.conf").symlink_to(shop.folder / "outside.conf")
    (root / "linked").symlink_to(root / "conf.d")
    os.mkfifo(root / "conf.d" / "pipe")
    (root / "conf.d" / "twin.conf").write_text("timeout = 30\n")
    os.link(root / "conf.d" / "twin.conf", root / "other.conf")
    order = shop.order(an_edit(path=path))
    checked = await shop.work.check(order)
    assert not checked.passed and reason in checked.told
    with pytest.raises(ApplicationError, match=reason.replace("(", r"\(")) as refused:
        await shop.work.apply(order)
    assert refused.value.type == "TargetRefused" and await shop.record(order) is None
    assert (shop.folder / "outside.conf").read_text() == "timeout = 30\n"


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        (an_edit("nowhere", "x"), "stands 0 times"),
        (an_edit("\n", "x"), "stands 5 times"),
        (an_edit("timeout = 30", "timeout = 30"), "nothing would change"),
        (an_edit("log = plain", "db_password = hunter22"), "password or token"),
    ],
)
async def test_edits_that_do_not_fit_are_refused(shop: Bench, spec: FileSpec, reason: str) -> None:
    """A text that does not stand there once, an edit of nothing, and a secret that would be recorded are refused."""
    with pytest.raises(ApplicationError, match=reason):
        await shop.work.describe(shop.order(spec))
    assert not (await shop.work.check(shop.order(spec))).passed


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """This process without the rights of root, and of no group but one."""
    groups = os.getgroups()
    os.setgroups([])
    os.setegid(uid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")
@pytest.mark.parametrize("what", ["group", "attribute", "no nameless files"])
async def test_what_could_not_be_given_back_is_told_before(shop: Bench, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """A group that the worker is not in, an attribute that it may not set: a check that fails, not an edit that is tried for half an hour; and
    where it turns out later, nothing is left."""
    if what == "no nameless files":
        monkeypatch.setattr(os, "O_TMPFILE", 0)
    with TemporaryDirectory(prefix="perfwright-files-") as root:  # pytest's own folders are closed to other users
        file = Path(root) / "app.conf"
        file.write_bytes(BEFORE)
        os.chown(file, 12345, 12345 if what == "attribute" else 54321)
        if what == "attribute":  # giving it away would take this from it
            os.setxattr(file, "security.capability", struct.pack("<5I", 0x02000000, 1 << 10, 0, 0, 0))  # may bind low ports
        os.chown(root, 12345, 12345)
        shop.target = shop.target.model_copy(update={"files_root": root, "reload_command": None})
        order, kind = shop.order(an_edit(path="app.conf")), FileEdits()
        assert (await shop.work.check(order)).passed, "root may"
        record = UndoRecord(
            change_id=order.change_id,
            title="",
            target=shop.target,
            subject="",
            spec=order.spec,
            undo=(await kind.prepare(order, shop.site)).undo,
        )
        with as_user(12345):
            with pytest.raises(NotAllowed, match="security.capability" if what == "attribute" else "owner 12345 and group 54321"):
                await kind.check(order, shop.site)
            with pytest.raises(ApplicationError, match="may not give") as refused:
                await kind.apply(record, shop.site)
        assert refused.value.non_retryable and os.listdir(root) == ["app.conf"] and file.read_bytes() == BEFORE
        if what == "attribute":
            await kind.apply(record, shop.site)
            assert file.read_bytes() != BEFORE and os.getxattr(file, "security.capability")


async def test_without_a_root_nothing_may_be_edited(shop: Bench) -> None:
    """A target whose registry entry names no folder takes no edit, and the key to add is told."""
    shop.target = shop.target.model_copy(update={"files_root": None})
    with pytest.raises(ApplicationError, match="files_root"):
        await shop.work.apply(shop.order(an_edit()))


async def test_kills_at_any_instant(shop: Bench) -> None:
    """kill -9 while a file is edited or given back, at any instant: afterwards the file is as it was, byte by byte, and alone."""

    async def read() -> object:
        return _seen(shop)

    await killed_at_random(shop, an_edit(), read)
