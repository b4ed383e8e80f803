"""What a linter offers to change, as told by it; read where libcst is not loaded."""

from dataclasses import dataclass

RULES = ("PERF", "C4", "FURB")
SAFE, SHOWN_ONLY = "safe", "display"
"""How ruff's words for its own fix begin (`displayonly`); all others, `unsafe` and what a later ruff may say, are told to be unsafe."""
SAFE_FIXES, UNSAFE_FIXES = "ruff", "ruff unsafe"
"""Codemods: each is a candidate of its own in a function, so that an unsafe fix which is wrong takes no safe one with it."""


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
    applicability: str
    """Of the fix, as ruff calls it."""

    @property
    def codemod(self) -> str:
        return SAFE_FIXES if self.applicability.startswith(SAFE) else UNSAFE_FIXES
