"""An edit of one file below the target's `files_root`: byte-exact in both directions, by a rename, with mode and owner kept.

No symbolic link is followed on the way from the root to the file: every folder is opened from the one above it. What a kill leaves
behind is at most a temporary file of a name that belongs to the change.
"""

import asyncio
import base64
import contextlib
import difflib
import errno
import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import ClassVar

from activities.changes.kind import NotAllowed, Prepared, Site, only, passed, refused
from activities.subprocesses import Tool, run
from perfwright.analysis.changes.file_edits import FILE_BYTES, EditRefused, Stretch, decoded, edited, encoded, sha256, stretch_between
from perfwright.models.change import Change, FileSpec
from perfwright.models.target import Operation
from perfwright.models.undo import ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import FileUndo

RELOAD_LIMIT_S = 60.0
DIFF_CHARACTERS = 8_000
_FOR_GOOD = (errno.EPERM, errno.EACCES, errno.EINVAL, errno.ENOTSUP)
"""What another attempt meets again."""


class FileEdits:
    """Edits files."""

    spec: ClassVar = FileSpec
    operation: ClassVar[Operation | None] = None  # `files_root` is what allows it
    looks_itself: ClassVar[bool] = False

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription:
        spec = only(order.spec, FileSpec)
        found = await asyncio.to_thread(_read, order)
        shown = _diff(found.content, found.after, spec.path)
        command = " ".join(order.target.reload_command or ()) if spec.reload else ""
        then = f"\nthen: {command}" if command else ""
        return ChangeDescription(
            change=Change(
                kind="file",
                title=f"Edit {spec.path}",
                apply=f"{shown}{then}",
                undo=f"the bytes at {found.stretch.offset} as they were (sha256 of the whole file {sha256(found.content)[:16]}){then}",
                risk="reload" if command else "observe",
                undo_cost="a rename" + (" and a reload" if command else ""),
                spec=spec,
            ),
            blast_radius=f"everything that reads {_path_of(order)}",
            cost="a rename" + (f", then `{command}`" if command else ""),
            survives_restart=True,
        )

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]:
        found = await asyncio.to_thread(_read, order)
        return (passed("file", f"{len(found.content):,} bytes, {stat.filemode(found.status.st_mode)}"),)

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared:
        spec = only(order.spec, FileSpec)
        found = await asyncio.to_thread(_read, order)
        undo = FileUndo(
            root=str(order.target.files_root),
            path=spec.path,
            offset=found.stretch.offset,
            old=encoded(found.stretch.old),
            new=encoded(found.stretch.new),
            sha256_before=sha256(found.content),
            sha256_after=sha256(found.after),
            mode=stat.S_IMODE(found.status.st_mode),
            uid=found.status.st_uid,
            gid=found.status.st_gid,
            reload=spec.reload and order.target.reload_command is not None,
        )
        return Prepared(f"file {_path_of(order)}", f"Edit {spec.path}", undo)

    async def apply(self, record: UndoRecord, site: Site) -> None:
        await asyncio.to_thread(_put, record, True)
        await self._reload(record, site)

    async def look(self, record: UndoRecord, site: Site) -> Standing:
        return await asyncio.to_thread(_look, record)

    async def revert(self, record: UndoRecord, site: Site) -> None:
        await asyncio.to_thread(_put, record, False)
        await self._reload(record, site)

    async def _reload(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, FileUndo)
        if not undo.reload or record.target.reload_command is None:
            return
        tool = Tool(record.target.reload_command, limit_s=RELOAD_LIMIT_S, way_out="Correct reload_command in the registry")
        ended = await run(tool, heartbeat=lambda elapsed_s, _: site.heartbeat({"reloading_s": elapsed_s}))
        ended.require_success(way_out="Correct reload_command in the registry, or what it runs")


class _Found:
    def __init__(self, content: bytes, status: os.stat_result, after: bytes, stretch: Stretch) -> None:
        self.content, self.status, self.after, self.stretch = content, status, after, stretch


