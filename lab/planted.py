"""What is planted where: `planted.toml`, read. For tests and the demo; nothing of Perfwright itself may read it."""

import tomllib
from dataclasses import dataclass

from lab.starting import ROOT


@dataclass(frozen=True, slots=True)
class Planted:
    name: str
    """As in `LAB_PROBLEMS`."""
    process: str
    """The process that should find it."""
    program: str
    """`shop`, `jvm`, `node` or `native`."""
    file: str
    """From the root of the repository."""
    marker: str
    """Comment at the planted line; once in the file."""
    function: str
    """As profilers name it."""
    sound: str
    """The sound version, with equal results."""
    found_at: str
    """`self`: the line is on top of the stacks; `total`: the line calls into libraries that are."""
    says: str
    """What a correct finding says."""
    effect: str
    """The size of the effect as measured, in words."""
    share: float
    """Of the work that the program does for its requests with all problems on, 0 to 1."""
    share_from: str
    """How `share` was measured."""

    @property
    def line(self) -> int:
        """The line with the marker, from 1; ValueError when there is not exactly one."""
        lines = (ROOT / self.file).read_text(encoding="utf-8").splitlines()
        marked = [number for number, line in enumerate(lines, start=1) if line.rstrip(" */").endswith(self.marker.rstrip(" */"))]
        if len(marked) != 1:
            raise ValueError(f"{self.file} has the marker {self.marker!r} {len(marked)} times, not once")
        return marked[0]


def planted(program: str | None = None) -> list[Planted]:
    """The planted problems, of one program if given."""
    table = tomllib.loads((ROOT / "lab" / "planted.toml").read_text(encoding="utf-8"))
    problems = [Planted(**entry) for entry in table["problem"]]
    return [problem for problem in problems if program in (None, problem.program)]
