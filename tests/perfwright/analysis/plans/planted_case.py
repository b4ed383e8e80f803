"""A planted plan problem: what must be found, and where."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Planted:
    """A statement, the rule that must see it, where, and which columns it must name."""

    name: str
    rule: str
    at: str
    """Beginning of the node's title, without `Parallel`."""
    sql: str
    columns: tuple[str, ...] = ()
    relation: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    also: frozenset[str] = frozenset()
    """Further rules that are right here too."""
    versions: tuple[int, ...] = (15, 18)
    before: str = ""


def also(*rules: str) -> frozenset[str]:
    return frozenset(rules)
