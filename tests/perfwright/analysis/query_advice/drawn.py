"""Catalogs, plans and hits of a small shop, drawn in a few words.

orders  id, customer_id, status, total, created_at, note     1,000,000 rows, indexed by id
customers  id, email, city, country, active, joined           50,000 rows, indexed by id
"""

from typing import Any

from perfwright.analysis.plans.judge import judge_plans
from perfwright.analysis.query_advice.ranking import rank
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import Catalog, ColumnFacts, DatabaseFacts, IndexFacts, Setting, TableFacts
from perfwright.models.query_advice import AdviceToTry, RankedQueryFindings, RankQueryFindings, TriedAdvice
from perfwright.models.query_performance import ExplainOutcome, PlanHit, QueryPerformanceRequest, VerifiedRewrite, WaitShare, WhatIf
from perfwright.models.query_steps import RULE_FAMILIES, ExplainedStatements, GroupedStatements, PlanSet, StatementPlans, TakenPlan
from perfwright.models.statement import Statement, StatementSample, StatementTable

REF = ArtifactRef(uri="run/plans.json.gz", sha256="0" * 64, size_bytes=1, media_type="application/gzip")
FINGERPRINT = "00000000000000aa"


def column(
    name: str, kind: str = "integer", *, distinct: float | None = 100.0, not_null: bool = False, width: int = 8, **more: Any
) -> ColumnFacts:
    return ColumnFacts(name=name, type=kind, distinct=distinct, not_null=not_null, average_width_bytes=width, null_share=0.0, **more)


def index(name: str, *keys: str, method: str = "btree", **more: Any) -> IndexFacts:
    return IndexFacts(name=name, definition=f"CREATE INDEX {name} ...", keys=keys, method=method, **more)


def table(
    name: str, *columns: ColumnFacts, rows: float = 1_000_000, indexes: tuple[IndexFacts, ...] = (), schema: str = "public", **more: Any
) -> TableFacts:
    facts: dict[str, Any] = {"analyzed_at": "2026-01-01", "modified_rows": 0, "live_rows": int(rows)}
    return TableFacts(schema_name=schema, name=name, rows=rows, columns=columns, indexes=indexes, **(facts | more))


ORDERS = table(
    "orders",
    column("id", "bigint", distinct=-1.0, not_null=True),
    column("customer_id", "bigint", distinct=50_000, not_null=True),
    column("status", "text", distinct=4),
    column("total", "numeric(12,2)", distinct=10_000),
    column("created_at", "timestamp without time zone", distinct=-0.9),
    column("note", "text", distinct=-0.5, width=40),
    indexes=(index("orders_pkey", "id", unique=True, primary=True),),
)
CUSTOMERS = table(
    "customers",
    column("id", "bigint", distinct=-1.0, not_null=True),
    column("email", "character varying(200)", distinct=-1.0, width=24),
    column("city", "text", distinct=500),
    column("country", "text", distinct=20),
    column("active", "boolean", distinct=2),
    column("joined", "timestamp with time zone", distinct=-0.8),
    rows=50_000,
    indexes=(index("customers_pkey", "id", unique=True, primary=True),),
)
TINY = table("settings", column("name", "text", distinct=-1.0), rows=40)
SHOP = Catalog(database="shop", tables=(ORDERS, CUSTOMERS, TINY))


def database(version: int = 150_018, **settings: str) -> DatabaseFacts:
    usual = {"work_mem": "4MB", "effective_cache_size": "8GB", "hash_mem_multiplier": "2"} | settings
    told = tuple(Setting(name=name, value=value) for name, value in usual.items())
    return DatabaseFacts(system="postgresql", version="15.18", version_number=version, database="shop", settings=told)


def node(
    kind: str,
    *below: dict[str, Any],
    on: str = "",
    ms: float = 100.0,
    rows: float = 1,
    planned: float | None = None,
    loops: float = 1,
    **more: Any,
) -> dict[str, Any]:
    """A plan node: `node("Seq Scan", on="orders", rows=3, filter="(customer_id = 5)", removed=999_997)`. `ms` of one loop, children included."""
    names = {
        "filter": "Filter",
        "cond": "Index Cond",
        "removed": "Rows Removed by Filter",
        "index": "Index Name",
        "sort": "Sort Key",
        "as_": "Parent Relationship",
    }
    told = {names.get(name, name.replace("_", " ").title()): value for name, value in more.items()}
    relation = {"Relation Name": on.split(" ")[0], "Alias": on.split(" ")[-1]} if on else {}
    return {
        "Node Type": kind,
        **relation,
        "Startup Cost": 0.0,
        "Total Cost": ms * 1_000,
        "Plan Rows": rows if planned is None else planned,
        "Actual Startup Time": 0.0,
        "Actual Total Time": ms,
        "Actual Rows": rows,
        "Actual Loops": loops,
        **told,
        **({"Plans": [{"Parent Relationship": ("Outer", "Inner")[number % 2]} | one for number, one in enumerate(below)]} if below else {}),
    }


