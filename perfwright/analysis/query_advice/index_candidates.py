"""Indexes that may help, with their exact DDL: drafts of single hits, merged where one index serves several.

Two drafts on one table share an index when the equalities of the one are a subset of the other's: their order is free, so the subset goes
first. What exists already, in whole or as a prefix, is dropped (a planner asked about a hypothetical duplicate finds it cheaper than the
real one: HypoPG#79). The DDL is CREATE INDEX CONCURRENTLY, which lets writes go on (documentation, CREATE INDEX), except on partitioned
tables, where the server refuses it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import pairwise

from perfwright.analysis.plans.plan_tree import NotAPlan, parse_plan
from perfwright.analysis.query_advice.existing_indexes import Draft, NoDraft
from perfwright.analysis.query_advice.identifiers import object_name, qualified, quoted, taken_names, word_of
from perfwright.analysis.query_advice.index_drafts import INDEX_RULES, drafts_of
from perfwright.analysis.query_advice.index_sizes import btree_bytes
from perfwright.analysis.query_advice.plan_view import PlanView, Tables
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.query_advice import IndexCandidate
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import PlanSet
from perfwright.models.statement import Statement, StatementTable

MAX_CANDIDATES = 60
MAX_KEYS = 6
"""Columns of a merged index (indexes.md: merges of at most six)."""


@dataclass(frozen=True)
class IndexProposal:
    """One index, and the hits that ask for it."""

    table: TableFacts
    name: str
    equalities: tuple[str, ...]
    tail: tuple[str, ...]
    tail_columns: tuple[str, ...]
    expression: str
    method: str
    trigrams: bool
    drafts: tuple[Draft, ...]
    """In the order of their weight."""
    operator_class: str = ""
    """Of the expression."""

    @property
    def columns(self) -> tuple[str, ...]:
        return self.equalities + self.tail_columns if not self.expression else (self.expression[1:-1],)

    @property
    def keys(self) -> str:
        """What stands in the parentheses of the DDL."""
        if self.expression:
            return f"{self.expression} {self.operator_class}".rstrip()
        if self.trigrams:
            return ", ".join(f"{quoted(column)} gin_trgm_ops" for column in self.equalities)
        return ", ".join([*(quoted(column) for column in self.equalities), *self.tail])

    @property
    def title(self) -> str:
        """`orders(customer_id, created_at)`."""
        return f"{self.table.title}({', '.join(self.columns)})"

    @property
    def id(self) -> str:
        """`public.orders(customer_id)`: what stays the same between runs, whatever the name."""
        return f"{self.table.schema_name}.{self.table.name}({','.join(self.columns)})"

    @cached_property
    def ddl(self) -> str:
        how = "" if self.table.kind == "partitioned table" else " CONCURRENTLY"
        using = f" USING {self.method}" if self.method != "btree" else ""
        return f"CREATE INDEX{how} {quoted(self.name)} ON {qualified(self.table.schema_name, self.table.name)}{using} ({self.keys})"

    @property
    def undo(self) -> str:
        how = "" if self.table.kind == "partitioned table" else " CONCURRENTLY"
        return f"DROP INDEX{how} IF EXISTS {qualified(self.table.schema_name, self.name)}"

    @property
    def bytes(self) -> int:
        """Estimate; 0 where there is none (trigram, expression)."""
        return 0 if self.expression or self.method != "btree" else btree_bytes(self.table, self.columns)

    @property
    def together(self) -> bool:
        """Only useful with another one: all of its drafts are branches of an OR."""
        return all(draft.together for draft in self.drafts)


@dataclass(frozen=True)
class IndexAdvice:
    """All proposals, and why other hits have none."""

    proposals: tuple[IndexProposal, ...]
    refused: tuple[NoDraft, ...]


def index_candidates(hits: Sequence[PlanHit], table: StatementTable, plans: PlanSet, catalog: Catalog) -> tuple[IndexCandidate, ...]:
    """One per index and statement, so that each statement's gain can be asked about; at most MAX_CANDIDATES, the weightiest first."""
    found = [
        IndexCandidate(
            ddl=proposal.ddl,
            table=f"{proposal.table.schema_name}.{proposal.table.name}",
            columns=proposal.columns,
            fingerprint=fingerprint,
            hit_rule=rule,
            bytes=proposal.bytes,
            expression=bool(proposal.expression) or proposal.method != "btree",
        )
        for proposal in propose_indexes(hits, table, plans, catalog).proposals
        for fingerprint, rule in {draft.hit.fingerprint: draft.hit.rule for draft in reversed(proposal.drafts)}.items()
    ]
    return tuple(found[:MAX_CANDIDATES])


