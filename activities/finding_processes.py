"""Which process a selector means, and what it is: pid, runtime, state, namespaces. Reads /proc through psutil; changes nothing."""

import hashlib
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

import psutil

from activities.errors import refuse
from activities.tool import OF_TOOL
from perfwright.analysis.interpreters import recognise
from perfwright.models.cpu_profiling import Runtime, TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.secrets import secret_argument
from perfwright.models.target import ProcessSelector

MAPS_LIMIT_BYTES = 4 * 1024 * 1024
LISTED = 8
CALLED_CHARACTERS = 40
COMMAND = "perfwright"
"""The command line's own program: whoever follows a run of `shop` has that word in his command line."""
STALE_AFTER_S = 60.0
"""A program that writes its own pid does so after its start. A clock that was set, or a machine that was paused, moves the start times that
the kernel tells by seconds; a pid comes again only when all others were used up."""
WRAPPER_DEPTH = 4
"""How many wrappers (`timeout`, `env`, a shell) in a row are looked through."""
MOMENT_S = 1.0
"""A wrapper starts its program within this time of its own start; a later child is taken for it only once it is as old."""
MOST_OF_ITS_LIFE = 0.5

_PYTHON = re.compile(r"(?:libpython|/python)(3\.\d+)")


def find_process(selector: ProcessSelector) -> psutil.Process:
    """The one process that fits; refuses when none or several do, naming what was found."""
    if selector.pid is not None:
        return _by_pid(selector.pid, "process.pid")
    if selector.pid_file is not None:
        return _by_pid_file(Path(selector.pid_file))
    if selector.port is not None:
        return _by_port(selector.port)
    if selector.name is not None:
        return _by_name(selector.name)
    raise refuse(ErrorType.INVALID_INPUT, "process.command is launched by a recording; there is no process to find before it")


def through_wrappers(process: psutil.Process) -> tuple[psutil.Process, str]:
    """The program behind `timeout python ...` and its like: along single-threaded processes that wrap one child each, the first whose
    runtime is known best; and a note of it, or of the child that is only one of many."""
    chain, passing = [(process, runtime_of(process))], ""
    try:
        while len(chain) <= WRAPPER_DEPTH and chain[-1][1][0] == "native" and chain[-1][0].num_threads() == 1:
            outer, runtime = chain[-1]
            children = outer.children()
            if len(children) != 1:
                break
            child = children[0], runtime_of(children[0])
            if not _wraps(outer, child[0]):
                if _known(*child[1]) > _known(*runtime):
                    passing = f"pid {outer.pid} ({outer.name()}) starts programs, {child[0].name()} just now: it was examined, not that one"
                break
            chain.append(child)
        inner, _ = max(chain, key=lambda one: _known(*one[1]))
        if inner is process:
            return process, passing
        return inner, f"pid {process.pid} ({process.name()}) only wraps pid {inner.pid} ({inner.name()}), which was examined"
    except psutil.NoSuchProcess as gone:
        if gone.pid == process.pid:
            raise
        return process, ""


def _wraps(outer: psutil.Process, child: psutil.Process) -> bool:
    """Whether it is there for this child: its first, started with it; or one that has run for most of its life, as the last of a script's
    programs does. A loop has one child as well at any time, and none of them for long."""
    began_s, child_began_s = outer.create_time(), child.create_time()
    if child_began_s - began_s <= MOMENT_S and not _has_had_other_children(outer.pid):
        return True
    child_age_s = time.time() - child_began_s
    return child_age_s >= max(MOMENT_S, MOST_OF_ITS_LIFE * (time.time() - began_s))


