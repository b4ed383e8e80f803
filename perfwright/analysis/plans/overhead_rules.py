"""Time that is not spent in the plan's own work: R18, R21, R26, R27, R28.

Formulas: tools-db 2.1; PostgreSQL documentation, "How Parallel Query Works", "Just-in-Time Compilation", "Using EXPLAIN" (triggers,
planning time), ri_triggers.c for what a foreign key's trigger does.
"""

from collections.abc import Iterator

from perfwright.analysis.plans.examined import ExaminedPlan, in_list, told
from perfwright.analysis.plans.plan_tree import PlanNode, Trigger
from perfwright.models.database import ForeignKeyFacts, TableFacts
from perfwright.models.query_performance import PlanHit

MIN_READ_BLOCKS, IO_SHARE = 1_000.0, 0.5
"""tools-db R21: 8 MB."""
JIT_SHARE, MIN_JIT_MS = 0.3, 5.0
"""tools-db R26; compiling a small expression takes some milliseconds whatever the query."""
TRIGGER_SHARE = 0.3
"""tools-db R27."""
SLOW_TRIGGER_MS = 1.0
"""Per call: an index finds the rows of one key in a tenth of it; a full scan of ten thousand rows takes about that."""
MIN_PLANNING_MS = 10.0
"""tools-db R28."""


