"""What a linter offers to change, as told by it; read where libcst is not loaded."""

from dataclasses import dataclass

RULES = ("PERF", "C4", "FURB")


@dataclass(frozen=True)
class Span:
    """From (line, column) up to (line, column); lines and columns from 1, columns in characters, as ruff counts."""

    start: tuple[int, int]
    end: tuple[int, int]
    text: str


@dataclass(frozen=True)
class LinterEdit:
    """One diagnostic with its fix."""

    rule: str
    told: str
    line: int
    last_line: int
    spans: tuple[Span, ...]