def _has_had_other_children(pid: int) -> bool:
    """Whether page faults of children that have ended are counted for it (`cminflt` of proc_pid_stat(5)): no program starts without."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()[8]) > 0
    except OSError:
        return False


def describe(process: psutil.Process) -> TargetProcess:
    """What is known of it without touching it."""
    try:
        runtime, version = runtime_of(process)
        with process.oneshot():
            return TargetProcess(
                pid=process.pid,
                create_time_s=process.create_time(),
                program=process.name(),
                runtime=runtime,
                runtime_version=version,
                thread_count=process.num_threads(),
                child_count=len(process.children(recursive=True)),
                state=process.status(),
                user=process.username(),
                own_namespace=_same_namespaces(process.pid),
                program_digest=_program_digest(process),
            )
    except psutil.NoSuchProcess as gone:
        raise refuse(ErrorType.TARGET_GONE, f"process {process.pid} exited while it was looked at") from gone
    except (psutil.AccessDenied, PermissionError) as denied:
        raise not_permitted(process.pid) from denied


def _program_digest(process: psutil.Process) -> str:
    words = process.cmdline()
    with suppress(psutil.AccessDenied):
        words = [process.exe(), *words]
    return hashlib.sha256("\0".join(words).encode("utf-8", "surrogateescape")).hexdigest()[:16]


def still_there(target: TargetProcess) -> psutil.Process | None:
    """The process if it is alive and the same one; None when it exited or its pid was given to another program."""
    try:
        process = psutil.Process(target.pid)
        if abs(process.create_time() - target.create_time_s) > 0.05 or process.status() == psutil.STATUS_ZOMBIE:
            return None
    except psutil.NoSuchProcess:
        return None
    return process


def refuse_if_untouchable(target: TargetProcess) -> None:
    """Stopped, traced by another, or a kernel thread: nothing may attach to it."""
    if target.state == psutil.STATUS_STOPPED:
        raise refuse(
            ErrorType.TARGET_STOPPED,
            f"process {target.pid} ({target.program}) is stopped (SIGSTOP)",
            way_out=f"Continue it with `kill -CONT {target.pid}` and start again",
        )
    tracer = tracer_of(target.pid)
    if tracer:
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"process {target.pid} ({target.program}) is already traced by pid {tracer}; one tracer at a time may attach",
            way_out="End the debugger or profiler that holds it and start again",
        )
    if not _has_program(target.pid):
        if still_there(target) is None:
            raise refuse(ErrorType.TARGET_GONE, f"process {target.pid} ({target.program}) exited while it was looked at")
        raise refuse(ErrorType.RUNTIME_UNSUPPORTED, f"pid {target.pid} ({target.program}) is a kernel thread: it has no program to profile")


def tracer_of(pid: int) -> int:
    """Pid of the process that traces it, 0 for none or unknown."""
    try:
        found = re.search(r"^TracerPid:\s*(\d+)", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return 0
    return int(found.group(1)) if found else 0


def not_permitted(pid: int) -> Exception:
    """The error, with what to grant."""
    return refuse(
        ErrorType.NOT_PERMITTED,
        f"process {pid} belongs to another user or is protected; this worker (uid {os.getuid()}) may not look into it",
        way_out="Run the host worker as the target's user or root, or give it CAP_SYS_PTRACE (and see /proc/sys/kernel/yama/ptrace_scope)",
    )


def runtime_of(process: psutil.Process) -> tuple[Runtime, str]:
    """Runtime and version, from the executable's name and what it maps: never by running it."""
    try:
        program = process.name()
        executable = process.exe()
    except psutil.AccessDenied:
        return "unknown", ""
    maps = _maps(process.pid)
    if maps is None:
        return "unknown", ""
    stem = Path(executable).name.removesuffix(" (deleted)")
    python = _PYTHON.search(executable) or _PYTHON.search(maps)
    if stem.startswith("python") or "libpython3" in maps:
        return "python", f"CPython {python.group(1)}" if python else "CPython"
    if "libjvm.so" in maps:
        return "jvm", "JVM"
    if stem in ("node", "nodejs") or program == "node" or "libnode.so" in maps:
        return "node", "Node.js"
    if not executable:
        return "unknown", ""
    return "native", recognise(stem, (line.split(maxsplit=5)[-1] for line in maps.splitlines()))


def _known(runtime: Runtime, version: str) -> int:
    """How much is known of what it runs: 0 a compiled program, 1 an interpreter by name, 2 what is read in its own language."""
    return 2 if runtime not in ("native", "unknown") else int(bool(version))


def _by_pid(pid: int, field: str) -> psutil.Process:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            raise refuse(ErrorType.TARGET_GONE, f"{field}: process {pid} has exited and waits to be reaped by its parent")
    except psutil.NoSuchProcess as gone:
        raise refuse(
            ErrorType.TARGET_GONE, f"{field}: no process {pid} on this host", way_out="`perfwright init` lists processes"
        ) from gone
    return process


def _by_pid_file(path: Path) -> psutil.Process:
    try:
        written_s = path.stat().st_mtime
        text = path.read_text(encoding="ascii", errors="replace")[:64].strip()
    except OSError as trouble:
        raise refuse(ErrorType.INVALID_INPUT, f"process.pid_file: cannot read {path}: {trouble.strerror}") from trouble
    if not text.isdigit():
        raise refuse(ErrorType.INVALID_INPUT, f"process.pid_file: {path} does not hold a process id")
    process = _by_pid(int(text), f"process.pid_file {path}")
    later_s = process.create_time() - written_s
    if later_s > STALE_AFTER_S:
        raise refuse(
            ErrorType.TARGET_GONE,
            f"process.pid_file: {path} was written {later_s:.0f} s before process {process.pid} ({process.name()}) was started: "
            "the program that wrote it is gone, and another one has its number",
            way_out="Start the target, or select it by port or name",
        )
    return process


