"""Fixes that cost a minute: ANALYZE, VACUUM, a statistics target, extended statistics, work_mem for one role.

Each is a `Change` with the exact SQL that does and undoes it. VACUUM is marked irreversible: no undo brings back the dead
rows, which a person or a standby may still want to see. ANALYZE is not (`statistics_fixes`).
"""

from collections.abc import Iterable, Sequence

from perfwright.analysis.plans.plan_tree import PlanNode
from perfwright.analysis.query_advice.existing_indexes import NoDraft
from perfwright.analysis.query_advice.identifiers import literal, qualified, quoted
from perfwright.analysis.query_advice.index_candidates import PlanViews
from perfwright.analysis.query_advice.memory_needs import (
    DEFAULT_WORK_MEM_BYTES,
    ceiling_bytes,
    needed_bytes,
    rounded,
    setting_bytes,
    told,
)
from perfwright.analysis.query_advice.plan_view import PlanView, Tables
from perfwright.analysis.query_advice.statistics_fixes import CheapFix, Server, for_statistics
from perfwright.models.change import Change
from perfwright.models.database import Catalog, TableFacts
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import PlanSet
from perfwright.models.statement import Statement, StatementTable

MEMORY_RULES = frozenset({"R04", "R06", "R07", "R08", "R19", "R29"})
STATISTICS_RULES = frozenset({"R09", "R10"})
VACUUM_RULES = frozenset({"R05", "R20"})
DEAD_SHARE = 0.1
"""Half of autovacuum_vacuum_scale_factor as it comes: VACUUM finds something to free."""


def cheap_fixes(
    hits: Sequence[PlanHit], table: StatementTable, plans: PlanSet, catalog: Catalog, refused: Iterable[NoDraft] = ()
) -> tuple[CheapFix, ...]:
    """Fixes by kind and subject; hits that ask for the same are put together. `refused`: hits for which statistics are to blame instead of
    a missing index."""
    tables, views = Tables(catalog), PlanViews(plans)
    server = Server(plans.database, catalog, tables)
    statements = {one.fingerprint: one for one in table.statements}
    blamed = {_key(one.hit): one.table for one in refused if one.refusal == "stale statistics"}
    found: list[CheapFix] = []
    for hit in hits:
        view = views.view(hit)
        node = view.node(hit.node) if view else None
        if view is None or node is None:
            continue
        statement = statements.get(hit.fingerprint)
        accused = blamed.get(_key(hit))
        if hit.rule in STATISTICS_RULES or accused is not None:
            found += for_statistics(hit, view, node, statement, accused, server)
        elif hit.rule in VACUUM_RULES:
            found += _vacuum(hit, tables.find(hit.relation, statement))
        elif hit.rule in MEMORY_RULES:
            found += _work_mem(hit, view, node, statement, plans)
        elif hit.rule == "R26":
            found += _without_jit(hit, statement, plans)
    return _together(found)


def _vacuum(hit: PlanHit, table: TableFacts | None) -> list[CheapFix]:
    if table is None or table.kind == "foreign table":
        return []
    dead = (table.dead_rows or 0) / max(1.0, float(table.live_rows or table.rows or 1))
    if hit.rule == "R20" and dead < DEAD_SHARE:
        return []
    change = Change(
        kind="sql",
        title=f"Vacuum {table.title}",
        apply=f"VACUUM (ANALYZE) {qualified(table.schema_name, table.name)};",
        undo="SELECT 1; -- nothing to restore: VACUUM frees room of dead rows, as autovacuum does",
        risk="irreversible",
        undo_cost="Dead rows cannot be brought back, nor can the statistics of before",
    )
    seen = f"has {table.dead_rows:,} dead rows" if hit.rule == "R20" and table.dead_rows else "is not marked all-visible in large parts"
    return [CheapFix("vacuum", f"{table.schema_name}.{table.name}", change, f"{table.title} {seen}", (hit,), (table,))]


def _work_mem(hit: PlanHit, view: PlanView, node: PlanNode, statement: Statement | None, plans: PlanSet) -> list[CheapFix]:
    database = plans.database
    need = needed_bytes(node, view.tree, database)
    current = setting_bytes(database, "work_mem") or DEFAULT_WORK_MEM_BYTES
    wanted = max(rounded(need), rounded(2 * current))
    role = statement.roles[0] if statement and statement.roles else ""
    if need <= 0 or wanted > ceiling_bytes(database) or not role:
        return []
    whose = f"ALTER ROLE {quoted(role)} IN DATABASE {quoted(database.database)}"
    change = Change(
        kind="settings",
        title=f"Set work_mem of {role} to {told(wanted)}",
        apply=f"{whose} SET work_mem = {literal(told(wanted))};",
        undo=f"{whose} RESET work_mem;",
        risk="reload",
        undo_cost="Sessions keep what they began with. If the role had its own work_mem here (pg_db_role_setting), set that again",
    )
    why = f"about {told(rounded(need))} would hold what went to disk; work_mem is {told(current)}"
    return [CheapFix("work_mem", role, change, why, (hit,))]


def _without_jit(hit: PlanHit, statement: Statement | None, plans: PlanSet) -> list[CheapFix]:
    role = statement.roles[0] if statement and statement.roles else ""
    if not role:
        return []
    whose = f"ALTER ROLE {quoted(role)} IN DATABASE {quoted(plans.database.database)}"
    change = Change(
        kind="settings",
        title=f"No just-in-time compiling for {role}",
        apply=f"{whose} SET jit = off;",
        undo=f"{whose} RESET jit;",
        risk="reload",
        undo_cost="Sessions keep what they began with. If the role had its own setting of jit here (pg_db_role_setting), set that again",
    )
    return [CheapFix("jit", role, change, f"compiling costs the statements of {role} more than it saves", (hit,))]


def _together(found: list[CheapFix]) -> tuple[CheapFix, ...]:
    """One per kind and subject: hits joined; of several amounts of memory the largest."""
    merged: dict[tuple[str, str], CheapFix] = {}
    for one in found:
        key = (one.kind, one.subject)
        before = merged.get(key)
        if before is None:
            merged[key] = one
            continue
        larger = one if one.kind == "work_mem" and _megabytes(one) > _megabytes(before) else before
        hits = tuple({_key(hit): hit for hit in (*before.hits, *one.hits)}.values())
        merged[key] = CheapFix(larger.kind, larger.subject, larger.change, larger.why, hits, larger.tables)
    return tuple(merged.values())


def _megabytes(fix: CheapFix) -> int:
    amount = fix.change.title.rpartition(" to ")[2]
    return int(amount[:-2]) * (1024 if amount.endswith("GB") else 1)


def _key(hit: PlanHit) -> tuple[str, str, int, int]:
    return hit.fingerprint, hit.rule, hit.sample, hit.node
