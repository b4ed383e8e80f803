"""Python code run once inside a running CPython process, and its answer: by gdb, with nothing left behind and nothing that can break off.

The order is a file that the injected code claims by renaming it. So an order that was given up, or whose worker was killed, does nothing
when it is reached late. gdb makes one page of memory with a path in it, and then, where the main thread

- runs: `Py_AddPendingCall`, which needs neither the interpreter lock nor memory; the interpreter calls it between two instructions;
- waits in the kernel: calls the interpreter there and then, under its lock, because a pending call would wait as long as the thread.

gdb is never killed: its breakpoint for the return of a call would stay, and end the target. It is only ever waited for, also when its
worker is gone. Pending calls: https://docs.python.org/3/c-api/init.html#c.Py_AddPendingCall.
"""

import asyncio
import json
import os
import platform
import re
import shutil
import signal
import tempfile
import time
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any
from uuid import uuid4

import psutil

from activities.changes.kind import Site
from activities.errors import refuse
from activities.finding_processes import describe, not_permitted, refuse_if_untouchable, still_there, tracer_of
from activities.subprocesses import Tool, run
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.errors import ErrorType

GDB_S = 180.0
"""Another thread may hold the interpreter's lock for long; gdb waits with it."""
ANSWER_S = 10.0
"""How long a pending call may take until it is tried again: the thread may have begun to wait meanwhile."""
TRIES = 4
TRACED_S = 30.0
ABANDONED_AFTER_S = 3_600.0
ANSWER_BYTES = 64 * 1024
_SCRIPT = """set pagination off
set confirm off
set width 0
set unwindonsignal on
set scheduler-locking off
handle all nostop noprint pass
thread 1
set $page = ((char*(*)(void*, unsigned long, int, int, int, long))mmap)((void*)0, 4096, 3, 34, -1, 0)
if (long)$page <= 0
  echo perfwright: no memory\\n
else
  restore text binary $page
  if {waits}
    set $state = ((int(*)(void))PyGILState_Ensure)()
    set $ended = ((int(*)(char*))PyRun_SimpleString)($page)
    call ((void(*)(int))PyGILState_Release)($state)
    call ((int(*)(void*, unsigned long))munmap)($page, 4096)
    echo perfwright: called\\n
  else
    set $ended = ((int(*)(void*, void*))Py_AddPendingCall)((void*)PyRun_SimpleString, (void*)$page)
    printf "perfwright: pending %d\\n", $ended
  end
end
detach
"""
_CLAIM = """exec({code!r}, {{}})"""
_CLAIM_CODE = """
try:
    import os
    os.rename({order!r}, {claimed!r})
    with open({claimed!r}) as order:
        order = order.read()
    exec(order, {{"__name__": "perfwright"}})
except Exception:
    pass
"""
_ANSWERED = """
def work():
    import json, os
    try:
        answer = {{"value": ask()}}
    except Exception as trouble:
        answer = {{"trouble": type(trouble).__name__ + ": " + str(trouble)[:300]}}
    with open({answer!r} + ".new", "w") as file:
        json.dump(answer, file)
    os.rename({answer!r} + ".new", {answer!r})

work()
"""


async def injected(process: TargetProcess, code: str, site: Site) -> Any:
    """What `ask()`, which `code` defines, returns there (JSON).

    Errors: TargetGone, TargetStopped, NotPermitted, RuntimeUnsupported, ToolMissing, ToolFailed.
    """
    await _touchable(process, site)
    folder = await asyncio.to_thread(_folder, process)
    try:
        for _ in range(TRIES):
            name = uuid4().hex
            order, answer = folder / f"order-{name}", folder / f"answer-{name}"
            await asyncio.to_thread(_write, order, code + _ANSWERED.format(answer=str(answer)), process)
            if not await _attach(process, folder, order, site):
                await _untraced(process, site)
                continue
            told = await _answer(process, answer, site)
            if told is None and not _withdrawn(order):  # claimed in this moment: it is answered at once
                told = await _answer(process, answer, site)
            if told is not None:
                if "trouble" in told:
                    raise refuse(ErrorType.TOOL_FAILED, f"the code in process {process.pid} failed: {told['trouble']}")
                return told["value"]
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)
    if tracer := tracer_of(process.pid):
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"process {process.pid} is traced by pid {tracer}; one tracer at a time may attach",
            way_out="End the debugger or profiler that holds it and start again",
        )
    raise refuse(
        ErrorType.TOOL_FAILED,
        f"the main thread of process {process.pid} does not come back to the interpreter (a long call of an extension?)",
        way_out="Try again when it does; nothing was changed",
        retryable=True,
    )


async def withdraw_orders(process: TargetProcess, site: Site) -> None:
    """What a killed worker ordered and nobody carried out is not carried out any more; waits for its gdb."""
    folder = _folder_name(process)
    for order in folder.glob("order-*") if folder.is_dir() else ():
        order.unlink(missing_ok=True)
    await _untraced(process, site)


def forget(process: TargetProcess) -> None:
    """What a killed worker left for a process that has ended."""
    shutil.rmtree(_folder_name(process), ignore_errors=True)


async def _touchable(process: TargetProcess, site: Site) -> None:
    if still_there(process) is None:
        raise refuse(ErrorType.TARGET_GONE, f"process {process.pid} is not there any more")
    await withdraw_orders(process, site)
    found = await asyncio.to_thread(describe, psutil.Process(process.pid))
    refuse_if_untouchable(found)
    if not found.own_namespace:
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"process {process.pid} is in another container: code is never injected across namespaces",
            way_out="Run a host worker inside of it, or change how it is launched",
        )
    if found.runtime != "python":
        raise refuse(ErrorType.RUNTIME_UNSUPPORTED, f"process {process.pid} ({found.program}) runs no CPython")
    if os.geteuid() not in (0, psutil.Process(process.pid).uids().effective):
        raise not_permitted(process.pid)


