"""Interpreters of the releases that our reader knows, as far as this machine has them."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

RELEASES = ((3, 11), (3, 12), (3, 13))
_TOLD = "import sys, json; print(json.dumps([sys.version_info[:2], sys.implementation.name, sys.abiflags]))"


@cache
def interpreters() -> tuple[str, ...]:
    """Paths: the tests' own first."""
    found: dict[Path, str] = {}
    for path in _candidates():
        told = subprocess.run([path, "-c", _TOLD], capture_output=True, text=True, timeout=60)
        version, name, flags = json.loads(told.stdout) if told.returncode == 0 else ((0, 0), "", "")
        if tuple(version) in RELEASES and name == "cpython" and not flags:
            found.setdefault(Path(path).resolve(), path)
    return tuple(found.values())


def older_interpreter() -> str | None:
    """One of a release that it does not know."""
    for path in Path.home().glob(".pyenv/versions/3.[89]*/bin/python"):
        return str(path)
    return None


def _candidates() -> Iterator[str]:
    yield sys.executable
    for major, minor in RELEASES:
        name = f"python{major}.{minor}"
        yield from (path for folder in (None, "/usr/bin") if (path := shutil.which(name, path=folder)))
        yield from (str(path) for path in sorted(Path.home().glob(f".pyenv/versions/{major}.{minor}.*/bin/{name}")))
