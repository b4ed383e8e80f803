"""Which files of a server's log are read: those given, or what is in its log folder. Looks at names and attributes, reads no content."""

import stat
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from activities.errors import refuse
from perfwright.models.database import NotSeen
from perfwright.models.errors import ErrorType
from perfwright.models.vocabulary import Model

MOST_FILES = 64
MOST_BYTES = 64 << 30
FOLDER_FILES, FOLDER_BYTES = 8, 4 << 30
"""Of a folder that is read as it is, the newest files up to this: a server may keep months."""
SAME_TIME_S = 60.0
"""Logs in several formats at once are written within the same minute; an older one was left from other settings."""
SUFFIXES = {"jsonlog": ".json", "csvlog": ".csv", "stderr": ".log"}
"""As the logging collector names them (documentation of log_filename and log_destination)."""
FORMATS = {suffix: name for name, suffix in SUFFIXES.items()}
PACKED = ".gz"
WHAT = "server log"
GROUP = "Let the host worker read it: as a member of the folder's group (Debian: adm), with log_file_mode = 0640"


class LogSource(Model):
    """A file to be read, recognized by device and inode whatever its name becomes."""

    path: str
    device: int
    inode: int
    size_bytes: int
    start: int = 0
    """Where to begin."""


class LogFolderUnseen(Exception):
    """There is nothing to read in the log folder; `told` says why, and what would help."""

    def __init__(self, reason: str, way_out: str) -> None:
        super().__init__(reason)
        self.told = NotSeen(what=WHAT, reason=reason, way_out=way_out)


def given_sources(paths: Iterable[str]) -> tuple[LogSource, ...]:
    """Files that a user named, links resolved. Raises InvalidInput or NotPermitted, naming the file."""
    sources: dict[tuple[int, int], LogSource] = {}
    for path in paths:
        source = _given(path)
        sources.setdefault((source.device, source.inode), source)
    if len(sources) > MOST_FILES:
        raise refuse(ErrorType.INVALID_INPUT, f"log_files: {len(sources)} files; at most {MOST_FILES} are read", way_out="Name fewer")
    if (total := sum(source.size_bytes for source in sources.values())) > MOST_BYTES:
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"log_files: {total / (1 << 30):,.0f} GiB in all; at most {MOST_BYTES >> 30} GiB are read",
            way_out="Name those of a shorter time",
        )
    return tuple(sources.values())


def folder_sources(folder: str, log_format: str, *, follow: bool) -> tuple[LogSource, ...]:
    """The newest files of a log folder in one format, oldest first; to be followed: all of them, from their present end on.

    Raises LogFolderUnseen.
    """
    found = newest_first(folder, log_format)
    if not found:
        wanted = f"{log_format} " if log_format in SUFFIXES else ""
        raise LogFolderUnseen(
            f"{folder} holds no {wanted}log", "Switch logging_collector on with log_destination = jsonlog, or give log_files"
        )
    if follow:
        return tuple(source.model_copy(update={"start": source.size_bytes}) for source in reversed(found[:MOST_FILES]))
    kept: list[LogSource] = []
    for source in found[:FOLDER_FILES]:
        if kept and sum(one.size_bytes for one in kept) + source.size_bytes > FOLDER_BYTES:
            break
        kept.append(source)
    return tuple(reversed(kept))


def newest_first(folder: str, log_format: str) -> list[LogSource]:
    """Regular files of the folder in one format: the one asked for, else the most telling that is being written. Raises LogFolderUnseen."""
    files = []
    try:
        for path in Path(folder).iterdir():
            if path.suffix in SUFFIXES.values():
                with suppress(FileNotFoundError):  # rotated away while we look
                    files.append((path, path.stat()))
    except FileNotFoundError:
        raise LogFolderUnseen(f"there is no folder {folder} on this host", "Give log_files, or the log's folder on this host") from None
    except NotADirectoryError:
        raise LogFolderUnseen(f"{folder} is a file", "Give it as log_files") from None
    except PermissionError:
        raise LogFolderUnseen(f"this worker may not look into {folder}", GROUP) from None
    except OSError as trouble:
        raise LogFolderUnseen(f"cannot look into {folder}: {trouble.strerror}", "Give log_files") from None
    files = [(path, facts) for path, facts in files if stat.S_ISREG(facts.st_mode)]
    if log_format in SUFFIXES:
        suffixes = {SUFFIXES[log_format]}
    else:
        newest = max((facts.st_mtime for _, facts in files), default=0.0)
        written = {path.suffix for path, facts in files if facts.st_mtime >= newest - SAME_TIME_S}
        suffixes = {next((suffix for suffix in SUFFIXES.values() if suffix in written), "")}
    chosen = [(facts.st_mtime, str(path), facts) for path, facts in files if path.suffix in suffixes]
    chosen.sort(key=lambda one: one[:2], reverse=True)
    return [
        LogSource(path=path, device=facts.st_dev, inode=facts.st_ino, size_bytes=facts.st_size) for _, path, facts in chosen[:MOST_FILES]
    ]


def _given(path: str) -> LogSource:
    try:
        resolved = Path(path).expanduser().resolve(strict=True)
        facts = resolved.stat()
        if stat.S_ISREG(facts.st_mode):
            with resolved.open("rb"):
                return LogSource(path=str(resolved), device=facts.st_dev, inode=facts.st_ino, size_bytes=facts.st_size)
    except FileNotFoundError:
        raise refuse(ErrorType.INVALID_INPUT, f"log_files: there is no file {path} on this host") from None
    except PermissionError:
        raise refuse(ErrorType.NOT_PERMITTED, f"log_files: this worker may not read {path}", way_out=GROUP) from None
    except (OSError, RuntimeError, ValueError) as trouble:  # a loop of links, a name with NUL
        raise refuse(ErrorType.INVALID_INPUT, f"log_files: cannot read {path[:300]}: {trouble}") from None
    kind = "a folder: name the files in it" if stat.S_ISDIR(facts.st_mode) else "no regular file"
    raise refuse(ErrorType.INVALID_INPUT, f"log_files: {path} is {kind}")