def plan(root: dict[str, Any], **more: Any) -> dict[str, object]:
    return {"Plan": root, "Execution Time": root["Actual Total Time"] * root["Actual Loops"], "Planning Time": 0.2, **more}


class Run:
    """Statements with their plans, as one run would have them."""

    def __init__(self, catalog: Catalog = SHOP, facts: DatabaseFacts | None = None, seconds: float = 60.0) -> None:
        self.catalog, self.database, self.seconds = catalog, facts or database(), seconds
        self._statements: list[Statement] = []
        self._plans: list[StatementPlans] = []

    def add(
        self,
        root: dict[str, Any] | None = None,
        *,
        text: str = "SELECT 1",
        share: float = 0.5,
        calls: int = 1_000,
        fingerprint: str = "",
        role: str = "app",
        safety: str = "reads only",
        tables: tuple[str, ...] = (),
        document: dict[str, object] | None = None,
        **more: Any,
    ) -> str:
        """A statement that takes `share` of the minute, with one plan (`document`: as EXPLAIN gave it); returns its fingerprint."""
        name = fingerprint or f"{len(self._statements) + 0xAA:016x}"
        total = share * 60_000
        sample = StatementSample(text=text, source="log")
        self._statements.append(
            Statement.model_validate(
                {
                    "fingerprint": name,
                    "text": text,
                    "kind": "select",
                    "safety": safety,
                    "calls": calls,
                    "total_ms": total if calls else 0.0,
                    "mean_ms": total / calls if calls else 0.0,
                    "share": share if calls else 0.0,
                    "roles": (role,) if role else (),
                    "samples": (sample.model_dump(),),
                    "sources": ("pg_stat_statements",),
                    "tables": tables,
                }
            )
        )
        taken: tuple[TakenPlan, ...] = ()
        if root is not None:
            whole = document or plan(root, **more)
            taken = (TakenPlan(sample=sample, mode="analyzed", plan=whole, execution_ms=float(str(whole["Execution Time"]))),)
        mode = "analyzed" if taken else "not explained"
        outcome = ExplainOutcome.model_validate(
            {"fingerprint": name, "mode": mode, "reason": "" if taken else "it was cut", "plans": len(taken)}
        )
        self._plans.append(StatementPlans(fingerprint=name, outcome=outcome, plans=taken))
        return name

    @property
    def table(self) -> StatementTable:
        return StatementTable(statements=tuple(self._statements), total_ms=60_000.0, seconds=self.seconds, sources=("pg_stat_statements",))

    @property
    def plans(self) -> PlanSet:
        return PlanSet(database=self.database, statements=tuple(self._plans))

    @property
    def hits(self) -> tuple[PlanHit, ...]:
        """What the rules find."""
        return tuple(hit for family in RULE_FAMILIES for hit in judge_plans(self.plans, self.table, self.catalog, family).hits)

    def question(
        self,
        hits: tuple[PlanHit, ...] | None = None,
        *,
        what_ifs: tuple[WhatIf, ...] = (),
        rewrites: tuple[VerifiedRewrite, ...] = (),
        waits: tuple[WaitShare, ...] = (),
    ) -> RankQueryFindings:
        chosen = tuple(one.fingerprint for one in self._statements)
        grouped = GroupedStatements(
            table=REF,
            statements=len(chosen),
            total_ms=60_000.0,
            top=(),
            chosen=chosen,
            chosen_share=sum(one.share for one in self._statements),
        )
        return RankQueryFindings(
            request=QueryPerformanceRequest(target="shop-db"),
            database=self.database,
            grouped=grouped,
            explained=ExplainedStatements(plans=REF, outcomes=tuple(one.outcome for one in self._plans)),
            catalog=REF,
            hits=self.hits if hits is None else hits,
            to_try=AdviceToTry(),
            tried=TriedAdvice(what_ifs=what_ifs, rewrites=rewrites),
            waits=waits,
            artifact_prefix="run",
        )


def hit(
    rule: str,
    number: int = 0,
    *,
    fingerprint: str = FINGERPRINT,
    relation: str = "orders",
    share: float = 0.9,
    columns: tuple[str, ...] = (),
    **more: Any,
) -> PlanHit:
    facts = {"node_title": f"Seq Scan on {relation}", "statement": f"{rule} was seen on {relation}"} | more
    return PlanHit(rule=rule, fingerprint=fingerprint, node=number, relation=relation, share=share, columns=columns, **facts)


def whole_orders(
    filter_: str = "(customer_id = 5)", *, rows: float = 20, removed: float = 999_980, ms: float = 100.0, **more: Any
) -> dict[str, Any]:
    """orders read whole to keep a few rows."""
    return node("Seq Scan", on="orders", rows=rows, filter=filter_, removed=removed, ms=ms, **more)


def ranked(run: Run, hits: tuple[PlanHit, ...] | None = None, **more: Any) -> RankedQueryFindings:
    """What the ranking makes of the run."""
    return rank(run.question(hits, **more), run.table, run.plans, run.catalog)
