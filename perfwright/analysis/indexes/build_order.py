"""Which indexes a clone should hold for measuring, the most promising first: building ends when its time is up."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from perfwright.analysis.indexes.candidates import relevant
from perfwright.analysis.indexes.column_uses import TableUse
from perfwright.analysis.indexes.definitions import IndexDefinition, unique
from perfwright.analysis.indexes.selection import Found, Problem

MOST = 50
"""Eighty take three times as long to build, and the search ends by its time (TPC-H on a busy machine: 1.55 and 1.63 for 1.71 and 1.74)."""


def build_order(problem: Problem, found: Found, candidates: Sequence[IndexDefinition]) -> tuple[IndexDefinition, ...]:
    """The members of all selections; their keys alone, where they carry columns along, and the first key alone; what no hypothetical index
    can be (partial, expression, trigram); then the rest of the pool by gain."""
    members = unique(one for selection in found.selections for one in sorted(selection.indexes, key=lambda one: one.title))
    shorter = [replace(one, include=()) for one in members if one.include]
    prefixes = [replace(one, keys=one.keys[:1], include=(), descending=()) for one in members if len(one.keys) > 1]
    known = set(candidates) | set(found.pool)
    unasked = [one for one in candidates if not one.plain]
    rest = sorted(found.pool, key=lambda one: (-found.gains.get(one, 0.0) / max(1, problem.size(one)) ** 0.5, one.title))
    return unique([*members, *(one for one in (*shorter, *prefixes) if one in known), *unasked, *rest])[:MOST]


def relevance(indexes: Sequence[IndexDefinition], uses: Sequence[Sequence[TableUse]]) -> Mapping[IndexDefinition, frozenset[int]]:
    """The queries (by number) that each index may help."""
    return {one: frozenset(number for number, of_query in enumerate(uses) if relevant(one, of_query)) for one in indexes}
