"""What a test needs and a machine may lack: skipped with the reason here, a failure where CI promises that everything is there."""

import os
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest


def in_ci() -> bool:
    return bool(os.environ.get("CI"))


def _program(name: str, *instead: str) -> Callable[[], str]:
    def why_not() -> str:
        return "" if any(shutil.which(word) for word in (name, *instead)) else f"{name} is not installed"

    return why_not


def _chromium() -> str:
    found = any(shutil.which(word) for word in ("chromium", "chromium-browser", "google-chrome"))
    return "" if found else "no chromium is installed"


def _perf() -> str:
    if shutil.which("perf") is None:
        return "perf is not installed"
    try:
        level = int(Path("/proc/sys/kernel/perf_event_paranoid").read_text())
    except (OSError, ValueError):
        return "/proc/sys/kernel/perf_event_paranoid cannot be read"
    return "" if level <= 2 or os.geteuid() == 0 else f"perf_event_paranoid is {level}"


def _ptrace() -> str:
    scope = Path("/proc/sys/kernel/yama/ptrace_scope")
    if os.geteuid() == 0 or not scope.exists() or scope.read_text().strip() == "0":
        return ""
    return f"ptrace_scope is {scope.read_text().strip()} and we are not root"


def _temporal() -> str:
    from starter.failures import CannotStart

    try:
        temporal_cli()
    except CannotStart as e:
        return str(e)
    return ""


@cache
def temporal_cli() -> Path:
    """The `temporal` that tests use: looked for once per process, as each look runs it.

    Raises `CannotStart` where there is none.
    """
    from starter.temporal_cli import find_temporal_cli

    return find_temporal_cli().path


def _postgresql() -> str:
    return "" if os.environ.get("PERFWRIGHT_TEST_POSTGRESQL") else "PERFWRIGHT_TEST_POSTGRESQL names no server"


KNOWN: dict[str, Callable[[], str]] = {
    "chromium": _chromium,
    "perf": _perf,
    "postgresql": _postgresql,
    "ptrace": _ptrace,
    "temporal": _temporal,
}


@cache
def why_missing(thing: str) -> str:
    """Why it is missing; empty when it is there. Any other word is a program on PATH: `java`, `node`, `gcc`."""
    return KNOWN.get(thing, _program(thing))()


def needs(*things: str) -> pytest.MarkDecorator:
    """`@needs("java", "ptrace")`: skipped with the reason when one is missing; in CI the test runs, and fails."""
    reasons = [reason for thing in things if (reason := why_missing(thing))]
    return pytest.mark.skipif(bool(reasons) and not in_ci(), reason="; ".join(reasons) or "everything is there")


def require(thing: str) -> None:
    """The same from inside a test or fixture."""
    if reason := why_missing(thing):
        if in_ci():
            pytest.fail(f"needed in CI: {reason}")
        pytest.skip(reason)
