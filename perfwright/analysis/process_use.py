"""From cumulative counters of a process tree to shares and rates over a recording.

Shares are CPU seconds per second, in cores. A counter that restarts (a worker's next attempt, a process that exited) only loses the step
in which it restarted: differences are taken between neighbouring sweeps of the same process and are never negative.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from statistics import quantiles

from perfwright.models.cpu_coverage import ProcessCpu
from perfwright.models.cpu_profiling import ProcessUse, ThreadUse
from perfwright.models.vocabulary import Model

TOP_THREADS, TOP_PROCESSES = 64, 32


class UseStep(Model):
    """What happened between two neighbouring sweeps."""

    at_s: float
    """Seconds of recording, at the end of the step."""
    seconds: float
    user_s: float
    system_s: float
    voluntary: int
    involuntary: int
    read_bytes: int
    write_bytes: int
    rss_bytes: int
    thread_count: int
    child_processes: int
    machine_busy_share: float
    machine_iowait_share: float
    sampler_cpu_s: float
    threads: dict[str, tuple[float, float]] = {}
    """`pid/tid` -> (user_s, system_s); threads that used none are left out."""
    processes: dict[str, float] = {}
    """`pid` -> user and system seconds; processes that used none are left out."""
    ended_children_s: float = 0.0
    """Part of `user_s` and `system_s`: of children that ended, what was not seen of them while they ran."""


class ThreadSwitches(Model):
    """Name and context switches of a thread over the whole recording."""

    name: str
    voluntary: int
    involuntary: int


def summarise_use(
    steps: Sequence[UseStep], switches: Mapping[str, ThreadSwitches], cpu_count: int, programs: Mapping[str, str] | None = None
) -> ProcessUse:
    """Shares, rates and the busiest threads and processes; `series` is left for the caller to fill. `programs`: name by pid."""
    seconds = sum(step.seconds for step in steps)
    over = seconds or 1.0
    per_thread: dict[str, list[tuple[float, float, float]]] = defaultdict(list)
    for step in steps:
        for key, (user_s, system_s) in step.threads.items():
            per_thread[key].append((user_s, system_s, (user_s + system_s) / step.seconds))
    busiest = sorted(per_thread, key=lambda key: -sum(u + s for u, s, _ in per_thread[key]))[:TOP_THREADS]
    return ProcessUse(
        series=None,
        seconds=round(seconds, 3),
        samples=len(steps),
        cpu_count=cpu_count,
        user_share=sum(s.user_s for s in steps) / over,
        system_share=sum(s.system_s for s in steps) / over,
        iowait_share=sum(s.machine_iowait_share * s.seconds for s in steps) / over,
        machine_busy_share=sum(s.machine_busy_share * s.seconds for s in steps) / over,
        voluntary_switches_hz=sum(s.voluntary for s in steps) / over,
        involuntary_switches_hz=sum(s.involuntary for s in steps) / over,
        rss_bytes=max((s.rss_bytes for s in steps), default=0),
        thread_count=max((s.thread_count for s in steps), default=0),
        read_bytes_hz=sum(s.read_bytes for s in steps) / over,
        write_bytes_hz=sum(s.write_bytes for s in steps) / over,
        child_processes=max((s.child_processes for s in steps), default=0),
        sampler_cpu_share=sum(s.sampler_cpu_s for s in steps) / over,
        threads=tuple(_thread(key, per_thread[key], switches.get(key), len(steps), over) for key in busiest),
        processes=_processes(steps, programs or {}, over),
        ended_children_share=sum(s.ended_children_s for s in steps) / over,
    )


def _thread(key: str, uses: list[tuple[float, float, float]], switches: ThreadSwitches | None, steps: int, over: float) -> ThreadUse:
    pid, tid = key.split("/")
    busy = [share for _, _, share in uses] + [0.0] * (max(steps, 2) - len(uses))
    return ThreadUse(
        pid=int(pid),
        tid=int(tid),
        name=switches.name if switches else "",
        user_share=sum(user for user, _, _ in uses) / over,
        system_share=sum(system for _, system, _ in uses) / over,
        voluntary_switches_hz=(switches.voluntary if switches else 0) / over,
        involuntary_switches_hz=(switches.involuntary if switches else 0) / over,
        busy_share_p95=quantiles(busy, n=20, method="inclusive")[-1],
    )


def _processes(steps: Sequence[UseStep], programs: Mapping[str, str], over: float) -> tuple[ProcessCpu, ...]:
    """The busiest. A process counts all its threads, also those that nobody saw because they ended between two sweeps."""
    used: dict[str, float] = defaultdict(float)
    by_threads: dict[str, float] = defaultdict(float)
    for step in steps:
        for pid, own_s in step.processes.items():
            used[pid] += own_s
        for key, (user_s, system_s) in step.threads.items():
            by_threads[key.partition("/")[0]] += user_s + system_s
    return tuple(
        ProcessCpu(
            pid=int(pid),
            program=programs.get(pid, ""),
            cpu_share=used[pid] / over,
            ended_threads_share=max(0.0, used[pid] - by_threads[pid]) / over,
        )
        for pid in sorted(used, key=lambda pid: -used[pid])[:TOP_PROCESSES]
    )


def use_series(steps: Sequence[UseStep]) -> dict[str, object]:
    """The series of the report: `{"t_s": [...], "series": [{"label", "unit", "values"}]}`."""
    columns = (
        ("user", "cores", [s.user_s / s.seconds for s in steps]),
        ("system", "cores", [s.system_s / s.seconds for s in steps]),
        ("whole machine busy", "share", [s.machine_busy_share for s in steps]),
    )
    return {
        "t_s": [round(s.at_s, 3) for s in steps],
        "series": [{"label": label, "unit": unit, "values": [round(v, 4) for v in values]} for label, unit, values in columns],
    }
