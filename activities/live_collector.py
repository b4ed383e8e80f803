"""The collector of a running CPython process, observed by callbacks that are put into it and taken out again."""

import asyncio
import time

from activities.changes.injection import injected
from activities.changes.kind import Site
from activities.errors import refuse
from activities.finding_processes import still_there
from activities.process_memory import pss_bytes
from perfwright.analysis.gc.python_log import python_pause
from perfwright.models.cpu_profiling import TargetProcess
from perfwright.models.errors import ErrorType
from perfwright.models.gc_tuning import CollectorFacts, Pause

MOST_EVENTS = 1_000
"""Single collections that are told; an answer out of the process is 64 KiB at most."""
NOTED_MS = 0.2
"""Shorter ones are only summed up."""
ENDS_ITSELF_S = 60.0
"""Longer than it was to observe, after which the callback takes itself out: nobody came back for it."""

_PUT = """
def ask():
    import gc, sys, time
    state = {{"events": [], "short": 0, "short_ms": 0.0, "dropped": 0, "began": 0.0, "since": time.monotonic()}}
    until = time.monotonic() + {limit_s!r}

    def noted(phase, info):
        if phase == "start":
            state["began"] = time.monotonic()
            return
        ended = time.monotonic()
        ms = (ended - state["began"]) * 1e3
        if ended > until:
            gc.callbacks.remove(noted)
            sys.modules.pop({name!r}, None)
        elif ms < {noted_ms!r} and info["generation"] < 2:
            state["short"] += 1
            state["short_ms"] += ms
        elif len(state["events"]) < {most!r}:
            state["events"].append([round(ended, 4), info["generation"], round(ms, 3), info["collected"], info["uncollectable"]])
        else:
            state["dropped"] += 1

    old = sys.modules.pop({name!r}, None)
    if old is not None:
        gc.callbacks.remove(old[0])
    sys.modules[{name!r}] = (noted, state)
    gc.callbacks.append(noted)
    return {{"thresholds": list(gc.get_threshold()), "enabled": gc.isenabled()}}
"""
_TAKE = """
def ask():
    import gc, sys, time
    noted, state = sys.modules.pop({name!r}, (None, None))
    if noted is None:
        return None
    gc.callbacks.remove(noted)
    state["seconds"] = time.monotonic() - state["since"]
    return state
"""
NAME = "perfwright collections"

Observed = tuple[CollectorFacts, list[Pause], float, float, tuple[str, ...]]
"""Facts, pauses, seconds, memory in bytes, warnings."""


async def observe_live(process: TargetProcess, seconds: float, site: Site) -> Observed:
    """Two stops of some tenths of a second, and a callback in between. Raises what injecting does, TargetGone where it ends meanwhile."""
    found = await injected(process, _PUT.format(limit_s=seconds + ENDS_ITSELF_S, name=NAME, noted_ms=NOTED_MS, most=MOST_EVENTS), site)
    until, memory_bytes = time.monotonic() + seconds, 0.0
    taken = False
    try:
        while (left_s := until - time.monotonic()) > 0:
            site.heartbeat({"observing_s": round(seconds - left_s, 1)})
            running = still_there(process)
            if running is None:
                raise refuse(ErrorType.TARGET_GONE, f"process {process.pid} exited while it was observed")
            memory_bytes = max(memory_bytes, await asyncio.to_thread(pss_bytes, [running]))
            await asyncio.sleep(min(left_s, 0.5))
        told = await injected(process, _TAKE.format(name=NAME), site)
        taken = True
    finally:
        if not taken and still_there(process) is not None:
            # Cancelled: it is taken out all the same; and where even that fails it takes itself out.
            await asyncio.shield(_taken_out(process, site))
    if told is None:
        raise refuse(ErrorType.TOOL_FAILED, f"the callback in process {process.pid} is gone: something else took it out", retryable=True)
    pauses = [python_pause(event) for event in told["events"]]
    if told["short"]:  # one by one they are too many to be told: as many equal ones
        each = told["short_ms"] / told["short"]
        kept = min(told["short"], MOST_EVENTS)
        pauses += [Pause(at_s=told["since"], ms=each * told["short"] / kept, cause="young") for _ in range(kept)]
    total_ms = sum(pause.ms for pause in pauses)
    full_ms = sum(pause.ms for pause in pauses if pause.cause == "full generation")
    facts = CollectorFacts(
        runtime="python",
        version=process.runtime_version,
        collector="CPython",
        thresholds=found["thresholds"],
        full_share=full_ms / total_ms if total_ms else None,
    )
    warnings = () if found["enabled"] else ("The collector is switched off in this process.",)
    return facts, pauses, float(told["seconds"]), memory_bytes, warnings


async def _taken_out(process: TargetProcess, site: Site) -> None:
    await injected(process, _TAKE.format(name=NAME), site)
