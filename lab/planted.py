"""What is planted where: `planted.toml`, read. For tests and the demo; nothing of Perfwright itself may read it."""

import tomllib
from dataclasses import dataclass
from typing import Any

from lab.starting import ROOT


@dataclass(frozen=True, slots=True)
class Planted:
    name: str
    """As in `LAB_PROBLEMS`."""
    process: str
    """The process that should find it."""
    program: str
    """`shop`, `shop-db`, `jvm`, `node` or `native`."""
    file: str
    """From the root of the repository."""
    marker: str
    """Comment at the planted line; once in the file."""
    function: str
    """As profilers name it; of the database, the function that makes the statement or its index."""
    sound: str
    """The sound version, with equal results."""
    found_at: str
    """`self`: the line is on top of the stacks; `total`: the line calls into libraries that are. Of a plan:
    the node itself, or those below it."""
    says: str
    """What a correct finding says."""
    effect: str
    """The size of the effect as measured, in words."""
    share: float
    """Of the work that the program does for its requests with all problems on, 0 to 1; of the database, of its execution time."""
    share_from: str
    """How `share` was measured."""
    counted: float = 0.0
    """The same in instructions, which are the same every time; 0 where they were not counted."""
    statement: str = ""
    """A piece of the statement as pg_stat_statements writes it, white space made single: in one statement of the shop only."""
    table: str = ""
    """What the advice is about."""
    columns: tuple[str, ...] = ()
    """What the advice is about, in the order in which an index would have them."""
    codemod: str = ""
    """The codemod that mends it; empty: it needs another algorithm, or an index, from whoever knows one."""
    rules: tuple[str, ...] = ()
    """Rules of plan analysis that hold in its plan; a finding by any of them is right: `R01`."""

    @property
    def line(self) -> int:
        """The line with the marker, from 1; ValueError when there is not exactly one."""
        lines = (ROOT / self.file).read_text(encoding="utf-8").splitlines()
        marked = [number for number, line in enumerate(lines, start=1) if line.rstrip(" */").endswith(self.marker.rstrip(" */"))]
        if len(marked) != 1:
            raise ValueError(f"{self.file} has the marker {self.marker!r} {len(marked)} times, not once")
        return marked[0]


SURELY = 1.6
"""By how much a 95 % interval is stretched to miss the truth once in 500 times (3.09 over 1.96 standard errors): with eight problems, one
demonstration in sixty."""
MACHINES_DIFFER = 0.2
"""How much a share of time may differ from the one timed when the lab was made. Runs on one machine differed by up to a twelfth; another
CPU, Python or JVM runs some code faster than other, for which as much again is allowed, rounded up."""
LARGEST_FACTOR = 1.6
"""A recording whose interval is so wide that more than this agrees with it tells too little."""


def agrees(share: float, value: float, low: float, high: float, counted: float = 0.0) -> bool:
    """Whether a recorded share with its 95 % interval agrees with the share that was timed, within what sampling and machines explain, and
    with the share of instructions where they were `counted`, within what differs between instructions in the time that they take."""
    least, most = value - SURELY * (value - low), value + SURELY * (high - value)
    explained = least <= share * (1 + MACHINES_DIFFER) and share * (1 - MACHINES_DIFFER) <= most
    if counted and not least / LARGEST_FACTOR <= counted <= most * LARGEST_FACTOR:
        return False
    return explained and 1 / LARGEST_FACTOR <= value / share <= LARGEST_FACTOR


def planted(program: str | None = None) -> list[Planted]:
    """The planted problems, of one program if given."""
    table = tomllib.loads((ROOT / "lab" / "planted.toml").read_text(encoding="utf-8"))
    problems = [_problem(entry) for entry in table["problem"]]
    return [problem for problem in problems if program in (None, problem.program)]


def _problem(entry: dict[str, Any]) -> Planted:
    """Arrays of TOML are tuples here."""
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
    return Planted(**fields)
