"""What is said of CPU time that no samples stand for (cpu_coverage.py), and when a profile is none of the program for it.

Apart from where it is worked out, because what says it must not load NumPy.
"""

from perfwright.models.cpu_coverage import CpuCoverage

WORTH_TELLING = 0.04
"""CPU time without samples that is said: below it, it is within what clock ticks and the ends of the recording leave open."""
LIMITS = 0.1
"""CPU time that is not even known by its purpose, from which on a summary says so."""
BELIEVED = 0.5
"""CPU time whose purpose is known, below which a profile is not one of the program."""
MATTERS_CORES = 0.1
"""Cores without samples below which nobody need care."""
LISTED, NAMED = 4, 3


def coverage_sentence(coverage: CpuCoverage) -> str:
    """How much CPU time has no samples, and whose it is; empty where next to nothing is missing."""
    missing = 1 - coverage.seen_share
    if missing < WORTH_TELLING:
        return ""
    return f"{missing:.0%} of the CPU time was used by threads without samples{_listed(coverage)}. Shares are of all CPU time."


def limit_of(coverage: CpuCoverage, cores: float) -> str:
    """What a reader must know first, and how to see the rest; empty where enough is known. `cores`: what the process tree used."""
    if coverage.unknown_share < LIMITS or coverage.unknown_share * cores < MATTERS_CORES:
        return ""
    return f"{coverage.unknown_share:.0%} of its CPU time has no samples{_listed(coverage)}. {way_to_see(coverage)}".strip()


def enough_is_known(coverage: CpuCoverage, cores: float) -> bool:
    """Whether the profile is one of the program's CPU time."""
    return 1 - coverage.unknown_share >= BELIEVED or coverage.unknown_share * cores < MATTERS_CORES


def way_to_see(coverage: CpuCoverage) -> str:
    """How to record what is not even known by its purpose."""
    told = []
    processes = [one for one in coverage.unseen if one.pid and one.share >= WORTH_TELLING]
    if processes:
        commands = ", ".join(f"`perfwright cpu --pid {one.pid}`" for one in processes[:NAMED])
        told.append(f"Profile the other processes by themselves: {commands}.")
    if coverage.share_of("ended processes") >= WORTH_TELLING:
        told.append("Children that end at once cannot be attached to: profile their command (`perfwright cpu -- COMMAND`), or start fewer.")
    if coverage.share_of("threads", "code") >= WORTH_TELLING:
        told.append("perf shows compiled code and the runtime's own: `perf record -g -p PID`.")
    return " ".join(told)


def _listed(coverage: CpuCoverage) -> str:
    told = [f"{one.what} {one.share:.0%}" for one in coverage.unseen[:LISTED]]
    return f": {', '.join(told)}" if told else ""
