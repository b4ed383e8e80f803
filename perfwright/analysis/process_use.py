"""From cumulative counters of a process tree to shares and rates over a recording.

Shares are CPU seconds per second, in cores. A counter that restarts (a worker's next attempt, a process that exited) only loses the step
in which it restarted: differences are taken between neighbouring sweeps of the same process and are never negative.
"""

from collections import defaultdict
from collections.abc import Sequence
from statistics import quantiles

from perfwright.models.cpu_profiling import ProcessUse, ThreadUse
from perfwright.models.vocabulary import Model

TOP_THREADS = 64


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


class ThreadSwitches(Model):
    """Name and context switches of a thread over the whole recording."""

    name: str
    voluntary: int
    involuntary: int


def summarise_use(steps: Sequence[UseStep], switches: dict[str, ThreadSwitches], cpu_count: int) -> ProcessUse:
    """Shares, rates and the busiest threads; `series` is left for the caller to fill."""
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
