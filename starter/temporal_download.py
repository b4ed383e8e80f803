"""Have the Temporal SDK download its development server, as a bounded child process.

The SDK has no "only download" call: `WorkflowEnvironment.start_local` downloads and then starts. It is run in a child, because a
machine without internet may swallow its connection attempt for minutes and nothing inside the process could stop it.
"""

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from starter.failures import CannotStart

SILENCE_S = 6.0
"""No new byte for so long means no internet here (or a proxy that says nothing)."""
LIMIT_S = 600.0


def download(destination: Path, version: str, say: Callable[[str], None]) -> None:
    """Fetch CLI `version` to `destination`. Raises `CannotStart` when nothing arrives for `SILENCE_S` seconds."""
    folder = destination.parent / "download"
    folder.mkdir()
    child = subprocess.Popen(
        [sys.executable, "-m", "starter.temporal_download", str(folder), version],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        _wait(child, folder, say)
        arrived = _arrived(folder)
        if arrived is None:
            assert child.stderr is not None
            said = child.stderr.read(4_000).strip().splitlines() if child.poll() is not None else []
            raise CannotStart(said[-1][:300] if said else f"no answer from temporal.download within {SILENCE_S:g} s (no internet here?)")
        arrived.chmod(0o755)
        arrived.replace(destination)
    finally:
        _kill(child)


def _wait(child: "subprocess.Popen[str]", folder: Path, say: Callable[[str], None]) -> None:
    started = last_progress = last_said = time.monotonic()
    size = 0
    while child.poll() is None and _arrived(folder) is None:
        time.sleep(0.1)
        now, grown = time.monotonic(), sum(_sizes(folder).values())
        if grown > size:
            size, last_progress = grown, now
        if now - last_progress > SILENCE_S or now - started > LIMIT_S:
            return
        if size and now - last_said > 2:
            last_said = now
            say(f"temporal CLI: downloading, {size / 1e6:.0f} MB")


def _arrived(folder: Path) -> Path | None:
    """The SDK renames the file when it is whole."""
    return next((f for f, size in _sizes(folder).items() if f.suffix != ".downloading" and size > 0), None)


def _sizes(folder: Path) -> dict[Path, int]:
    sizes = {}
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # renamed between the listing and the look
            sizes[file] = file.stat().st_size
    return sizes


def _kill(child: "subprocess.Popen[str]") -> None:
    """The child and the server it may have started share a process group."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    if child.stderr is not None:
        child.stderr.close()


async def _fetch(folder: str, version: str) -> None:
    from temporalio.testing import WorkflowEnvironment

    environment = await WorkflowEnvironment.start_local(download_dest_dir=folder, dev_server_download_version=f"v{version}")
    await environment.shutdown()


def main() -> int:
    try:
        asyncio.run(_fetch(sys.argv[1], sys.argv[2]))
    except Exception as error:
        print(" ".join(str(error).split()), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
