"""The filter of a scan sorted by what an index could do with each part of it.

*Sargable* parts compare a bare column with something known before the row is read: an index on the column finds them. The others need
another index (on the expression, trigrams), another way to write them, or cannot be helped.
"""

import re
from dataclasses import dataclass, replace

from perfwright.analysis.plans.conditions import Column, Comparison, Part, columns_in, read_condition
from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.models.database import IndexFacts, TableFacts

SELECTIVE_PART = 0.1
"""A part that keeps more than this share of the rows is no reason for an index (REMOVED_SHARE in examined.py is the same of a filter)."""
_SARGABLE = frozenset({"equality", "range", "boolean", "null test", "pattern", "regex", "inequality", "containment"})
_TEXTS = frozenset({"text", "character varying", "name"})
_CONVERTED_BY_CAST = frozenset(
    {
        "smallint",
        "integer",
        "bigint",
        "numeric",
        "real",
        "double precision",
        "date",
        "timestamp without time zone",
        "timestamp with time zone",
        "time without time zone",
        "time with time zone",
        "interval",
        "boolean",
        "uuid",
        "json",
        "jsonb",
        "character",
        "citext",
        "bytea",
        "inet",
        "text",
        "character varying",
    }
)
"""Types of which a cast changes the value, so that an index on the column cannot be used; of a domain or an enum we cannot tell."""


@dataclass(frozen=True)
class Predicates:
    """Parts of a filter on one table."""

    sargable: tuple[Part, ...] = ()
    wrapped: tuple[Part, ...] = ()
    """The column stands inside a function or an operator."""
    cast: tuple[Part, ...] = ()
    """The column is converted to another type first."""
    unanchored: tuple[Part, ...] = ()
    """Patterns without a constant beginning."""
    alternatives: tuple[Part, ...] = ()
    """ORs over different columns, each sargable."""
    other: tuple[Part, ...] = ()

    @property
    def only_sargable(self) -> bool:
        """Nothing else can be what makes the filter selective: what is left over are conditions that keep most rows, like `<>`."""
        opaque = any(part.comparison != "not pattern" for part in self.other) and not self.equalities
        return bool(self.sargable) and not (opaque or self.wrapped or self.cast or self.unanchored or self.alternatives)

    @property
    def equalities(self) -> tuple[Part, ...]:
        return tuple(part for part in self.sargable if part.comparison in ("equality", "boolean", "null test"))

    @property
    def columns(self) -> tuple[str, ...]:
        """Of the sargable parts in the order of an index: equalities before ranges."""
        others = tuple(part for part in self.sargable if part not in self.equalities)
        return tuple(dict.fromkeys(column.name for part in (*self.equalities, *others) for column in part.columns))


def predicates(node: PlanNode, facts: TableFacts | None, field: str = "Filter") -> Predicates:
    """The parts of a node's filter that are about its own table."""
    sorted_parts: dict[str, list[Part]] = {}
    for part in read_condition(node.text(field)):
        shared = _shared_columns(part, node.alias, facts)
        searched = () if shared else _searched_in_each(part, node.alias, facts)
        sorted_parts.setdefault("sargable", []).extend(shared)
        sorted_parts.setdefault("unanchored", []).extend(searched)
        if not shared and not searched:
            sorted_parts.setdefault(_sort(part, node.alias, facts), []).append(part)
    return Predicates(**{name: tuple(parts) for name, parts in sorted_parts.items()})


def _sort(part: Part, alias: str, facts: TableFacts | None) -> str:
    if part.comparison == "or":
        return _sort_or(part, alias, facts)
    own = [column for column in part.columns if column.of(alias)]
    if part.subplan or part.column is None or not part.column.of(alias) or any(column.of(alias) for column in part.others):
        return "other"
    if part.comparison in ("not pattern", "other"):
        return "other"
    harmful = part.operand == "cast" and _converts(part.column, part.wrapping, facts)
    if part.operand in ("function", "expression"):
        return "wrapped" if len(set(own)) == len(set(part.columns)) and part.comparison != "inequality" else "other"
    if part.comparison in ("pattern", "regex"):
        if part.pattern is None:
            return "other"
        return "unanchored" if part.leading_wildcard else ("cast" if harmful else "sargable")
    if harmful:
        return "cast"
    return "sargable" if part.comparison in _SARGABLE else "other"