def rules(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """All hits of this family."""
    if not plan.analyzed:
        return
    yield from planning_dominates(plan)
    if plan.trivial:
        return
    for node in plan.tree.nodes:
        yield from missing_workers(plan, node)
    yield from cold_reads(plan)
    yield from jit_dominates(plan)
    yield from slow_triggers(plan)


def missing_workers(plan: ExaminedPlan, node: PlanNode) -> Iterator[PlanHit]:
    """R18: fewer parallel workers started than planned: the server had none left (max_parallel_workers); share >= 0.1."""
    planned, launched = node.number("Workers Planned"), node.number("Workers Launched")
    if (
        node.kind == "gather"
        and node.executed
        and launched < planned
        and node.optional("Workers Launched") is not None
        and plan.counts(node)
    ):
        yield plan.hit(
            "R18",
            node,
            f"{told(planned)} parallel workers were planned and {told(launched)} started: no more were free",
            numbers={"workers_planned": planned, "workers_launched": launched},
        )


def cold_reads(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """R21: most of the time went into reading blocks from outside of shared buffers: the cache was cold, or is too small.

    Read blocks > 1,000 and read time > 50 % of the execution, on the clock; needs track_io_timing. Reported at the node that read longest.
    """
    root = plan.tree.root
    read = root.number("Shared Read Blocks")
    if read <= MIN_READ_BLOCKS or plan.times.unit != "ms":
        return
    own = plan.times.own_of([node.io_read_ms for node in plan.tree.nodes])
    clock = [time / plan.times.processes[number] for number, time in enumerate(own)]
    total = sum(clock)
    if total <= IO_SHARE * plan.times.total:
        return
    node = plan.tree.nodes[max(range(len(clock)), key=lambda number: (clock[number], -number))]
    yield plan.hit(
        "R21",
        node,
        f"{told(total)} of {told(plan.times.total)} ms were spent reading {told(read)} blocks that were not in shared buffers",
        numbers={"read_blocks": read, "read_ms": total, "execution_ms": plan.times.total},
        share=total / plan.times.total,
    )


def jit_dominates(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """R26: compiling the query took longer than it saved.

    JIT time >= 30 % of the execution and >= 5 ms. It is a sum over processes, which compile beside each other, so it is divided by their
    number.
    """
    processes = max(plan.times.processes, default=1.0)
    jit = plan.tree.jit_ms / processes
    execution = plan.tree.execution_ms or (plan.times.total if plan.tree.timed else 0.0)
    if jit >= MIN_JIT_MS and jit >= JIT_SHARE * execution > 0:
        yield plan.hit(
            "R26",
            plan.tree.root,
            f"Just-in-time compiling of {told(plan.tree.jit_functions)} functions took {told(jit)} of {told(execution)} ms",
            numbers={"jit_ms": jit, "execution_ms": execution, "functions": plan.tree.jit_functions},
            relation="",
            share=jit / execution,
        )


def slow_triggers(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """R27: the statement waits for its triggers.

    Trigger time >= 30 % of the execution and >= 1 ms. A foreign key's action on the referenced table looks up the referencing rows for
    every row deleted or updated: reported when the catalog has no index that begins with the key's columns there, or, without a catalog,
    when a call takes 1 ms. Its check on the referencing table looks up a primary key and is healthy. Other triggers are reported from 1 ms
    a call.
    """
    for trigger in plan.tree.triggers:
        if plan.times.total <= 0 or trigger.time_ms < max(1.0, TRIGGER_SHARE * plan.times.total) or trigger.calls < 1:
            continue
        slow = trigger.time_ms / trigger.calls >= SLOW_TRIGGER_MS
        checks = trigger.name.startswith("RI_ConstraintTrigger_c")
        if checks:
            continue
        found = _foreign_key(plan, trigger)
        if trigger.constraint and found:
            table, key = found
            if not _indexed(table, key):
                yield _trigger_hit(
                    plan,
                    trigger,
                    f"The foreign key {trigger.constraint} takes {trigger.time_ms / plan.times.total:.0%} of the time, "
                    f"{told(trigger.calls)} times a scan of "
                    f"{table.title}: no index begins with {in_list(key.columns)}",
                    table.title,
                    key.columns,
                )
        elif slow:
            what = f"The foreign key {trigger.constraint}" if trigger.constraint else f"The trigger {trigger.name}"
            yield _trigger_hit(
                plan,
                trigger,
                f"{what} on {trigger.relation} takes {trigger.time_ms / plan.times.total:.0%} of the time, "
                f"{trigger.time_ms / trigger.calls:.1f} ms "
                f"for each of {told(trigger.calls)} calls",
                trigger.relation,
                (),
            )


def _trigger_hit(plan: ExaminedPlan, trigger: Trigger, sentence: str, relation: str, columns: tuple[str, ...]) -> PlanHit:
    return plan.hit(
        "R27",
        _writing(plan, trigger),
        sentence,
        numbers={"trigger_ms": trigger.time_ms, "calls": trigger.calls, "execution_ms": plan.times.total},
        relation=relation,
        columns=columns,
        share=trigger.time_ms / plan.times.total,
    )


def _writing(plan: ExaminedPlan, trigger: Trigger) -> PlanNode:
    """The node whose writes fire the trigger."""
    writing = [node for node in plan.tree.nodes if node.kind == "modify table"]
    return next((node for node in writing if node.text("Relation Name") == trigger.relation), writing[0] if writing else plan.tree.root)


def _foreign_key(plan: ExaminedPlan, trigger: Trigger) -> tuple[TableFacts, ForeignKeyFacts] | None:
    for table in plan.catalog.tables if plan.catalog else ():
        for key in table.foreign_keys:
            if key.name == trigger.constraint and key.references_table == trigger.relation:
                return table, key
    return None


def _indexed(table: TableFacts, key: ForeignKeyFacts) -> bool:
    """Whether some index begins with the key's columns, in any order."""
    return any(
        index.valid and not index.predicate and {one.strip('"') for one in index.keys[: len(key.columns)]} == set(key.columns)
        for index in table.indexes
    )


def planning_dominates(plan: ExaminedPlan) -> Iterator[PlanHit]:
    """R28: planning takes longer than executing: > 10 ms and > the execution. Prepared statements or fewer partitions help."""
    planning, execution = plan.tree.planning_ms, plan.takes_ms
    if planning is not None and execution is not None and planning > max(MIN_PLANNING_MS, execution):
        yield plan.hit(
            "R28",
            plan.tree.root,
            f"Planning takes {planning:.1f} ms and executing {execution:.1f} ms",
            numbers={"planning_ms": planning, "execution_ms": execution},
            relation="",
            share=planning / (planning + execution),
        )