def propose_indexes(hits: Sequence[PlanHit], table: StatementTable, plans: PlanSet, catalog: Catalog) -> IndexAdvice:
    """What hits ask for, merged; deterministic: equal input gives equal names and order."""
    tables = Tables(catalog)
    statements = {one.fingerprint: one for one in table.statements}
    views = PlanViews(plans)
    drafts: list[Draft] = []
    refused: list[NoDraft] = []
    for hit in sorted((one for one in hits if one.rule in INDEX_RULES), key=lambda one: _order(one, statements)):
        view = views.view(hit)
        if view is None:
            continue
        made = drafts_of(hit, view, tables, statements.get(hit.fingerprint))
        if isinstance(made, NoDraft):
            refused.append(made)
        else:
            drafts += made
    taken: dict[str, set[str]] = {}
    proposals = []
    for group in _merged(drafts):
        schema = group[0].table.schema_name
        names = taken.setdefault(schema, taken_names(catalog, schema))
        proposals.append(_proposal(group, names))
    return IndexAdvice(tuple(proposals), tuple(refused))


class PlanViews:
    """Plans of a run by statement and sample, parsed when asked for."""

    def __init__(self, plans: PlanSet) -> None:
        self._plans = {one.fingerprint: one for one in plans.statements}
        self._views: dict[tuple[str, int], PlanView | None] = {}

    def view(self, hit: PlanHit) -> PlanView | None:
        return self.of(hit.fingerprint, hit.sample)

    def of(self, fingerprint: str, sample: int) -> PlanView | None:
        key = (fingerprint, sample)
        if key not in self._views:
            taken = self._plans[fingerprint].plans if fingerprint in self._plans else ()
            try:
                self._views[key] = PlanView(parse_plan(taken[sample].plan)) if 0 <= sample < len(taken) else None
            except NotAPlan:
                self._views[key] = None
        return self._views[key]


def _order(hit: PlanHit, statements: dict[str, Statement]) -> tuple[float, str, str, int, int]:
    share = statements[hit.fingerprint].share if hit.fingerprint in statements else 0.0
    return -hit.share * share, hit.fingerprint, hit.rule, hit.sample, hit.node


def _merged(drafts: Iterable[Draft]) -> list[list[Draft]]:
    """Groups of drafts that one index serves; the first of a group is the widest."""
    groups: list[list[Draft]] = []
    for draft in drafts:
        for group in groups:
            if _serves_all(group, draft):
                group.append(draft)
                break
        else:
            groups.append([draft])
    return groups


def _serves_all(group: list[Draft], draft: Draft) -> bool:
    if group[0].table is not draft.table and group[0].table != draft.table:
        return False
    return _keys_of([*group, draft]) is not None


def _keys_of(group: Sequence[Draft]) -> Draft | None:
    """The widest draft of a group with its equalities in an order that serves all of them; None if there is no such order."""
    widest = max(group, key=lambda one: (len(one.equalities) + len(one.tail), len(one.tail)))
    if widest.expression or widest.method != "btree" or any(one.expression or one.method != "btree" for one in group):
        return widest if len({(one.expression, one.operator_class, one.method, one.equalities, one.tail) for one in group}) == 1 else None
    chain = sorted({frozenset(one.equalities) for one in group}, key=len)
    if any(not small <= large for small, large in pairwise(chain)):
        return None
    if len(widest.equalities) < len(chain[-1]) or len(widest.equalities) + len(widest.tail) > MAX_KEYS:
        return None
    for one in group:
        if one.tail and (set(one.equalities) != set(widest.equalities) or widest.tail[: len(one.tail)] != one.tail):
            return None
    ordered: list[str] = []
    for step in chain:
        ordered += sorted(step - set(ordered), key=lambda name: widest.equalities.index(name))
    return replace(widest, equalities=tuple(ordered))


def _proposal(group: list[Draft], taken: set[str]) -> IndexProposal:
    keys = _keys_of(group)
    assert keys is not None, "groups are made of drafts that go together"
    words = [word_of(keys.expression)] if keys.expression else [*keys.equalities, *keys.tail_columns]
    name = object_name([keys.table.name, *words], "trgm_idx" if keys.trigrams else "idx", taken)
    return IndexProposal(
        keys.table,
        name,
        keys.equalities,
        keys.tail,
        keys.tail_columns,
        keys.expression,
        keys.method,
        keys.trigrams,
        tuple(group),
        keys.operator_class,
    )
