"""Programs and libraries that run although their file is gone: replaced by a deployment, or deleted.

What stands at their path now is another program, whose symbols would be wrong. The kernel still shows what is mapped: proc(5),
`/proc/PID/exe` and `/proc/PID/map_files`.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

MOST_FILES = 64
_GONE = " (deleted)"
_MAPPED = re.compile(rf"^0*(?P<first>[0-9a-f]+)-0*(?P<last>[0-9a-f]+) ..x. \S+ \S+ \d+ +(?P<path>/.+){re.escape(_GONE)}$")
_NO_FILES = re.compile(r"^/(memfd:|dev/zero|SYSV|anon_hugepage)")


def replaced_files(pids: Sequence[int]) -> dict[str, str]:
    """Path that code of these processes was mapped from -> where it can be read now, as far as we may."""
    found: dict[str, str] = {}
    for pid in pids:
        for path, shown_at in _shown(pid):
            if path not in found and len(found) < MOST_FILES and _can_read(shown_at):
                found[path] = shown_at
    return found


def _shown(pid: int) -> Iterator[tuple[str, str]]:
    process, program = Path(f"/proc/{pid}"), ""
    try:
        lines = (process / "maps").read_text(errors="replace").splitlines()
    except OSError:
        return
    with suppress(OSError):
        program = str((process / "exe").readlink())
    for line in lines:
        mapped = _MAPPED.match(line)
        if mapped and not _NO_FILES.match(mapped["path"]):
            is_program = program == mapped["path"] + _GONE
            yield mapped["path"], str(process / "exe" if is_program else process / "map_files" / f"{mapped['first']}-{mapped['last']}")


def _can_read(path: str) -> bool:
    try:
        with Path(path).open("rb"):
            return True
    except OSError:
        return False
