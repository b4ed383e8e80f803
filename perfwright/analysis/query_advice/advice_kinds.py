"""What a rule's hits are as a cause: its name, its title, what to do, and what that may win."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from perfwright.models.finding import Effort

About = Literal["columns", "table", "statement"]


@dataclass(frozen=True)
class RuleAdvice:
    """One rule as a cause."""

    kind: str
    """First part of the finding's id: `missing-index`."""
    about: About
    """What makes two hits one finding: the same columns of a table, the same table, the same statement."""
    title: str
    """With `{table}` and `{columns}`; a number follows."""
    advice: str
    """Markdown, one paragraph."""
    effort: Effort
    won: tuple[float, float, float]
    why: str
    """Why so much."""
    without_table: str = ""
    """Title where the node reads no single table."""
    guises: tuple[tuple[str, str], ...] = ()
    """(number of a hit that says which kind it is, title for that kind); where no single one applies, `title`."""

    def title_for(self, numbers: Mapping[str, float]) -> str:
        """Of a hit with these numbers."""
        found = [title for number, title in self.guises if numbers.get(number)]
        return found[0] if len(found) == 1 else self.title
