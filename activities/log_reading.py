"""Reads a server's log in a process of its own: files to their end, or a folder's files as they grow, through rotation and truncation.

What was read is kept in checkpoints, so that a killed reader's next attempt goes on from there. All work is in
`read_log_here`; the activity only starts it, and tells of its progress.
"""

import os
import stat
import time
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from activities.errors import refuse
from activities.log_sources import GROUP, MOST_BYTES, PACKED, LogFolderUnseen, LogSource, newest_first
from perfwright.models.errors import ErrorType
from perfwright.models.statement import LogDigest

if TYPE_CHECKING:
    from activities.kept_values import KeptIn

CHECKPOINT_FILE, PROGRESS_FILE, DIGEST_FILE = "checkpoint.json", "progress.json", "digest"
READ_BYTES = 1 << 20
HEAD_BYTES = 256
"""Of a file's beginning are remembered: other bytes there mean that the file was written anew."""
FORMAT_BYTES = 256 << 10
"""Are looked at for a line that tells the format."""
CHECKPOINT_BYTES, CHECKPOINT_S = 16 << 20, 5.0
"""Read since the last checkpoint, whichever comes first: what a killed reader's next attempt reads again."""
CHECKPOINT_SHARE = 0.03
"""Of the time at most: a large state is kept less often."""
PROGRESS_S = 0.5
POLL_S = 0.2
LOOK_S = 1.0
"""Between two looks at the folder's names."""
LATE_S = 5.0
"""A window that ended longer ago than this was missed by the attempt that should have read its end."""
MOST_TAILS = 256
"""Files that are followed at a time; the oldest is given up for a new one."""
GZIP = 31
"""zlib's window bits for a gzip header."""


@dataclass(frozen=True)
class LogOrder:
    """What is to be read, and where the work is kept."""

    sources: tuple[LogSource, ...]
    work: str
    """Folder of the recording in progress."""
    database: str
    own_application: str
    folder: str = ""
    """Followed until `until_s`; empty: the sources are read to their end."""
    log_format: str = ""
    until_s: float = 0.0
    """Wall clock, seconds since the epoch."""
    values: "KeptIn | None" = None
    """Literals are masked: where values are kept."""


@dataclass(frozen=True)
class LogOutcome:
    """What was read; the digest itself is in DIGEST_FILE."""

    read_bytes: int
    lines: int
    calls: int
    shapes: int
    gaps: tuple[str, ...]
    unreadable: str = ""
    """Why files in the folder could not be opened."""


class Tail(msgspec.Struct):
    """A file, and how far it was read."""

    path: str
    device: int
    inode: int
    offset: int = 0
    """Of a packed file: in its unpacked content."""
    head: bytes = b""
    label: str = ""
    """As the reader knows it; empty: it was not told of it."""
    done: bool = False

    @property
    def identity(self) -> tuple[int, int]:
        return self.device, self.inode


class _Checkpoint(msgspec.Struct):
    tails: list[Tail]
    reader: msgspec.Raw


def read_log_here(order: LogOrder) -> LogOutcome:
    """Read it all, and write the digest. Raises InvalidInput for a given file that is no log of PostgreSQL."""
    from perfwright.analysis.statements.stored import encode

    reading = LogReading(order)
    if order.folder:
        reading.follow()
    else:
        reading.read_files()
    reading.keep()
    digest = reading.digest()
    if order.values is not None:
        # Imported where it is used: it adds half to what starting this process costs the host.
        from activities.kept_values import without_values

        digest = without_values(digest, "postgresql", order.values)
    replace(Path(order.work) / DIGEST_FILE, encode(digest))
    return LogOutcome(
        read_bytes=digest.read_bytes,
        lines=digest.lines,
        calls=reading.reader.calls,
        shapes=len(digest.statements),
        gaps=digest.gaps,
        unreadable=reading.unreadable,
    )


