"""Which profiler records a process, and why not the others.

| runtime | tool | passes | fallback |
|---|---|---|---|
| CPython | py-spy | on_cpu, wall, gil, native | perf |
| JVM | JFR through jcmd | on_cpu, with waits | perf |
| Node | inspector (CPU profiler of V8) | on_cpu, with waits where perf is there | perf |
| native, unknown | perf (cpu-clock, context switches) | on_cpu, with waits | none |
| Ruby, PHP, Perl and others (interpreters.py) | perf, which sees the interpreter only | on_cpu, with waits | none |

Choosing never touches the process; what cannot be profiled is told with the way out.
"""

import re
from collections.abc import Mapping, Sequence

from perfwright.analysis.interpreters import interpreter_in
from perfwright.models.cpu_profiling import ProfilerChoice, ProfilerName, RequestedPass, Runtime, TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.host import HostFacts
from perfwright.models.profile import PassKind

NATIVE_TOOL: dict[Runtime, ProfilerName] = {
    "python": "py-spy",
    "jvm": "jfr",
    "node": "node-inspector",
    "native": "perf",
    "unknown": "perf",
}
"""The tool that reads each runtime in its own language."""
PASSES: dict[ProfilerName, tuple[PassKind, ...]] = {
    "py-spy": ("on_cpu", "wall", "gil", "native"),
    "jfr": ("on_cpu",),
    "node-inspector": ("on_cpu",),
    "perf": ("on_cpu",),
}
USUAL: dict[ProfilerName, tuple[PassKind, ...]] = {"py-spy": ("on_cpu", "wall", "gil")}
"""Passes when none are asked for: the native pass costs most and is only needed to tell waits apart."""
SLICE_S, SHORT_SLICE_S, PERF_SLICE_S = 5.0, 1.0, 10.0
"""Attaching costs up to a second (JFR), or stops the target for 45 ms (py-spy --native): slices are long. Plain py-spy attaches in
less than a millisecond of the target's time; its samples tell order but not time, so a slice is all that is known of when: short ones.
perf reads the kernel's symbols first, 0.14 s of CPU, and two are started, for what runs and what waits: longer slices keep that at 3 % of
a core."""
NEEDS: dict[ProfilerName, tuple[str, str]] = {
    "py-spy": ("py-spy", "pip install py-spy"),
    "jfr": ("jcmd", "install a JDK (Debian: default-jdk-headless) of the target's release or newer"),
    "perf": ("perf", "install perf (Debian: linux-perf)"),
}
"""Program that a tool needs on the host, and what installs it; the Node inspector needs none."""
PYTHON_RANGE = ((3, 6), (3, 14))
"""CPython releases that py-spy 0.4 knows."""
PARANOID_LIMIT = 1
"""Above this level of perf_event_paranoid, only root or CAP_PERFMON may sample other processes with kernel frames."""


class NoProfiler(ValueError):
    """Nothing here can profile this process. `error_type` is the kind of error, `way_out` what a person can do."""

    def __init__(self, error_type: ErrorType, reason: str, way_out: str) -> None:
        super().__init__(reason)
        self.error_type, self.reason, self.way_out = error_type, reason, way_out


def choose_profiler(
    process: TargetProcess, tools: Mapping[str, str], requested: Sequence[RequestedPass] | None, *, host: HostFacts | None = None
) -> ProfilerChoice:
    """The tool and the passes. Raises NoProfiler where none can serve.

    `tools`: program -> version of what is installed on the target's host. `requested`: passes that were asked for; None: the usual ones.
    `host`: when given, permissions are checked as well.
    """
    _refuse_untouchable(process)
    rejected: dict[str, str] = {}
    wanted = NATIVE_TOOL[process.runtime]
    for tool in dict.fromkeys((wanted, "perf")):
        name: ProfilerName = "perf" if tool == "perf" else wanted
        problem = _problem(name, process, tools, host)
        if problem:
            rejected[name] = problem
            continue
        passes, dropped = _passes(name, requested)
        if not passes:
            rejected[name] = f"cannot record the {' or '.join(requested or ())} pass"
            continue
        return ProfilerChoice(
            tool=name,
            reason=_reason(name, process, rejected),
            passes=passes,
            slice_s=_slice_s(name, passes),
            rejected=rejected,
            caveats=(*_caveats(name, process), *_no_waits(name, process, tools, host), *dropped),
        )
    raise _refusal(process, rejected, host)


def _refuse_untouchable(process: TargetProcess) -> None:
    if process.state in ("stopped", "tracing-stop", "tracing stop"):
        raise NoProfiler(
            ErrorType.TARGET_STOPPED,
            f"{process.program} (pid {process.pid}) is stopped; nothing attaches to a stopped process",
            f"continue it (kill -CONT {process.pid}) or end the debugger that holds it",
        )
    if process.state in ("zombie", "dead"):
        raise NoProfiler(ErrorType.TARGET_GONE, f"{process.program} (pid {process.pid}) has exited", "start it again and use its new pid")


def _problem(tool: ProfilerName, process: TargetProcess, tools: Mapping[str, str], host: HostFacts | None) -> str:
    """Why this tool cannot record this process; empty when it can."""
    if tool in NEEDS and not tools.get(NEEDS[tool][0]):
        return f"{NEEDS[tool][0]} is not installed: {NEEDS[tool][1]}"
    if not process.own_namespace and tool in ("jfr", "node-inspector"):
        return "the process lives in another container; commands are not sent into containers (run a host worker inside it)"
    if tool == "py-spy":
        version = _version(process.runtime_version)
        if version and not PYTHON_RANGE[0] <= version <= PYTHON_RANGE[1]:
            return f"py-spy does not know the interpreter's layout: Python {version[0]}.{version[1]}"
    if host is not None and tool in ("py-spy", "perf"):
        return _permission(tool, host)
    return ""