async def _untraced(process: TargetProcess, site: Site) -> None:
    """A killed worker's gdb ends by itself within moments."""
    loop = asyncio.get_running_loop()
    until = loop.time() + TRACED_S
    while await asyncio.to_thread(_gdb_of, process.pid) and loop.time() < until:
        site.heartbeat({"waiting_for": "an earlier gdb"})
        await asyncio.sleep(0.05)


def _traced(pid: int) -> bool:
    """By anybody: it may have let go since. Root is refused for no other reason."""
    return os.geteuid() == 0 or bool(tracer_of(pid)) or _gdb_of(pid)


def _gdb_of(pid: int) -> bool:
    """Whether a gdb holds it, or is on its way to it."""
    for one in psutil.process_iter(["name", "cmdline"]):
        words = one.info["cmdline"] or ()
        if one.info["name"] == "gdb" and any(word == "-p" and after == str(pid) for word, after in pairwise(words)):
            return True
    return False


async def _attach(process: TargetProcess, folder: Path, order: Path, site: Site) -> bool:
    """False: another tracer was there first."""
    claim = _CLAIM_CODE.format(order=str(order), claimed=str(order.with_name(order.name.replace("order-", "claimed-"))))
    with tempfile.TemporaryDirectory(dir=await asyncio.to_thread(_scripts, site)) as ours:
        text, script = Path(ours, "text"), Path(ours, "script")
        # Only where the kernel tells that the thread waited in a call: registers of other machines are named otherwise.
        waits = "(long)$orig_rax >= 0" if platform.machine() == "x86_64" else "0"
        await asyncio.to_thread(text.write_bytes, _CLAIM.format(code=claim).encode() + b"\0")
        await asyncio.to_thread(script.write_text, _SCRIPT.format(waits=waits))
        tool = Tool(
            [
                # The script tells the types of what it calls, so no debug information is read: the process is held for a third of the time.
                *("gdb", "-nx", "-q", "-batch", "--readnever", "-iex", "set auto-load off", "-iex", "set debuginfod enabled off"),
                *("-iex", "set index-cache enabled off", "-p", str(process.pid), "-x", script.name),
            ],
            directory=Path(ours),
            limit_s=GDB_S,
            way_out="Install gdb on the target's host (Debian: gdb)",
            stop_signal=signal.SIGCONT,
            stop_grace_s=GDB_S,
        )
        ended = await run(tool, heartbeat=lambda elapsed_s, _: site.heartbeat({"injecting_s": elapsed_s}))
    if not re.search(r"perfwright: (called|pending 0)", ended.stdout):
        if still_there(process) is None:
            raise refuse(ErrorType.TARGET_GONE, f"process {process.pid} exited meanwhile")
        said = " | ".join((ended.stderr + ended.stdout).strip().splitlines()[-3:])[:400]
        if "not permitted" in said:
            if await asyncio.to_thread(_traced, process.pid):
                return False
            raise not_permitted(process.pid)
        raise refuse(ErrorType.TOOL_FAILED, f"gdb could not reach the interpreter in process {process.pid}: {said}", retryable=True)
    return True


async def _answer(process: TargetProcess, file: Path, site: Site) -> dict[str, Any] | None:
    """None: none came in time."""
    loop = asyncio.get_running_loop()
    until = loop.time() + ANSWER_S
    while loop.time() < until:
        try:
            opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            if still_there(process) is None:
                raise refuse(ErrorType.TARGET_GONE, f"process {process.pid} exited meanwhile") from None
            site.heartbeat({"waiting_for": "the interpreter"})
            await asyncio.sleep(0.02)
            continue
        with os.fdopen(opened, "rb") as answer:
            told: dict[str, Any] = json.loads(answer.read(ANSWER_BYTES))
            return told
    return None


def _scripts(site: Site) -> Path:
    """Where gdb's scripts are, out of the target's reach; those of killed workers go after an hour."""
    folder = site.state_folder.absolute() / "injections"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    for left in folder.iterdir():
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
    return folder


def _withdrawn(order: Path) -> bool:
    """False: it was claimed before."""
    try:
        order.unlink()
    except FileNotFoundError:
        return False
    return True


def _folder_name(process: TargetProcess) -> Path:
    mark = sha256(f"{process.pid} {process.create_time_s:.2f}".encode()).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"perfwright-inject-{mark}"


def _folder(process: TargetProcess) -> Path:
    """Belongs to the target's user, because the target writes its answer there; refused where somebody else made it."""
    folder = _folder_name(process)
    owner = psutil.Process(process.pid).uids().effective
    try:
        folder.mkdir(mode=0o700)
        if os.geteuid() != owner:
            os.chown(folder, owner, -1, follow_symlinks=False)
    except FileExistsError:
        status = folder.lstat()
        if folder.is_symlink() or not folder.is_dir() or status.st_uid not in (owner, os.geteuid()) or status.st_mode & 0o077:
            raise refuse(ErrorType.NOT_PERMITTED, f"{folder} was made by somebody else", way_out="Remove it and try again") from None
        os.chown(folder, owner, -1, follow_symlinks=False)
    return folder


def _write(order: Path, text: str, process: TargetProcess) -> None:
    with os.fdopen(os.open(order, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w", encoding="utf-8") as file:
        file.write(text)
        os.fchown(file.fileno(), psutil.Process(process.pid).uids().effective, -1)
