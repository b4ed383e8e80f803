"""Build the `temporal` CLI from source with Go: minutes, once, and only where there is no other way to get it."""

import os
import re
import selectors
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping
from pathlib import Path

from starter.failures import CannotStart

SOURCE = Path(__file__).resolve().parent.parent / "tools" / "temporal"
PACKAGE = "github.com/temporalio/cli/cmd/temporal"
VERSION_VARIABLE = "github.com/temporalio/cli/internal/temporalcli.Version"
SWITCHES_TOOLCHAIN = (1, 21)
"""Since this version `go` fetches the toolchain a module asks for, unless GOTOOLCHAIN=local."""
LIMIT_S = 1_800.0
SAY_EVERY_S = 5.0


def build(destination: Path, version: str, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Write the CLI to `destination`. Raises `CannotStart` when Go is missing or too old, or the build fails."""
    if not (SOURCE / "go.mod").exists():
        raise CannotStart(f"{SOURCE} is not there (it comes with a checkout of Perfwright, not with an installed package)")
    go = shutil.which("go", path=environ.get("PATH", os.defpath))
    if go is None:
        raise CannotStart("Go is not installed (https://go.dev/dl)")
    _check_go(go, environ)
    say("temporal CLI: building it with Go, once; this takes 2 to 5 minutes and 1.5 GB of module cache")
    began = time.monotonic()
    _run([go, "mod", "download"], "fetching modules", environ, say)
    flags = f"-s -w -X {VERSION_VARIABLE}={version}"
    _run([go, "build", "-v", "-ldflags", flags, "-o", str(destination), PACKAGE], "compiling", environ, say)
    say(f"temporal CLI: built in {time.monotonic() - began:.0f} s")


def _check_go(go: str, environ: Mapping[str, str]) -> None:
    wanted = _numbers(re.search(r"^go (\S+)$", (SOURCE / "go.mod").read_text(), re.MULTILINE))
    asked = subprocess.run(  # outside of the module and with its own toolchain: what is installed, not what would be fetched
        [go, "env", "GOVERSION"],
        cwd=Path(go).parent,
        env={**environ, "GOTOOLCHAIN": "local"},
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    found = _numbers(re.match(r"go(\S+)", asked.stdout.strip()))
    if not found:
        said = (asked.stderr or asked.stdout).strip()[:200]
        raise CannotStart(f"{go} does not tell its version ({said})")
    if found >= wanted:
        return
    have, need = (".".join(str(n) for n in v) for v in (found, wanted))
    if found < SWITCHES_TOOLCHAIN:
        raise CannotStart(f"{go} is version {have}, {need} or newer is needed (https://go.dev/dl)")
    policy = subprocess.run(
        [go, "env", "GOTOOLCHAIN"],
        cwd=Path(go).parent,
        env=dict(environ),
        capture_output=True,
        text=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    if policy.stdout.strip() == "local":
        raise CannotStart(f"{go} is version {have}, {need} or newer is needed; GOTOOLCHAIN=auto lets it fetch that itself")


def _numbers(match: "re.Match[str] | None") -> tuple[int, ...]:
    return tuple(int(n) for n in re.findall(r"\d+", match.group(1))[:3]) if match else ()


def _run(command: list[str], doing: str, environ: Mapping[str, str], say: Callable[[str], None]) -> None:
    """Run a Go command, count the packages it names, and keep the end of what it says for the error."""
    child = subprocess.Popen(
        command,
        cwd=SOURCE,
        env={**environ, "CGO_ENABLED": "0"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert child.stderr is not None
    began = said = time.monotonic()
    packages, partial = 0, b""
    tail: deque[str] = deque(maxlen=8)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(child.stderr, selectors.EVENT_READ)
            while True:
                if selector.select(timeout=1.0):
                    chunk = os.read(child.stderr.fileno(), 65_536)
                    if not chunk:
                        break
                    *lines, partial = (partial + chunk).split(b"\n")
                    packages += len(lines)
                    tail.extend(line.decode(errors="replace")[:300] for line in lines)
                now = time.monotonic()
                if now - said >= SAY_EVERY_S:
                    said = now
                    say(f"temporal CLI: {doing}, {now - began:.0f} s" + (f", {packages} packages" if packages else ""))
                if now - began > LIMIT_S:
                    raise CannotStart(f"`{' '.join(command[:2])}` was still {doing} after {LIMIT_S / 60:.0f} minutes and was stopped")
        if child.wait() != 0:
            raise CannotStart(f"`{' '.join(command[:2])}` failed: {' / '.join(line for line in tail if line) or child.returncode}")
    finally:
        if child.poll() is None:
            os.killpg(child.pid, signal.SIGKILL)
            child.wait()
        child.stderr.close()
