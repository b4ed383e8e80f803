"""What the benchmark of index advice says of its configurations, beside each other."""

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from activities.index_clone import Written
from activities.index_measuring import MeasuredChoice, VerifiedChoice
from benchmarks.index_workloads import Statements
from benchmarks.measured import Measured
from perfwright.analysis.indexes.selection import NONE, Found, Indexes
from perfwright.analysis.indexes.verification import VerifiedQuery, geometric_mean_gain, verified_query
from perfwright.analysis.indexes.workload import Workload

NOTHING, AGAIN, OURS, PAGE_COST = "no index", "no index, again", "perfwright", "random_page_cost 1.1"
CUT_OFF_S = 2.0
DRAWN = 200
SLOW_CUT_OFF_S = 12.0


@dataclass
class Configuration:
    """Indexes (or a setting) on a clone of its own."""

    name: str
    indexes: Indexes = NONE
    settings: str = ""
    asked: int = 0
    search_s: float = 0.0
    bytes: int = 0
    times: dict[int, list[float]] = field(default_factory=dict)
    """Milliseconds of each round, per query."""
    shapes: dict[int, str] = field(default_factory=dict)
    blocks: dict[int, int] = field(default_factory=dict)
    slow_ms: dict[int, float] = field(default_factory=dict)
    """Of queries measured apart; those cut off have the bound."""
    written: dict[str, Written] = field(default_factory=dict)


@dataclass(frozen=True)
class Searched:
    """What came of our own search."""

    workload: Workload
    found: Found
    choice: MeasuredChoice
    kept: VerifiedChoice
    search_s: float
    search_cpu_s: float
    verifying_s: float


def verified(one: Configuration, base: Configuration) -> dict[int, VerifiedQuery]:
    """Each quick query beside no index."""
    return {
        place: verified_query(
            base.times[place],
            one.times[place],
            plan_changed=one.shapes[place] != base.shapes[place],
            blocks=(base.blocks[place], one.blocks[place]),
        )
        for place in base.times
    }


def gain(configurations: Mapping[str, Configuration], name: str) -> float:
    """A query whose plan is the same does the same work, and counts as it was: what it differs by is the machine's (`as_measured`)."""
    found = verified(configurations[name], configurations[NOTHING]).values()
    return geometric_mean_gain([one if one.plan_changed else replace(one, ratio=1.0) for one in found])


def as_measured(configurations: Mapping[str, Configuration], name: str) -> float:
    """With what the same plans differ by; of the second clone without an index that is all."""
    return geometric_mean_gain(list(verified(configurations[name], configurations[NOTHING]).values()))


def interval(configurations: Mapping[str, Configuration], name: str) -> tuple[float, float]:
    """Where nine of ten values of `gain` lie when its rounds are drawn anew: what the measurement itself differs by."""
    base, one, drawn = configurations[NOTHING], configurations[name], random.Random(0)
    rounds = len(next(iter(base.times.values()), ()))
    found = []
    for _ in range(DRAWN):
        chosen = [drawn.randrange(rounds) for _ in range(rounds)]
        sides = [
            replace(side, times={place: [ms[round_] for round_ in chosen] for place, ms in side.times.items()}) for side in (base, one)
        ]
        found.append(gain({NOTHING: sides[0], name: sides[1]}, name))
    found.sort()
    return found[DRAWN // 20], found[-1 - DRAWN // 20]


def told_noise(statements: Statements, searched: Searched, configurations: Mapping[str, Configuration]) -> str:
    """How much of a difference between two runs of this benchmark comes from what was chosen, and how much from measuring it."""
    quick = set(configurations[NOTHING].times)
    place = searched.workload.statements
    ratios = {place[query]: ratio for query, ratio in enumerate(searched.choice.measured.ratios)}
    promised = [math.log(ratios.get(one, 1.0)) for one in quick]
    verifying = [math.log(one.ratio) for query, one in searched.kept.queries.items() if place[query] in quick]
    low, high = interval(configurations, OURS)
    again = as_measured(configurations, AGAIN)
    return (
        f"selection: the search promised {math.exp(-sum(promised) / len(quick)):.2f}, its verification found"
        f" {math.exp(-sum(verifying) / len(quick)):.2f}; this measurement: {gain(configurations, OURS):.2f}, from {low:.2f} to {high:.2f}"
        f" by its rounds, {again:.2f} for the same clone again"
    )


def regressions(configurations: Mapping[str, Configuration], name: str, names: Sequence[str]) -> list[str]:
    found = verified(configurations[name], configurations[NOTHING])
    return [f"{names[place]} {one.ratio:.2f}x" for place, one in found.items() if one.regressed]


def told_tpc_h(statements: Statements, searched: Searched, configurations: dict[str, Configuration]) -> list[Measured]:
    found = [
        *_told_of_all("TPC-H", statements, configurations, 1.75),
        Measured("TPC-H megabytes of indexes", configurations[OURS].bytes / 1e6, "MB", 60),
        Measured("TPC-H search", searched.search_s, "s", 10, note=f"{searched.search_cpu_s:.1f} s of CPU, {searched.found.asked} plans"),
        Measured("TPC-H measuring", searched.choice.seconds, "s", 60, note=f"{searched.choice.measured.plans_timed} plans timed"),
    ]
    for place in statements.slow:
        before, after = configurations[NOTHING].slow_ms[place], configurations[OURS].slow_ms[place]
        note = f"{'more than ' if before >= SLOW_CUT_OFF_S * 1000 else ''}{before:,.0f} ms to {after:,.1f} ms"
        found.append(Measured(f"TPC-H {statements.names[place]}: times faster", before / after, "x", 100, at_least=True, note=note))
    return found


def told_tpc_ds(statements: Statements, searched: Searched, configurations: dict[str, Configuration]) -> list[Measured]:
    return [
        *_told_of_all("TPC-DS", statements, configurations, gain(configurations, "a column each")),
        Measured("TPC-DS megabytes of indexes", configurations[OURS].bytes / 1e6, "MB", 60),
        Measured("TPC-DS search", searched.search_s, "s", note=f"{searched.search_cpu_s:.1f} s of CPU, {searched.found.asked} plans"),
    ]


def told_oltp(statements: Statements, searched: Searched, configurations: dict[str, Configuration]) -> list[Measured]:
    def wal(name: str) -> float:
        return float(sum(one.bytes for one in configurations[name].written.values()))

    return [
        *_told_of_all("OLTP", statements, configurations, gain(configurations, "a column each")),
        Measured(
            "OLTP WAL of a transaction, to no index",
            wal(OURS) / wal(NOTHING),
            "x",
            wal("a column each") / wal(NOTHING),
            note="; limit: a column each",
        ),
    ]


def _told_of_all(title: str, statements: Statements, configurations: dict[str, Configuration], limit: float) -> list[Measured]:
    slower = regressions(configurations, OURS, statements.names)
    ours = gain(configurations, OURS)
    peers = [name for name in configurations if name not in (NOTHING, AGAIN, OURS)]
    best = max(peers, key=lambda name: gain(configurations, name))
    others = ", ".join(f"{name} {gain(configurations, name):.2f}" for name in peers)
    raw = f"{as_measured(configurations, OURS):.2f} with what same plans differ by, no index again {as_measured(configurations, AGAIN):.2f}"
    note = f"{others}; {raw}"
    return [
        Measured(f"{title} geomean of quick queries", ours, "x", limit, at_least=True, note=note),
        Measured(f"{title} over the best of the others", ours / gain(configurations, best), "x", 1.0, at_least=True, note=best),
        Measured(f"{title} verified regressions", len(slower), "", 0, note=", ".join(slower)),
    ]