def _sort_or(part: Part, alias: str, facts: TableFacts | None) -> str:
    """An OR over one column is a list of values; over several it needs an index for each, or a UNION."""
    used = []
    for branch in part.branches:
        sargable = [one for one in branch if _sort(one, alias, facts) == "sargable" and one.comparison != "inequality"]
        if not sargable:
            return "other"
        used.append({one.column.name for one in sargable if one.column})
    return "other" if set.intersection(*used) else "alternatives"


def _searched_in_each(part: Part, alias: str, facts: TableFacts | None) -> tuple[Part, ...]:
    """The patterns without a beginning of an OR that has one in each branch, as a search over several columns has."""
    found = [next((one for one in branch if _sort(one, alias, facts) == "unanchored"), None) for branch in part.branches]
    return tuple(one for one in found if one) if all(found) else ()


def _shared_columns(part: Part, alias: str, facts: TableFacts | None) -> tuple[Part, ...]:
    """Columns that every branch of an OR compares: a list of values, as in `(a = 1 AND b < 5) OR (a = 2 AND b < 9)`, or of ranges."""
    if found := _shared(part, alias, facts, {"equality"}) or _shared(part, alias, facts, {"pattern"}):
        return found
    ranges = _shared(part, alias, facts, {"equality", "range", "null test"})
    return tuple(replace(one, comparison="range") for one in ranges)


def _shared(part: Part, alias: str, facts: TableFacts | None, comparisons: set[Comparison]) -> tuple[Part, ...]:
    by_branch = [
        {
            one.column: one
            for one in branch
            if one.comparison in comparisons and one.constant != "NOT NULL" and _sort(one, alias, facts) == "sargable"
        }
        for branch in part.branches
    ]
    shared = set.intersection(*(set(one) for one in by_branch)) if by_branch else set()
    return tuple(one for column, one in by_branch[0].items() if column in shared) if shared else ()


def _converts(column: Column, target: str, facts: TableFacts | None) -> bool:
    """Whether the cast keeps an index on the column from being used. `(varchar)::text` does not: both have the same representation
    (pg_cast: binary-coercible). Without a catalog a cast to text is taken to be that, any other to be a conversion."""
    known = facts.column(column.name) if facts else None
    if known is None:
        return target not in _TEXTS and target != "character"
    kind = re.sub(r"\([^)]*\)", "", known.type).strip().lower()
    return kind in _CONVERTED_BY_CAST and kind != target and not (kind in _TEXTS and target in _TEXTS)


def linked(texts: tuple[str, ...], alias: str) -> tuple[str, ...]:
    """Columns of the table with this alias that conditions compare with other tables: by equality, or as a range with two ends.

    Without VERBOSE a scan's own conditions write its columns without the alias (show_scan_qual in explain.c), those of joins with it.
    """
    equal: dict[str, None] = {}
    ends: dict[str, int] = {}
    for text in texts:
        for part in read_condition(text):
            for column, other in _sides(part):
                if column.of(alias) and other.qualifier not in ("", alias):
                    if part.comparison == "equality":
                        equal[column.name] = None
                    elif part.comparison == "range":
                        ends[column.name] = ends.get(column.name, 0) + 1
    return tuple(equal) or tuple(name for name, count in ends.items() if count > 1)


def _sides(part: Part) -> list[tuple[Column, Column]]:
    """(column, column it is compared with), each way; only where the column stands bare, or cast without change."""
    if part.operand not in ("column", "cast") or part.column is None or len(part.others) != 1:
        return []
    return [(part.column, part.others[0]), (part.others[0], part.column)]


