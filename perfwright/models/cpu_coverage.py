"""How much of a process tree's CPU time a profiler has samples of, and whose the rest is."""

from typing import Literal

from perfwright.models.vocabulary import Model


class ProcessCpu(Model):
    """One process of a tree over the recording."""

    pid: int
    program: str
    """Its name as the kernel knows it; empty where it ended before it was read."""
    cpu_share: float
    """User and system time, in cores, while it was seen."""
    ended_threads_share: float = 0.0
    """Part of it that threads used which ended between two readings, in cores."""


UnseenKind = Literal["garbage collection", "compiler", "virtual machine", "threads", "process", "ended processes", "code"]
"""`garbage collection`, `compiler`, `virtual machine`: threads of the JVM's own, known by name. `threads`: others that have no samples.
`process`: one without any. `ended processes`: of children that ended, what was not seen of them. `code`: of threads that have samples, what
the profiler does not see of their work."""
EXPLAINED: tuple[UnseenKind, ...] = ("garbage collection", "compiler", "virtual machine")
"""What it is for is known although nobody has stacks of it."""


class UnseenCpu(Model):
    """CPU time that nobody has samples of."""

    what: str
    """`process 4712 (gzip)`, `threads worker-#`."""
    kind: UnseenKind
    share: float
    """Of the CPU time of the whole process tree, 0 to 1."""
    pid: int = 0
    """Of a process."""


class CpuCoverage(Model):
    """Shares of a profile are of all CPU time of the process tree: samples stand for `seen_share` of it."""

    seen_share: float = 1.0
    """CPU time of what has samples over that of the whole process tree, 0 to 1."""
    unseen: tuple[UnseenCpu, ...] = ()
    """Largest first, from half a per cent on."""
    profiler_share: float = 0.0
    """CPU time that recording took inside of the target, over all, 0 to 1. Shares are of the rest."""

    def share_of(self, *kinds: UnseenKind) -> float:
        """Of the CPU time of the whole process tree."""
        return sum(one.share for one in self.unseen if one.kind in kinds)

    @property
    def unknown_share(self) -> float:
        """CPU time of which not even the purpose is known, over all, 0 to 1."""
        return max(0.0, 1.0 - self.seen_share - self.share_of(*EXPLAINED))