def _read(order: ChangeOrder) -> _Found:
    """The file as it is, and as it would become. Raises NotAllowed."""
    spec = only(order.spec, FileSpec)
    root = order.target.files_root
    if root is None:
        raise NotAllowed("allowed", f'no file may be edited; name the folder in `files_root` of [targets."{order.target.name}"]')
    if spec.reload and order.target.reload_command is None and "reload" in spec.model_fields_set:
        raise NotAllowed("reload", f'there is no command; give reload_command in [targets."{order.target.name}"], or reload = false')
    with _opened_folder(root, spec.path) as (folder, name):
        content, status = _content(folder, name)
        if not os.access(".", os.W_OK, dir_fd=folder):
            raise NotAllowed("file", "this worker may not write into its folder; run the host worker as its owner")
        _tried(folder, name, status)
    try:
        after = edited(content, spec)
        return _Found(content, status, after, stretch_between(content, after))
    except EditRefused as reason:
        raise NotAllowed("edit", str(reason)) from None


@contextlib.contextmanager
def _opened_folder(root: str, path: str) -> Iterator[tuple[int, str]]:
    """The folder of the file, opened step by step from the root, and the file's name. Raises NotAllowed."""
    parts = PurePosixPath(path).parts
    if path.startswith("/") or ".." in parts or not parts or "." in path.split("/"):
        raise NotAllowed("file", f"{path[:200]!r} is not below {root}: a relative path without . and .. is allowed")
    with contextlib.ExitStack() as opened:
        try:
            folder = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            opened.callback(os.close, folder)
            for part in parts[:-1]:
                folder = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
                opened.callback(os.close, folder)
        except OSError as trouble:
            raise NotAllowed("file", f"the folder of {path[:200]!r} cannot be entered without links: {trouble.strerror}") from None
        yield folder, parts[-1]


def _content(folder: int, name: str) -> tuple[bytes, os.stat_result]:
    """Raises NotAllowed for what is no plain file."""
    try:
        opened = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as trouble:
        link = " (a symbolic link?)" if trouble.errno == 40 else ""
        raise NotAllowed("file", f"{name!r} cannot be read: {trouble.strerror}{link}") from None
    if not stat.S_ISREG(os.fstat(opened).st_mode):
        os.close(opened)
        raise NotAllowed("file", f"{name!r} is no plain file")
    with os.fdopen(opened, "rb") as file:
        status = os.fstat(file.fileno())
        if status.st_nlink != 1:
            raise NotAllowed("file", f"{name!r} has {status.st_nlink} names (hard links), which a rename would part")
        return file.read(FILE_BYTES + 1), status


def _look(record: UndoRecord) -> Standing:
    undo = only(record.undo, FileUndo)
    try:
        with _opened_folder(undo.root, undo.path) as (folder, name):
            content, status = _content(folder, name)
            left = _exists(folder, _temporary(record, name))
    except NotAllowed as problem:
        return Standing(word="foreign", told=problem.check.told)
    found = sha256(content)
    if (stat.S_IMODE(status.st_mode), status.st_uid, status.st_gid) != (undo.mode, undo.uid, undo.gid):
        return Standing(word="foreign", told=f"{undo.path} has another mode or owner than before: {stat.filemode(status.st_mode)}")
    word = {undo.sha256_before: "before", undo.sha256_after: "changed"}.get(found)
    if word is None:
        return Standing(word="foreign", told=f"{undo.path} was edited by somebody else meanwhile (sha256 {found[:16]})")
    if word == "before" and left:
        return Standing(word="partial", told="a temporary file is left")
    return Standing(word="before" if word == "before" else "changed", told=f"sha256 {found[:16]}")


def _put(record: UndoRecord, forward: bool) -> None:
    """The file with the wanted bytes, from wherever an earlier attempt was stopped. The caller has seen that it is ours to touch."""
    undo = only(record.undo, FileUndo)
    stretch = Stretch(undo.offset, decoded(undo.old), decoded(undo.new))
    wanted = undo.sha256_after if forward else undo.sha256_before
    with _opened_folder(undo.root, undo.path) as (folder, name):
        temporary = _temporary(record, name)
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary, dir_fd=folder)
        content, _ = _content(folder, name)
        if sha256(content) == wanted:
            return
        content = stretch.applied(content) if forward else stretch.undone(content)
        if sha256(content) != wanted:
            raise refused(record.target, f"{undo.path} changed while it was edited, and was left alone", way_out="Look at it and try again")
        try:
            _write(folder, name, temporary, content, undo)
        except NotAllowed as problem:
            raise refused(record.target, f"{undo.path}: {problem.check.told}") from None


