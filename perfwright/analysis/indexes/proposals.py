"""From verified indexes to what is put before a person: exact statements, gains, sizes, and what writers pay."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Literal, Protocol

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.statement_texts import RunnableStatement
from perfwright.analysis.indexes.verification import VerifiedQuery
from perfwright.analysis.indexes.workload import Workload
from perfwright.analysis.indexes.write_costs import ENTRY_BYTES, ROW_BYTES
from perfwright.analysis.query_advice.identifiers import qualified
from perfwright.models.database import Catalog
from perfwright.models.index_strategy import ExistingIndexes, IndexProposal, IndexStrategyRequest, QueryEffect, WriteEffect

EFFECTS_TOLD = 60


class Verified(Protocol):
    """What is left of a set, and its measured effects (`activities.index_measuring.VerifiedChoice`)."""

    @property
    def indexes(self) -> frozenset[IndexDefinition]: ...

    @property
    def queries(self) -> Mapping[int, VerifiedQuery]: ...

    @property
    def used(self) -> Mapping[int, frozenset[IndexDefinition]]: ...


class WalOfWrite(Protocol):
    """WAL of one write (`activities.index_clone.Written`)."""

    @property
    def records(self) -> int: ...

    @property
    def bytes(self) -> int: ...

    @property
    def updated(self) -> int: ...

    @property
    def hot(self) -> int: ...


def created(
    kept: Verified, workload: Workload, statements: Sequence[RunnableStatement], taken: Iterable[str], sizes: Mapping[IndexDefinition, int]
) -> tuple[IndexProposal, ...]:
    """Indexes to make, the one that helps most first. `taken`: names of relations there are."""
    names = set(taken)
    helped: dict[IndexDefinition, list[int]] = {one: [] for one in kept.indexes}
    for query, read in kept.used.items():
        for one in read & kept.indexes:
            helped[one].append(query)
    gains = {
        one: sum(workload.problem.weights[query] * (1 - kept.queries[query].ratio) for query in queries) for one, queries in helped.items()
    }
    found = []
    for one in sorted(kept.indexes, key=lambda one: (-gains[one], one.title)):
        name = one.name(names)
        full = qualified(one.schema_name, name)
        found.append(
            IndexProposal(
                title=one.title,
                action="create",
                name=full,
                ddl=one.ddl(name, concurrently=True),
                undo=f"DROP INDEX CONCURRENTLY {full}",
                reason=_helps([kept.queries[query] for query in helped[one]]),
                bytes=sizes[one],
                helps=tuple(dict.fromkeys(statements[workload.statements[query]].fingerprint for query in helped[one])),
            )
        )
    return tuple(found)


def _helps(queries: Sequence[VerifiedQuery]) -> str:
    best = min(queries, key=lambda one: one.ratio, default=None)
    if best is None:
        return "no query reads it"
    return f"{len(queries)} queries read it; the one that gains most takes {best.ratio:.2f} of its time"


def query_effects(kept: Verified, workload: Workload, statements: Sequence[RunnableStatement]) -> tuple[QueryEffect, ...]:
    """Of every query whose plan changes, those that gain most first."""
    found = []
    for query, one in kept.queries.items():
        statement = statements[workload.statements[query]]
        found.append(
            QueryEffect(
                fingerprint=statement.fingerprint,
                text=statement.shown,
                weight=round(workload.problem.weights[query], 4),
                ratio=one.ratio,
                interval=one.interval,
                pairs=one.pairs,
                slower_pairs=one.slower_pairs,
                blocks_before=one.blocks_before,
                blocks_after=one.blocks_after,
                suspicious=one.suspicious,
            )
        )
    return tuple(sorted(found, key=lambda one: (not one.suspicious, one.ratio))[:EFFECTS_TOLD])


def write_effects(
    statements: Sequence[RunnableStatement], before: Mapping[str, WalOfWrite | str], after: Mapping[str, WalOfWrite | str]
) -> tuple[WriteEffect, ...]:
    """Of the writes that were measured; with the reason where one was not."""
    known = {one.fingerprint: one for one in statements}
    found = []
    for name, then in before.items():
        now = after.get(name, "")
        told = then if isinstance(then, str) else now if isinstance(now, str) else ""
        if isinstance(then, str) or isinstance(now, str):
            found.append(
                WriteEffect(fingerprint=name, text=known[name].shown, weight=known[name].calls, bytes_before=0, bytes_after=0, note=told)
            )
            continue
        found.append(
            WriteEffect(
                fingerprint=name,
                text=known[name].shown,
                weight=known[name].calls,
                bytes_before=then.bytes,
                bytes_after=now.bytes,
                records_before=then.records,
                records_after=now.records,
                updated_rows=then.updated,
                hot_before=then.hot,
                hot_after=now.hot,
            )
        )
    return tuple(found)


def measured_growth(statements: Sequence[RunnableStatement], effects: Sequence[WriteEffect]) -> float | None:
    """Share of more WAL over all writes, by their calls; None where no write could be measured. 0 where the workload has none at all."""
    measured = [one for one in effects if not one.note]
    before = sum(one.weight * one.bytes_before for one in measured)
    if not any(one.writes for one in statements) or before <= 0:
        return None
    return sum(one.weight * one.bytes_after for one in measured) / before - 1


def estimated_growth(catalog: Catalog, indexes: Iterable[IndexDefinition]) -> tuple[float, Literal["estimated", "no writes"]]:
    """From the rows that tables took since their counters began: each insert, and update that is not heap-only, writes an entry more."""
    before = after = 0.0
    added: dict[tuple[str, str], int] = {}
    for one in indexes:
        added[one.schema_name, one.table_name] = added.get((one.schema_name, one.table_name), 0) + 1
    for table in catalog.tables:
        rows = (table.inserted_rows or 0) + max(0, (table.updated_rows or 0) - (table.hot_updated_rows or 0))
        width = ROW_BYTES + sum(one.average_width_bytes or 0 for one in table.columns)
        before += rows * (width + len(table.indexes) * ENTRY_BYTES)
        after += rows * (width + (len(table.indexes) + added.get((table.schema_name, table.name), 0)) * ENTRY_BYTES)
    return (after / before - 1, "estimated") if before else (0.0, "no writes")


def dropped(existing: ExistingIndexes, request: IndexStrategyRequest) -> tuple[IndexProposal, ...]:
    """Existing indexes that are surely not needed, as far as the request wants that."""
    kinds = [kind for kind, wanted in (("duplicate", request.drop_redundant), ("prefix", request.drop_redundant)) if wanted]
    found = []
    for one in existing.noted:
        invalid = one.kind == "invalid" and request.drop_invalid
        if one.kind not in kinds and not invalid:
            continue
        title = f"drop {one.name}"
        if title in request.leave_out:
            continue
        found.append(
            IndexProposal(
                title=title,
                action="remove invalid" if invalid else "drop",
                name=one.name,
                ddl=f"DROP INDEX CONCURRENTLY {one.name}",
                undo="; ".join(one.undo),
                reason=one.reason,
                bytes=one.bytes,
                keeper=one.keeper,
            )
        )
    return tuple(found)
