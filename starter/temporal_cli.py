"""Find the `temporal` CLI, which is the development server as well; build it when there is none.

TEMPORAL_CLI_PATH -> `temporal` on PATH -> the user's cache -> the SDK's own download -> a Go build of `tools/temporal`

Run as a program (`python -m starter.temporal_cli`), it prints the path on stdout and its progress on stderr.
"""

import fcntl
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from starter.failures import CANNOT_BE_CARRIED_OUT, CannotStart
from starter.temporal_build import build
from starter.temporal_download import download

PINNED = "1.8.2"
"""What is downloaded or built; the same as in tools/temporal/go.mod."""

OLDEST_SERVER = (1, 28)
"""The first server with task priorities and poller autoscaling; the CLI prints which server it carries."""

VERSION_LINE = re.compile(r"temporal version (\S+) \(Server (\d+)\.(\d+)\.?([^,\s]*)")
VERSION_TIMEOUT_S = 20.0

Say = Callable[[str], None]


class Unusable(Exception):
    """One place that does not serve, and why."""


@dataclass(frozen=True)
class FoundCli:
    """A CLI that was run once and told its version."""

    path: Path
    version: str
    origin: str
    """Where it came from, in words: "TEMPORAL_CLI_PATH", "PATH", "cache", "downloaded", "built"."""
    tried: tuple[str, ...]
    """Each place looked at before, and why it did not serve."""


def find_temporal_cli(
    *,
    environ: Mapping[str, str] | None = None,
    say: Say = lambda _line: None,
    fetch: Callable[[Path, str, Say], None] = download,
    compile_it: Callable[[Path, str, Mapping[str, str], Say], None] = build,
) -> FoundCli:
    """Return the first CLI that works; `say` hears what takes time.

    Raises `CannotStart` with every place tried and why it failed. A `TEMPORAL_CLI_PATH` that does not work is an error by
    itself: someone chose it, and silently using another would hide that.
    """
    environ = os.environ if environ is None else environ
    if chosen := environ.get("TEMPORAL_CLI_PATH"):
        try:
            return FoundCli(Path(chosen), checked_version(Path(chosen)), "TEMPORAL_CLI_PATH", ())
        except Unusable as reason:
            raise CannotStart(
                f"TEMPORAL_CLI_PATH={chosen} cannot be used: {reason}", way_out="Correct it, or unset it to have one found"
            ) from None

    tried: list[str] = []
    cached = cache_folder(environ) / "temporal"

    on_path = shutil.which("temporal", path=environ.get("PATH", os.defpath))
    try:
        if on_path is None:
            raise Unusable("not there")
        return FoundCli(Path(on_path), checked_version(Path(on_path)), "PATH", ())
    except Unusable as reason:
        tried.append(f"`temporal` on PATH{f' ({on_path})' if on_path else ''}: {reason}")

    try:
        return FoundCli(cached, checked_version(cached), "cache", tuple(tried))
    except Unusable as reason:
        tried.append(f"the cache ({cached}): {reason}")

    try:
        with _locked(cached.parent, say):
            if cached.exists():  # whoever held the lock has made it meanwhile
                try:
                    return FoundCli(cached, checked_version(cached), "cache", tuple(tried))
                except Unusable:
                    cached.unlink()
            for origin, name, make in (
                ("downloaded", "the SDK's download", lambda part: fetch(part, PINNED, say)),
                ("built", "a Go build of tools/temporal", lambda part: compile_it(part, PINNED, environ, say)),
            ):
                try:
                    return FoundCli(cached, _make(cached, make), origin, tuple(tried))
                except Unusable as reason:
                    tried.append(f"{name}: {reason}")
    except OSError as error:
        tried.append(
            f"download and Go build: nothing can be kept in {cached.parent} ({error.strerror or error}); "
            "set XDG_CACHE_HOME to a folder that you can write"
        )
    raise CannotStart(
        "No usable `temporal` CLI (it is the development server as well). Tried:\n" + "\n".join(f"  - {line}" for line in tried) + "\n",
        way_out="Install it (https://docs.temporal.io/cli), set TEMPORAL_CLI_PATH, or install Go 1.26 and run this again",
    )


def cache_folder(environ: Mapping[str, str]) -> Path:
    """Keyed by version, so that an upgrade of Perfwright never runs yesterday's server."""
    root = environ.get("XDG_CACHE_HOME") or str(Path(environ.get("HOME", "~")).expanduser() / ".cache")
    return Path(root) / "perfwright" / "temporal" / PINNED


def checked_version(path: Path) -> str:
    """Ask the CLI for its version. Raises `Unusable` when it does not run, does not answer or carries too old a server."""
    if not path.exists():
        raise Unusable("not there")
    try:
        answer = subprocess.run(
            [str(path), "--version"], capture_output=True, text=True, errors="replace", timeout=VERSION_TIMEOUT_S, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise Unusable(f"`--version` gave no answer within {VERSION_TIMEOUT_S:g} s") from None
    except OSError as error:
        raise Unusable(f"does not run ({error.strerror})") from None
    if answer.returncode != 0:
        said = (answer.stderr or answer.stdout).strip().splitlines()
        raise Unusable(f"`--version` ended with exit code {answer.returncode}{f' ({said[-1][:200]})' if said else ''}")
    if not (match := VERSION_LINE.search(answer.stdout)):
        raise Unusable(f"`--version` answered {answer.stdout.strip()[:100]!r}, which names no server version")
    version, major, minor, patch = match.groups()
    if (int(major), int(minor)) < OLDEST_SERVER:
        wanted = ".".join(str(part) for part in OLDEST_SERVER)
        raise Unusable(f"version {version} is too old: it carries server {major}.{minor}.{patch}, {wanted} or newer is needed")
    return version


def _make(cached: Path, make: Callable[[Path], None]) -> str:
    """Make the binary under a temporary name, run it once, and only then rename it: nobody ever sees half of one."""
    with tempfile.TemporaryDirectory(prefix=".making-", dir=cached.parent) as folder:
        part = Path(folder) / "temporal"
        try:
            make(part)
        except (CannotStart, subprocess.TimeoutExpired) as reason:
            raise Unusable(str(reason)) from None
        version = checked_version(part)
        part.replace(cached)
    return version


@contextmanager
def _locked(folder: Path, say: Say) -> Iterator[None]:
    """One download or build at a time for this user; the lock goes with the process that holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("temporal CLI: another process is getting it ready, waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def main() -> int:
    """Print the path for the Makefile and scripts."""
    try:
        found = find_temporal_cli(say=lambda line: print(line, file=sys.stderr, flush=True))
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)
        return CANNOT_BE_CARRIED_OUT
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    print(found.path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