def _by_port(port: int) -> psutil.Process:
    listening = [c for c in psutil.net_connections(kind="tcp") if c.status == psutil.CONN_LISTEN and c.laddr and c.laddr.port == port]
    pids = {c.pid for c in listening if c.pid}
    if not listening:
        raise refuse(ErrorType.TARGET_GONE, f"process.port: nothing listens on port {port} on this host", way_out="Start the target first")
    if not pids:
        raise refuse(
            ErrorType.NOT_PERMITTED,
            f"process.port: port {port} is listened on by a process of another user",
            way_out="Run the host worker as that user or root, or select the process by pid or pid_file",
        )
    return _one(pids, f"process.port {port}")


def _by_name(name: str) -> psutil.Process:
    running = {process.pid: process for process in psutil.process_iter(["name", "cmdline", "ppid"])}
    ours = {os.getpid(), *(p.pid for p in psutil.Process().parents())} | _of_our_tools(running)
    exact, partial = set(), set()
    for process in running.values():
        if process.pid in ours:
            continue
        words = process.info["cmdline"] or ()
        if process.info["name"] == name:
            exact.add(process.pid)
        elif name in " ".join(words) and not any(word.rsplit("/", 1)[-1] == COMMAND for word in words[:2]):
            partial.add(process.pid)
    pids = exact or partial
    if not pids:
        raise refuse(ErrorType.TARGET_GONE, f"process.name: no process named {name!r} on this host", way_out="Start the target first")
    return _one(pids, f"process.name {name!r}")


def _of_our_tools(running: Mapping[int, psutil.Process]) -> set[int]:
    """Supervisors of tools, of any worker, and all below them: profilers and loads have the target's name in their command lines.

    Whatever a tool starts stays below its supervisor, which is its subreaper.
    """
    ours = {pid for pid, process in running.items() if OF_TOOL in (process.info["cmdline"] or ())}
    below: dict[int, list[int]] = {}
    for pid, process in running.items():
        below.setdefault(process.info["ppid"], []).append(pid)
    unseen = list(ours)
    while unseen:
        children = [pid for pid in below.get(unseen.pop(), ()) if pid not in ours]
        ours.update(children)
        unseen += children
    return ours


def _one(pids: set[int], asked: str) -> psutil.Process:
    """Of several, the one that is the ancestor of all others (a server and its workers)."""
    candidates = [psutil.Process(pid) for pid in sorted(pids)]
    for candidate in candidates:
        below = {child.pid for child in candidate.children(recursive=True)}
        if pids <= below | {candidate.pid}:
            return candidate
    listed = ", ".join(f"{candidate.pid} ({_called(candidate)})" for candidate in candidates[:LISTED])
    more = f" and {len(candidates) - LISTED} more" if len(candidates) > LISTED else ""
    raise refuse(
        ErrorType.INVALID_INPUT, f"{asked} fits {len(candidates)} unrelated processes: {listed}{more}", way_out="Select one by pid"
    )


def _called(process: psutil.Process) -> str:
    """`python job.py`: enough to tell it from the others, and never what may be a secret."""
    try:
        words = process.cmdline()[:3]
    except psutil.Error:
        words = []
    known = [] if secret_argument(words) else [" ".join(word.rsplit("/", 1)[-1].split()) for word in words]
    return " ".join(known)[:CALLED_CHARACTERS] or process.name()


def _maps(pid: int) -> str | None:
    try:
        with Path(f"/proc/{pid}/maps").open(encoding="utf-8", errors="replace") as file:
            return file.read(MAPS_LIMIT_BYTES)
    except PermissionError:
        return None
    except OSError:
        return ""


def _has_program(pid: int) -> bool:
    try:
        return bool(Path(f"/proc/{pid}/exe").readlink())
    except PermissionError:
        return True
    except OSError:
        return False


def _same_namespaces(pid: int) -> bool:
    for kind in ("pid", "mnt"):
        try:
            if Path(f"/proc/{pid}/ns/{kind}").stat().st_ino != Path(f"/proc/self/ns/{kind}").stat().st_ino:
                return False
        except OSError:
            return True
    return True
