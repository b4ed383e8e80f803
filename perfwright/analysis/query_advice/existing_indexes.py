"""Drafts of indexes, and whether an index that serves exists already."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.plans.predicates import collated_otherwise
from perfwright.analysis.query_advice.operands import operand
from perfwright.analysis.query_advice.plan_view import distinct_of, rows_of
from perfwright.models.database import IndexFacts, TableFacts
from perfwright.models.query_performance import PlanHit

FEW_ROWS = 10.0
"""Rows of one key: with so few a further column saves nothing."""
MIN_ROWS = 1_000.0
"""A smaller table is a dozen pages: read whole it costs less than an index costs writes."""
USABLE_SHARE = 0.1
"""An index that leads to at most a tenth of the rows would be used if the planner knew so: more, and reading the table whole is right."""
Refusal = Literal["stale statistics", "index not used", "index exists", "small table", "no column", "no table"]


@dataclass(frozen=True)
class Draft:
    """An index that a hit asks for: equalities (their order is free), then a tail whose order is fixed."""

    hit: PlanHit
    table: TableFacts
    equalities: tuple[str, ...] = ()
    """Columns, most selective first."""
    tail: tuple[str, ...] = ()
    """Keys as they stand in the DDL: `created_at DESC`, `name text_pattern_ops`."""
    tail_columns: tuple[str, ...] = ()
    expression: str = ""
    """Key expression with its parentheses, instead of columns."""
    method: Literal["btree", "gin", "gist"] = "btree"
    operator_class: str = ""
    """Of the expression, where its type's own does not serve: `text_pattern_ops`."""
    trigrams: bool = False
    """GIN over three-letter pieces of a text (extension pg_trgm)."""
    together: bool = False
    """Helps only with the other drafts of its hit: each branch of an OR needs its own."""


@dataclass(frozen=True)
class NoDraft:
    """Why an index is not what a hit asks for."""

    hit: PlanHit
    refusal: Refusal
    reason: str
    table: TableFacts | None = None
    """Whose statistics are stale, or whose index is not used."""
    index: IndexFacts | None = None


def covering(draft: Draft) -> IndexFacts | None:
    """An index that gives all that the draft would: its keys begin with the same equalities, in any order, then the same tail."""
    for index in draft.table.indexes:
        if not index.valid or index.predicate or index.method != draft.method:
            continue
        keys = index_keys(index)
        count = len(draft.equalities)
        if draft.expression:
            same = bool(keys) and keys[0].replace(" ", "") == _inner(draft.expression).replace(" ", "")
            if same and draft.operator_class in index.definition:
                return index
            continue
        same = set(keys[:count]) == set(draft.equalities) and tuple(keys[count : count + len(draft.tail)]) == draft.tail_columns
        if same and (not draft.tail or _same_operators(draft, index)):
            return index
    return None


def _same_operators(draft: Draft, index: IndexFacts) -> bool:
    """LIKE wants an operator class of its own, which in turn has no `<` and no order (documentation, 11.10 "Operator Classes")."""
    return any("pattern_ops" in key for key in draft.tail) == ("pattern_ops" in index.definition)


def usable(draft: Draft, equal: Collection[str]) -> IndexFacts | None:
    """An index whose leading columns are compared for equality and leave a small share of the rows, by the statistics there are."""
    rows = rows_of(draft.table)
    if draft.expression or draft.method != "btree" or draft.hit.rule in ("R03", "R06", "R17") or rows <= 0:
        return None
    for index in draft.table.indexes:
        if not index.valid or index.predicate or index.method not in ("btree", "hash"):
            continue
        leading = []
        for key in index_keys(index):
            if key not in equal:
                break
            leading.append(key)
        share = 1.0
        for name in leading:
            share /= distinct_of(draft.table, name)
        if leading and share <= USABLE_SHARE and share * rows <= max(FEW_ROWS, rows / 1_000):
            return index
    return None


def index_keys(index: IndexFacts) -> tuple[str, ...]:
    """Names of its key columns, or the text of expressions without outer parentheses."""
    found = []
    for key in index.keys:
        read = operand(without_direction(key))
        if read.column and collated_otherwise(index, read.column.name):
            found.append(f"{read.column.name} COLLATE")  # serves no condition in the column's own collation
            continue
        found.append(read.column.name if read.column and not read.cast and not read.function else _inner(without_direction(key)))
    return tuple(found)


def _inner(expression: str) -> str:
    return operand(expression).text


def without_direction(key: str) -> str:
    """A key without DESC, NULLS FIRST and COLLATE."""
    words = key.split(" NULLS ")[0].removesuffix(" DESC").removesuffix(" ASC")
    return words.split(" COLLATE ")[0]