class LogReading:
    """One attempt; goes on from the checkpoint of an earlier one."""

    def __init__(self, order: LogOrder) -> None:
        from perfwright.analysis.server_log.reader import LogReader

        self.order, self.work = order, Path(order.work)
        self.unreadable = ""
        self._descriptors: dict[tuple[int, int], int] = {}
        self._total = sum(source.size_bytes - source.start for source in order.sources)
        self._looked_at = self._told_at = self._keep_s = 0.0
        self._kept_bytes = 0
        self._began = self._kept_at = time.monotonic()
        if (kept := self._kept()) is not None:
            self.tails = kept.tails
            self.reader = LogReader.restore(bytes(kept.reader))
            if order.folder and time.time() > order.until_s + LATE_S:
                self.reader.note_gap("the worker was restarted after the window had ended: what was written until then is among it")
        else:
            self.tails = [Tail(one.path, one.device, one.inode, one.start) for one in order.sources]
            self.reader = LogReader(order.database, order.own_application)
        self._began_with = self.reader.read_bytes
        self.keep()

    def read_files(self) -> None:
        """The given files, one after the other, to their end."""
        for tail in self.tails:
            if not tail.done and (descriptor := self._open(tail)) is not None:
                blocks = self._unpacked(tail, descriptor) if tail.path.endswith(PACKED) else self._blocks(tail, descriptor)
                for data in blocks:
                    if not tail.label and not self._begin(tail, data):
                        raise refuse(
                            ErrorType.INVALID_INPUT,
                            f"log_files: {tail.path} is no server log of PostgreSQL (jsonlog, csvlog or stderr)",
                            way_out="Give files as the server wrote them, plain or packed with gzip",
                        )
                    self._feed(tail, data)
                if not tail.label:
                    self.reader.note_gap(f"{tail.path} is empty")
            self.end(tail)

    def follow(self) -> None:
        """The folder's files, and those that come, from where each begins until the time is over."""
        while True:
            over = time.time() >= self.order.until_s
            self.catch_up(look_around=over or time.monotonic() - self._looked_at >= LOOK_S)
            if over:
                return
            time.sleep(min(POLL_S, max(0.0, self.order.until_s - time.time())))

    def catch_up(self, *, look_around: bool = True) -> None:
        """Read what was appended by now, and see whether files came or got other names."""
        if look_around:
            self._look_around()
        for tail in [tail for tail in self.tails if not tail.done]:
            self._catch_up(tail)
        self._tick()

    def digest(self) -> LogDigest:
        """What was read; the end of the reading."""
        for tail in self.tails:
            self.end(tail, goes_on=bool(self.order.folder))
        return self.reader.digest()

    def end(self, tail: Tail, *, goes_on: bool = False) -> None:
        """Nothing more is read of it."""
        if tail.label:
            self.reader.end_file(tail.label, goes_on=goes_on)
            tail.label = ""
        tail.done = True
        if (descriptor := self._descriptors.pop(tail.identity, None)) is not None:
            os.close(descriptor)

    def keep(self) -> None:
        """Write the checkpoint: positions and state in one file, replaced as a whole."""
        began = time.monotonic()
        replace(self.work / CHECKPOINT_FILE, msgspec.json.encode(_Checkpoint(self.tails, msgspec.Raw(self.reader.state()))))
        self._kept_at, self._kept_bytes = time.monotonic(), self.reader.read_bytes
        self._keep_s = self._kept_at - began

    def _tick(self) -> None:
        now, unkept = time.monotonic(), self.reader.read_bytes - self._kept_bytes
        since_s = now - self._kept_at
        if unkept and since_s >= self._keep_s / CHECKPOINT_SHARE and (unkept >= CHECKPOINT_BYTES or since_s >= CHECKPOINT_S):
            self.keep()
        if now - self._told_at >= PROGRESS_S:
            self._tell(now)

    def _tell(self, now: float) -> None:
        self._told_at = now
        read, elapsed_s = self.reader.read_bytes, now - self._began
        progress = {
            "read_bytes": read,
            "bytes": max(read, self._total),
            "mb_per_s": round((read - self._began_with) / 1e6 / elapsed_s, 1) if elapsed_s > 0 else 0.0,
            "statements": self.reader.calls,
        }
        replace(self.work / PROGRESS_FILE, msgspec.json.encode(progress))

    def _kept(self) -> _Checkpoint | None:
        try:
            return msgspec.json.decode((self.work / CHECKPOINT_FILE).read_bytes(), type=_Checkpoint)
        except (FileNotFoundError, msgspec.DecodeError):
            return None

    # One file

    def _open(self, tail: Tail) -> int | None:
        """Its descriptor, whatever its name is now; None, and a gap is noted, when it cannot be read (any more)."""
        if (descriptor := self._descriptors.get(tail.identity)) is not None:
            return descriptor
        for path in self._names(tail):
            try:
                # A pipe that took the name meanwhile must not make us wait.
                descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            except OSError as trouble:
                self.unreadable = f"this worker may not read {path}: {trouble.strerror}"
                self.reader.note_gap(f"{self.unreadable}. {GROUP}")
                return None
            facts = os.fstat(descriptor)
            if stat.S_ISREG(facts.st_mode) and (facts.st_dev, facts.st_ino) == tail.identity:
                tail.path = str(path)
                self._descriptors[tail.identity] = descriptor
                return descriptor
            os.close(descriptor)
        self.reader.note_gap(f"{tail.path} was taken away before it was read to its end")
        return None

    def _names(self, tail: Tail) -> Iterator[Path]:
        yield Path(tail.path)
        with suppress(OSError):
            for path in Path(tail.path).parent.iterdir():
                with suppress(OSError):
                    if path.stat().st_ino == tail.inode:
                        yield path

    def _blocks(self, tail: Tail, descriptor: int) -> Iterator[bytes]:
        """What there is from its offset on; from its begin if that is another than it was."""
        size = os.fstat(descriptor).st_size
        if size < tail.offset or self._read(tail, descriptor, 0, len(tail.head)) != tail.head:
            if tail.label:
                self.reader.note_gap(
                    f"{tail.path} was truncated or written anew at {tail.offset:,} bytes: what was not read by then is lost"
                )
                self.reader.end_file(tail.label)
            tail.label, tail.head, tail.offset = "", b"", 0
        while data := self._read(tail, descriptor, tail.offset, READ_BYTES):
            yield data

    def _unpacked(self, tail: Tail, descriptor: int) -> Iterator[bytes]:
        """The content of a gzip file, its members one after the other; what an earlier attempt read is unpacked again, but not analysed."""
        unpacker, at, unpacked, unfinished = zlib.decompressobj(GZIP), 0, 0, False
        try:
            while packed := self._read(tail, descriptor, at, READ_BYTES):
                at += len(packed)
                while packed:
                    data = unpacker.decompress(packed, READ_BYTES)
                    packed, unfinished = unpacker.unconsumed_tail, not unpacker.eof
                    if unpacker.eof:
                        packed, unpacker = unpacker.unused_data.lstrip(b"\0"), zlib.decompressobj(GZIP)
                    if fresh := data[max(0, tail.offset - unpacked) :]:
                        yield fresh
                    unpacked += len(data)
                    if unpacked > MOST_BYTES:
                        self.reader.note_gap(f"{tail.path}: unpacked it has more than {MOST_BYTES >> 30} GiB; the rest was not read")
                        return
        except zlib.error as trouble:
            self.reader.note_gap(f"{tail.path} cannot be unpacked beyond {unpacked:,} bytes: {trouble}")
            return
        if unfinished:
            self.reader.note_gap(f"{tail.path} is not whole: it ends within packed data, {unpacked:,} bytes of it were read")

    def _read(self, tail: Tail, descriptor: int, at: int, count: int) -> bytes:
        try:
            return os.pread(descriptor, count, at)
        except OSError as trouble:
            self.reader.note_gap(f"{tail.path} cannot be read at {at:,} bytes: {trouble.strerror}")
            return b""

    def _begin(self, tail: Tail, head: bytes) -> bool:
        """Tell the reader of it, when its format can be seen."""
        from perfwright.analysis.server_log.entries import format_of

        found = format_of(head[:FORMAT_BYTES])
        if found is None:
            return False
        # A name may have been given to another file before the first one was at its end.
        used = {other.label for other in self.tails}
        tail.label = tail.path if tail.path not in used else f"{tail.path} ({tail.inode})"
        self.reader.begin_file(tail.label, found, in_middle=tail.offset > 0)
        return True

    def _feed(self, tail: Tail, data: bytes) -> None:
        if tail.offset == len(tail.head) < HEAD_BYTES:
            tail.head = (tail.head + data)[:HEAD_BYTES]
        self.reader.feed(tail.label, data)
        tail.offset += len(data)
        self._tick()

    # A folder

    def _look_around(self) -> None:
        """Files that came, and names that changed."""
        self._looked_at = time.monotonic()
        try:
            found = newest_first(self.order.folder, self.order.log_format)
        except LogFolderUnseen as unseen:
            self.reader.note_gap(unseen.told.reason)
            return
        known = {tail.identity: tail for tail in self.tails}
        for source in reversed(found):
            tail = known.get((source.device, source.inode))
            if tail is None:
                self.tails.append(Tail(source.path, source.device, source.inode))
            elif not tail.done:
                tail.path = source.path
        for tail in [tail for tail in self.tails if not tail.done][:-MOST_TAILS]:
            self.end(tail)

    def _catch_up(self, tail: Tail) -> None:
        """Read what was appended."""
        descriptor = self._open(tail)
        if descriptor is None:
            self.end(tail)
            return
        if tail.offset and not tail.head:
            self._align(tail, descriptor)
        for data in self._blocks(tail, descriptor):
            if not tail.label and not self._begin(tail, self._read(tail, descriptor, 0, FORMAT_BYTES)):
                if tail.offset + len(data) >= FORMAT_BYTES:
                    self.reader.note_gap(f"{tail.path} is no server log of PostgreSQL")
                    self.end(tail)
                return  # so far there is no whole line
            self._feed(tail, data)
        if os.fstat(descriptor).st_nlink == 0:
            self.end(tail)
            self.tails.remove(tail)  # its number may be given to another file

    def _align(self, tail: Tail, descriptor: int) -> None:
        """Begin with a whole line: its end as we found it may have been in the middle of one."""
        tail.head = self._read(tail, descriptor, 0, min(HEAD_BYTES, tail.offset))
        start = max(0, tail.offset - READ_BYTES)
        before = self._read(tail, descriptor, start, tail.offset - start)
        if len(before) == tail.offset - start and (newline := before.rfind(b"\n")) >= 0:
            tail.offset = start + newline + 1


def replace(path: Path, data: bytes) -> None:
    """Write a file so that a reader, or the next attempt after a kill, sees all of it or all of the one before. Raises StoreUnavailable."""
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as trouble:
        raise refuse(
            ErrorType.STORE_UNAVAILABLE,
            f"cannot write the reading in progress to {path.parent}: {trouble.strerror}",
            way_out="Make room there, or start the host worker where it may write",
        ) from None