def _write(folder: int, name: str, temporary: str, content: bytes, undo: FileUndo) -> None:
    """Raises NotAllowed where it cannot be given what belongs to it; nothing is left then."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with os.fdopen(os.open(temporary, flags, 0o600, dir_fd=folder), "wb") as file:
            file.write(content)
            file.flush()  # before it is dressed: writing takes set-id bits and capabilities away
            _dress(file.fileno(), folder, name, undo.uid, undo.gid, undo.mode)
            os.fsync(file.fileno())
    except NotAllowed:
        os.unlink(temporary, dir_fd=folder)
        raise
    os.rename(temporary, name, src_dir_fd=folder, dst_dir_fd=folder)
    os.fsync(folder)


def _dress(file: int, folder: int, name: str, uid: int, gid: int, mode: int) -> None:
    """Owner, group, mode and attributes (access control lists, labels) of the file in whose place it comes. Raises NotAllowed."""
    doing = f"owner {uid} and group {gid}"
    try:
        os.fchown(file, uid, gid)
        doing = f"mode {mode:o}"
        os.fchmod(file, mode)  # after the owner, whose change takes set-id bits away
        for attribute, value in _attributes(f"/proc/self/fd/{folder}/{name}").items():
            doing = f"attribute {attribute}"
            if _attributes(file).get(attribute) != value:  # a label may be there already, and not be ours to set
                os.setxattr(file, attribute, value)
    except OSError as trouble:
        if trouble.errno not in _FOR_GOOD:
            raise
        raise _not_given(f"{doing} ({trouble.strerror})") from None


def _attributes(file: int | str) -> dict[str, bytes]:
    try:
        opened = isinstance(file, int)
        names = os.listxattr(file, follow_symlinks=opened)
        return {name: os.getxattr(file, name, follow_symlinks=opened) for name in names}
    except OSError as trouble:
        if trouble.errno == errno.ENOTSUP:  # a file system without
            return {}
        raise


def _tried(folder: int, name: str, status: os.stat_result) -> None:
    """Whether a new file could take this one's place: on a file without a name, which nobody sees and which is gone when it is closed."""
    try:
        probe = os.open(".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder)
    except OSError:  # a file system without such files
        if os.geteuid() and (status.st_uid != os.geteuid() or status.st_gid not in (os.getegid(), *os.getgroups())):
            raise _not_given(f"owner {status.st_uid} and group {status.st_gid}") from None
        return
    try:
        _dress(probe, folder, name, status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    finally:
        os.close(probe)


def _not_given(what: str) -> NotAllowed:
    return NotAllowed("file", f"this worker may not give a new file in its place {what}: run the host worker as a user who may")


def _temporary(record: UndoRecord, name: str) -> str:
    """Its name belongs to the change, so that the next attempt finds what a killed one left."""
    mark = base64.b32encode(hashlib.sha256(record.change_id.encode()).digest())[:16].decode().lower()
    return f".{name[:200]}.perfwright-{mark}"


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _path_of(order: ChangeOrder) -> str:
    return f"{order.target.files_root}/{only(order.spec, FileSpec).path}"


def _diff(before: bytes, after: bytes, name: str) -> str:
    """For people; the bytes themselves are what counts."""
    lines = difflib.unified_diff(
        before.decode(errors="replace").splitlines(),
        after.decode(errors="replace").splitlines(),
        f"a/{name}",
        f"b/{name}",
        lineterm="",
        n=1,
    )
    text = "\n".join(lines)
    return text if len(text) <= DIFF_CHARACTERS else f"{text[:DIFF_CHARACTERS]}\n... ({len(text):,} characters in all)"
