"""The collector of a running JVM, observed without a restart: a log that jcmd switches on and off again. No flag of it is set.

The JVM itself writes the log, so it goes into a folder that the JVM's user owns. A program of ours holds it open and ends it when this
worker is killed (`jvm_log_session.py`); should that be killed too, the next attempt does, by the folder's name. It is bounded, and no other
log of the JVM is touched.
Commands: https://docs.oracle.com/en/java/javase/17/docs/specs/man/jcmd.html, VM.log and VM.flags; JEP 158.
"""

import asyncio
import hashlib
import os
import re
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import psutil
from temporalio.exceptions import ApplicationError

from activities import jvm_log_session
from activities.changes.kind import Site
from activities.errors import refuse
from activities.finding_processes import still_there
from activities.jcmd import JCMD_LIMIT_S, not_attached, said_by
from activities.jvm_log_session import started
from activities.live_collector import Observed
from activities.process_memory import pss_bytes
from activities.subprocesses import RunningTool, Tool, run, running
from perfwright.analysis.gc.jvm_flags import read_jvm_flags
from perfwright.analysis.gc.jvm_log import read_jvm_log
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.gc_tuning import CollectorFacts, Pause

WAY_OUT = "Install a JDK of the target's version or newer on its host (Debian: openjdk-17-jdk-headless); jcmd is part of it"
LOG_NAME = "gc.log"
LOG_BYTES = 32 << 20
ANSWER_BYTES = 512 * 1024
SESSION_LIMIT_S = 3_600.0 + 600.0
"""An hour is the longest that is observed."""
_RELEASE = re.compile(r"^JDK (\S+)", re.MULTILINE)


async def observe_jvm(process: TargetProcess, seconds: float, site: Site) -> Observed:
    """Raises ToolMissing, NotPermitted, TargetGone where it ends meanwhile, ToolFailed where it does not answer."""
    release = _RELEASE.search(await _jcmd(process, site, "VM.version"))
    facts = read_jvm_flags(await _jcmd(process, site, "VM.flags", "-all"), release[1] if release else process.runtime_version)
    folder = _folder_name(process)
    await _end_log(process, folder, site)  # what a killed worker left
    await asyncio.to_thread(_make, folder, process)
    try:
        memory_bytes = 0.0
        async with running(_session(process, folder)) as log:
            await _switched_on(process, log, site)
            began = time.monotonic()
            while (left_s := began + seconds - time.monotonic()) > 0:
                site.heartbeat({"observing_s": round(seconds - left_s, 1)})
                alive = still_there(process)
                if alive is None:
                    raise _gone(process)
                memory_bytes = max(memory_bytes, await asyncio.to_thread(pss_bytes, [alive]))
                await asyncio.sleep(min(left_s, 0.5))
            ended = time.monotonic()
            await log.stop(signal.SIGINT)
        pauses, logged = await asyncio.to_thread(_read, folder)
    finally:
        await asyncio.shield(_end_log(process, folder, site))
    facts = facts.model_copy(update={"live_bytes": logged.live_bytes, "full_share": logged.full_share})
    return facts, [pause for pause in pauses if pause.at_s <= ended], ended - began, memory_bytes, ()


async def _jcmd(process: TargetProcess, site: Site, *words: str) -> str:
    if still_there(process) is None:
        # jcmd wakes its target with SIGQUIT: a pid that was given to another program would be killed by it.
        raise _gone(process)
    tool = Tool(["jcmd", str(process.pid), *words], limit_s=JCMD_LIMIT_S, way_out=WAY_OUT, keep_bytes=ANSWER_BYTES)
    ended = await run(tool, heartbeat=lambda elapsed_s, _: site.heartbeat({"jcmd": words[0], "elapsed_s": round(elapsed_s, 1)}))
    if ended.returncode == 0:
        return ended.stdout
    raise _failed(process, words[0], said_by(ended))


def _failed(process: TargetProcess, what: str, said: str) -> Exception:
    if still_there(process) is None:
        return _gone(process)
    if (denied := not_attached(process.pid, said)) is not None:
        return denied
    told = " | ".join(said.splitlines()[:3])[:400]
    return refuse(ErrorType.TOOL_FAILED, f"jcmd {what} of process {process.pid} failed: {told}", way_out="A JVM of 9 or newer")


def _session(process: TargetProcess, folder: Path) -> Tool:
    """Raises ToolMissing, and TargetGone."""
    jcmd = shutil.which("jcmd")
    if jcmd is None:
        raise refuse(ErrorType.TOOL_MISSING, "jcmd is not installed", way_out=WAY_OUT)
    ticks = started(str(process.pid))
    if still_there(process) is None:
        raise _gone(process)
    options = ("what=gc*,safepoint", "decorators=tn,tags", f"output_options=filecount=1,filesize={LOG_BYTES >> 20}m")
    return Tool(
        [sys.executable, "-I", "-S", jvm_log_session.__file__, jcmd, str(process.pid), ticks, str(folder), LOG_NAME, *options],
        limit_s=SESSION_LIMIT_S,
        way_out=WAY_OUT,
        stop_grace_s=JCMD_LIMIT_S + 5.0,
        title="jcmd VM.log",
    )


async def _switched_on(process: TargetProcess, log: RunningTool, site: Site) -> None:
    began = time.monotonic()
    while "on" not in log.stdout.split():
        if log.ended:
            ended = await log.wait()
            raise _failed(process, "VM.log", said_by(ended))
        site.heartbeat({"jcmd": "VM.log", "elapsed_s": round(time.monotonic() - began, 1)})
        await asyncio.sleep(0.05)


async def _end_log(process: TargetProcess, folder: Path, site: Site) -> None:
    """Nothing of ours is left in the JVM, nor on the disk. A JVM that does not answer keeps its folder, for the next attempt."""
    if not await asyncio.to_thread(folder.is_dir):
        return
    try:
        await _jcmd(process, site, "VM.log", f"output=file={folder / LOG_NAME}", "what=all=off")
    except ApplicationError as trouble:
        if trouble.type != ErrorType.TARGET_GONE:
            return
    await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def _read(folder: Path) -> tuple[tuple[Pause, ...], CollectorFacts]:
    with (folder / LOG_NAME).open("rb") as opened:
        return read_jvm_log(opened.read(2 * LOG_BYTES).decode("utf-8", "replace").split("\n"))


def _folder_name(process: TargetProcess) -> Path:
    mark = hashlib.sha256(f"{process.pid} {process.create_time_s:.2f}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"perfwright-gc-{mark}"


def _make(folder: Path, process: TargetProcess) -> None:
    """Owned by the JVM's user. Refused where somebody else made one of the name."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise refuse(ErrorType.NOT_PERMITTED, f"{folder} was made by somebody else", way_out="Remove it and try again") from None
    owner = psutil.Process(process.pid).uids().effective
    if os.geteuid() != owner:
        os.chown(folder, owner, -1, follow_symlinks=False)


def _gone(process: TargetProcess) -> Exception:
    return refuse(ErrorType.TARGET_GONE, f"process {process.pid} exited while it was observed")