def serves(index: IndexFacts, part: Part) -> bool:
    """Whether the index could find the part: its first key is the column. Partial and invalid ones are left out of account."""
    if not index.valid or index.predicate or not index.keys or part.column is None:
        return False
    first = index.keys[0].strip().strip("()").split(" ")[0].strip('"')
    if first == part.column.name and collated_otherwise(index, first):
        return False
    if part.operand in ("function", "expression"):
        finds = part.comparison not in ("pattern", "regex") or "pattern_ops" in index.definition or "trgm_ops" in index.definition
        return finds and _plain(part.wrapping) == _plain(index.keys[0])
    if part.comparison == "containment":
        return index.method not in ("btree", "hash", "brin") and any(
            key.strip().strip('"').split(" ")[0] == part.column.name for key in index.keys
        )
    if part.comparison in ("pattern", "regex"):
        return first == part.column.name and ("pattern_ops" in index.definition or "trgm_ops" in index.definition)
    return first == part.column.name and index.method in ("btree", "hash", "brin", "gist", "spgist")


def collated_otherwise(index: IndexFacts, column: str) -> bool:
    """Whether the index sorts this column by another collation than the column's own, which is when its definition names one: conditions
    in the column's collation do not find it (documentation, 11.11 "Indexes and Collations")."""
    return re.search(rf'[(,]\s*"?{re.escape(column)}"? COLLATE ', index.definition) is not None


def _plain(expression: str) -> str:
    """`lower((email)::text)` and `lower(email::text)` are the same."""
    return "".join(one for one in expression.lower() if one not in ' ()"')


def served(facts: TableFacts | None, part: Part) -> IndexFacts | None:
    """An index that could find the part."""
    return next((index for index in facts.indexes if serves(index, part)), None) if facts else None


def column_is_led(facts: TableFacts | None, columns: tuple[str, ...]) -> bool:
    """Whether some index already begins with one of these columns."""
    keys = (
        [index.keys[0].strip().strip('"') for index in facts.indexes if index.valid and not index.predicate and index.keys] if facts else []
    )
    return any(column in keys for column in columns)


def expected_share(facts: TableFacts | None, part: Part) -> float | None:
    """Share of the rows that a part keeps, as the column's statistics have it for an average value; None where they do not tell.

    PostgreSQL documentation, "Row Estimation Examples": 1 / n_distinct for an equality.
    """
    known = facts.column(part.column.name) if facts and part.column else None
    if known is None or facts is None:
        return None
    if part.comparison == "boolean":
        return 0.5
    if part.comparison == "null test":
        return known.null_share if part.constant == "" or known.null_share is None else 1.0 - known.null_share
    if part.comparison != "equality" or not known.distinct:
        return None
    distinct = known.distinct if known.distinct > 0 else -known.distinct * max(facts.rows, 1.0)
    return 1.0 / max(1.0, distinct)


def is_selective(facts: TableFacts | None, part: Part) -> bool:
    """Whether the statistics say that it keeps few rows."""
    share = expected_share(facts, part)
    return share is not None and share <= SELECTIVE_PART


def unknown_to_statistics(parts: tuple[Part, ...]) -> bool:
    """Whether a part compares with something that no statistics of a column could have told the planner: a subquery, a parameter, a range
    that another table's column bounds, a function of no column."""
    return any(
        part.subplan
        or part.unknown_value
        or not part.columns
        or (part.others and part.comparison != "equality")
        or unknown_to_statistics(tuple(one for branch in part.branches for one in branch))
        for part in parts
    )


def own_columns(texts: tuple[str, ...], alias: str) -> tuple[str, ...]:
    """All columns of this table in its conditions."""
    found = [column for text in texts for column in columns_in(read_condition(text)) if column.of(alias)]
    return tuple(dict.fromkeys(column.name for column in found))