def _permission(tool: ProfilerName, host: HostFacts) -> str:
    root = host.uid == 0
    if tool == "py-spy" and not (root or host.traces_own):
        return f"tracing is restricted (yama.ptrace_scope = {host.yama_scope})"
    allowed = root or "PERFMON" in host.capabilities or "SYS_ADMIN" in host.capabilities
    if tool == "perf" and not allowed and (host.perf_event_paranoid or 0) > PARANOID_LIMIT:
        return f"perf is restricted (perf_event_paranoid = {host.perf_event_paranoid})"
    return ""


def _version(text: str) -> tuple[int, int] | None:
    found = re.search(r"(\d+)\.(\d+)", text)
    return (int(found[1]), int(found[2])) if found else None


def _passes(tool: ProfilerName, requested: Sequence[RequestedPass] | None) -> tuple[tuple[PassKind, ...], tuple[str, ...]]:
    able = PASSES[tool]
    if requested is None:
        return USUAL.get(tool, able), ()
    passes = tuple(one for one in able if one in requested)
    missing = [one for one in requested if one not in able]
    return passes, (f"{tool} cannot record the {' and '.join(missing)} pass.",) if missing else ()


def _slice_s(tool: ProfilerName, passes: Sequence[PassKind]) -> float:
    if tool == "perf":
        return PERF_SLICE_S
    return SHORT_SLICE_S if tool == "py-spy" and "native" not in passes else SLICE_S


def _reason(tool: ProfilerName, process: TargetProcess, rejected: Mapping[str, str]) -> str:
    runtime = process.runtime_version or process.runtime
    reasons: dict[ProfilerName, str] = {
        "py-spy": f"stacks of {runtime} are read with their lines from outside, without a change to the process",
        "jfr": "the flight recorder is part of the JVM and costs about one per cent",
        "node-inspector": f"the CPU profiler of {runtime} itself, switched on through the inspector for the time of the recording",
        "perf": "native stacks, sampled on the CPU clock",
    }
    if tool == "perf" and rejected:
        first, why = next(iter(rejected.items()))
        return f"{first} would read {process.runtime} stacks, but {why}; perf serves with native frames"
    if interpreter := interpreter_in(process):
        return f"perf serves any program, and nothing here reads {interpreter.name} in its own language"
    return reasons[tool]


def _caveats(tool: ProfilerName, process: TargetProcess) -> tuple[str, ...]:
    caveats = []
    if not process.own_namespace:
        caveats.append("The process lives in another container: paths are those inside of it.")
    if interpreter := interpreter_in(process):
        caveats.append(interpreter.caveat)
    if tool == "perf" and process.runtime == "python":
        caveats.append("perf sees the interpreter's C functions, not Python lines (unless started with -X perf and frame pointers).")
    if tool == "perf" and process.runtime == "jvm":
        caveats.append("perf sees compiled Java code as addresses, unless a JVM agent writes a perf map (-XX:+DumpPerfMapAtExit).")
    if tool == "perf" and process.runtime == "node":
        caveats.append("perf sees JavaScript only when node was started with --perf-basic-prof.")
    if tool == "jfr":
        caveats.append(
            "Methods are sure; lines of inlined code only when the JVM runs with -XX:+UnlockDiagnosticVMOptions -XX:+DebugNonSafepoints."
        )
    if tool == "node-inspector":
        caveats.append("The inspector's port is opened on loopback while recording; only JavaScript's main thread is seen.")
    if tool in ("jfr", "node-inspector"):
        caveats.append("Processes that it starts are not recorded: what CPU time they use is counted and told, with their pids.")
    return tuple(caveats)


def _no_waits(tool: ProfilerName, process: TargetProcess, tools: Mapping[str, str], host: HostFacts | None) -> tuple[str, ...]:
    """Where V8 samples without perf, nobody tells which samples ran."""
    problem = _problem("perf", process, tools, host) if tool == "node-inspector" else ""
    if not problem:
        return ()
    told = "V8 samples whether or not its thread runs, so that blocking calls count as running; the thread table tells how much was waited."
    return (f"No off-CPU graph, because {problem}. {told}",)


def _refusal(process: TargetProcess, rejected: Mapping[str, str], host: HostFacts | None) -> NoProfiler:
    told = "; ".join(f"{tool}: {why}" for tool, why in rejected.items())
    first = NATIVE_TOOL[process.runtime]
    reason = f"no tool on this host can profile {process.program} (pid {process.pid}, {process.runtime_version or process.runtime}): {told}"
    if any("is not installed" in why for why in rejected.values()):
        installs = [
            NEEDS[tool][1] for tool in dict.fromkeys((first, "perf")) if tool in NEEDS and "not installed" in rejected.get(tool, "")
        ]
        return NoProfiler(ErrorType.TOOL_MISSING, reason, "; or ".join(installs))
    if any("restricted" in why for why in rejected.values()):
        way_out = "run the worker as the target's user or root, or grant CAP_SYS_PTRACE (py-spy) or CAP_PERFMON (perf)"
        return NoProfiler(ErrorType.NOT_PERMITTED, reason, way_out)
    return NoProfiler(ErrorType.RUNTIME_UNSUPPORTED, reason, "ask for the on_cpu pass, or name a process that one of these tools serves")
