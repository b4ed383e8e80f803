"""Would more workers help? From how the benchmark used its cores, and from where its launch says how many it has.

Nothing is guessed about a program's options: the request names the flag or variable, and the range that may be tried.
"""

from collections.abc import Sequence

from perfwright.analysis.utilisation import SATURATED_THREAD
from perfwright.models.change import LaunchSpec
from perfwright.models.cpu_optimization import Candidate
from perfwright.models.cpu_profiling import ProcessUse, Utilisation
from perfwright.models.worker_counts import WorkerCount
from perfwright.models.worker_proposals import WorkersProposed

HELD_BACK = ("one thread saturated", "GIL-bound")
"""Patterns of a program that has work for more than the core it can use."""
HALF_A_CORE = 0.5
"""Less than this is left: another worker would take turns with the first."""
WORKERS = "worker count"


def propose_workers(
    count: WorkerCount,
    launched: Sequence[str] | None,
    measured: Sequence[str],
    usage: ProcessUse | None,
    utilisation: Utilisation | None,
) -> WorkersProposed:
    """The next count to try, or why none is. `launched`: the target's own command; `measured`: the benchmark, which reads the same flag or
    variable. Shares of `usage` are in cores; the gain is the least time that the work can take on all cores that were not busy."""
    if launched is None:
        return WorkersProposed(why="the target's registry entry names no command, so that there is no launch to change")
    if usage is None or utilisation is None:
        return WorkersProposed(why="the profile of an earlier run does not say how the cores were used: profile the benchmark in this run")
    cores = usage.user_share + usage.system_share
    seen = next((one.statement for one in utilisation.patterns if one.name in HELD_BACK), "")
    if not seen and cores >= SATURATED_THREAD * count.now:
        seen = f"It used {cores:.2f} cores, as much as {count.now} can."
    if not seen:
        return WorkersProposed(why="no thread of it is saturated and it is not held back by its GIL: more workers would wait likewise")
    spare = usage.cpu_count * max(0.0, 1.0 - usage.machine_busy_share)
    if spare < HALF_A_CORE:
        return WorkersProposed(why=f"{spare:.1f} of {usage.cpu_count} cores were not busy: another worker would take turns with the others")
    new = min(count.most, count.now + int(spare + HALF_A_CORE))
    if new <= count.now:
        return WorkersProposed(why=f"it has {count.now} already, and {count.most} at most are allowed")
    memory_mb = usage.rss_bytes / 1e6 * new / count.now
    if memory_mb > count.memory_mb:
        return WorkersProposed(why=f"{new} would take {memory_mb:,.0f} MB, where {count.memory_mb:,.0f} are allowed")
    if count.variable is not None:
        spec = LaunchSpec(environment={count.variable: str(new)})
        said = f"{count.variable}={new}"
    else:
        flag = count.flag or ""
        without, why = _said_now(flag, count.now, launched, measured)
        if why:
            return WorkersProposed(why=why)
        said = f"{flag}={new}" if without and "=" in without[0] else f"{flag} {new}"
        spec = LaunchSpec(without=without, append=(said,) if "=" in said else (flag, str(new)))
    gain = spare / (cores + spare) if cores > 0 else 0.0
    return WorkersProposed(
        candidate=Candidate(
            id=f"{WORKERS}:{said}",
            codemod=WORKERS,
            path="",
            function="",
            line=0,
            title=f"Launch it with {new} workers ({said}) instead of {count.now}",
            reasoning=f"{seen} {spare:.1f} cores were not busy; {new} take {memory_mb:,.0f} MB in all, each what it takes now",
            gain_share=min(gain, 1 - count.now / new),
            patch="",
            mutable=False,
        ),
        launch=spec,
        memory_times=count.memory_mb * 1e6 / usage.rss_bytes if usage.rss_bytes else 0.0,
    )


def _said_now(flag: str, now: int, launched: Sequence[str], measured: Sequence[str]) -> tuple[tuple[str, ...], str]:
    """Words that say the count now, to be left out of both commands; or why they cannot be told from others."""
    found: list[tuple[str, ...]] = []
    for command in (launched, measured):
        words = [word for word in command[1:] if word == flag or word.startswith(f"{flag}=")]
        if not words:
            found.append(())
        elif words == [f"{flag}={now}"]:
            found.append((f"{flag}={now}",))
        elif words == [flag] and command.count(str(now)) == 1 and command.index(str(now)) == command.index(flag) + 1:
            found.append((flag, str(now)))
        else:
            return (), f"`{flag} {now}` does not stand once and by itself in the command, so that it cannot be replaced safely"
    if found[0] != found[1]:
        return (), f"the target's command and the benchmark do not have `{flag} {now}` alike"
    return found[0], ""
