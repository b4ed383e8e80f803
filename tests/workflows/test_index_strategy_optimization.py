"""IndexStrategyOptimization on real databases: what is missing is made and kept with evidence, what is not is left alone."""

from pathlib import Path

import asyncpg
import pytest
from temporalio.client import Client

from tests.databases import observed_postgres
from tests.needs import needs
from tests.postgres import PostgresServer
from tests.workflows.indexing import COVERING, QUERIES, answer, begun, shop
from tests.workflows.short_trials import quick_trials
from tests.workflows.watching_runs import open_gate

__all__ = ["observed_postgres", "quick_trials"]

pytestmark = [needs("temporal"), pytest.mark.timeout(600), pytest.mark.usefixtures("quick_trials")]


async def test_a_missing_index_is_made_and_kept(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """Found from the statements, verified on a clone, made without stopping writers, measured, kept, and used: all of it is told."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres) as lab, lab.traffic():
        before = await lab.indexes()
        result = await lab.result_of(await lab.start(watch_s=4.0))
        after = await lab.indexes()
        assert result.verdict == "passed", (result.summary, result.quality_gates)
        details = result.details
        assert details.strategy and details.search and details.existing
        kept = [one for one in details.tried if one.end == "kept"]
        assert kept and all(one.proposal.title.startswith("orders(customer") for one in kept), (result.summary, details)
        assert all(one.ratio is not None and one.ratio < 0.8 and one.change_id for one in kept)
        made = set(after) - set(before)
        assert len(made) == len(kept) and set(before) <= set(after)
        assert all("(customer" in definition and valid for definition, valid, *_ in made)
        assert details.strategy.geomean_gain > 1.2 and not any(one.suspicious for one in details.strategy.effects)
        assert [(one.updated_rows, one.hot_before, one.hot_after) for one in details.strategy.writes] == [(1, 1, 1)] * 2
        assert all(one.scans > 0 for one in details.use) and len(details.use) == len(kept)
        assert details.search.clone == "dumped and restored" and not await lab.clones()
        assert any(finding.id.startswith("index:missing:orders(customer") for finding in result.findings)
        assert details.delivered and result.report.html


async def test_the_healthy_twin_is_left_alone(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """With the index that its queries need there is nothing to ask, nothing to change, and the run says so."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, COVERING, environment="asking") as lab:
        before = await lab.indexes()
        handle = await lab.start()
        await answer(handle, "findings_review")
        result = await lab.result_of(handle)
        assert result.verdict == "passed" and not result.details.tried and not result.findings, (result.summary, result.details.tried)
        assert await lab.indexes() == before and not await lab.clones()


@pytest.mark.paired
async def test_refused_at_either_gate_the_catalog_is_as_it_was(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """No to the strategy, and no to keeping what was measured: pg_index is the same, field by field."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, environment="asking") as lab:
        before = await lab.indexes()
        handle = await lab.start()
        await answer(handle, "strategy", "request_changes", overrides={"add_indexes": ["CREATE INDEX ON visits (seen)"]})
        await answer(handle, "strategy", "reject", revision=2)
        result = await lab.result_of(handle)
        assert result.verdict == "rejected" and await lab.indexes() == before
        strategy = result.details.strategy
        assert strategy and any(one.startswith("visits(seen): no query") for one in strategy.measured_dropped), strategy

        handle = await lab.start(budget_mb=10.0)
        await answer(handle, "strategy")
        trial = lab.trial(handle, (await handle.describe()).run_id or "")
        await begun(trial)
        await answer(trial, "keep", "reject")
        await answer(handle, "findings_review")
        result = await lab.result_of(handle)
        ends = [(one.end, one.reason) for one in result.details.tried]
        assert ends and ends[0][0] == "undone" and "ada" in ends[0][1], ends
        assert result.verdict == "inconclusive" and await lab.indexes() == before and not await lab.clones()


@pytest.mark.paired
async def test_what_is_redundant_or_invalid_goes(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """The prefix of another index is dropped once that is shown to serve as well, what a failed build left is removed; others stay."""
    async with shop(
        client, task_queue, host_name, tmp_path, observed_postgres, COVERING, "CREATE INDEX orders_customer ON orders (customer)"
    ) as lab:
        with pytest.raises(asyncpg.UniqueViolationError):
            await lab.connection.execute("CREATE UNIQUE INDEX CONCURRENTLY visits_page ON visits (page)")
        before = await lab.indexes()
        assert [valid for _, valid, *_ in before].count(False) == 1
        result = await lab.result_of(await lab.start(trial_s=30))
        ends = {one.proposal.title: (one.end, one.reason) for one in result.details.tried}
        assert ends["drop public.visits_page"][0] == "kept" and ends["drop public.orders_customer"][0] == "kept", ends
        gone = set(before) - set(await lab.indexes())
        assert {definition.split()[2] for definition, *_ in gone} <= {"orders_customer", "INDEX"} and len(gone) == 2
        assert all(valid for _, valid, *_ in await lab.indexes()) and not await lab.clones()


async def test_what_the_target_refuses_stops_no_other_change(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """While a person looks, the table is clustered by an index that was to go: it stays, which the next revision and the result say, and what
    a failed build left goes all the same."""
    async with shop(
        client,
        task_queue,
        host_name,
        tmp_path,
        observed_postgres,
        COVERING,
        "CREATE INDEX orders_customer ON orders (customer)",
        environment="asking",
    ) as lab:
        with pytest.raises(asyncpg.UniqueViolationError):
            await lab.connection.execute("CREATE UNIQUE INDEX CONCURRENTLY visits_page ON visits (page)")
        handle = await lab.start()
        await open_gate(handle, "strategy")
        await lab.connection.execute("ALTER TABLE orders CLUSTER ON orders_customer")
        await answer(handle, "strategy", "request_changes", overrides={"budget_mb": 10.0})
        shown = await open_gate(handle, "strategy", 2)
        assert any(
            one.startswith("cannot be done: `drop public.orders_customer`") and "clustered" in one for one in shown.question.evidence
        )
        assert "orders_customer" not in shown.question.exact_change
        await answer(handle, "strategy", revision=2)
        await answer(handle, "findings_review")
        result = await lab.result_of(handle)
        ends = {one.proposal.title: (one.end, one.reason) for one in result.details.tried}
        assert ends["drop public.visits_page"][0] == "kept", ends
        assert ends["drop public.orders_customer"][0] == "not applied" and "clustered" in ends["drop public.orders_customer"][1], ends
        assert any("orders_customer" in definition for definition, *_ in await lab.indexes())


async def test_what_writers_would_pay_too_much_for_is_not_proposed(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """An index on what every write changes ends HOT; beyond the budget of WAL it is let go, with the reason."""
    write = "UPDATE orders SET customer = customer + 1 WHERE id = 4711"
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres) as lab:
        before = await lab.indexes()
        result = await lab.result_of(await lab.start(statements=[*QUERIES, write], write_growth_most=0.05))
        strategy = result.details.strategy
        assert strategy and not strategy.proposals and strategy.write_growth <= 0.05
        assert any("more into the WAL" in one for one in strategy.measured_dropped), strategy.measured_dropped
        assert [one.hot_after for one in strategy.writes] == [1]
        assert await lab.indexes() == before and result.verdict == "passed"


async def test_what_came_to_cost_writers_too_much_is_undone(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """A write that changed no indexed value when the strategy was verified moves twenty rows by the time that a person approves it: the index
    is made, its trial's guard on WAL is breached, and the catalog is as it was."""
    rows = ", ".join(str(1 + 3_000 * number) for number in range(20))
    write = f"UPDATE orders SET customer = customer + (SELECT moved_by FROM moves) WHERE id IN ({rows})"
    moves = ("CREATE TABLE moves (moved_by int NOT NULL)", "INSERT INTO moves VALUES (0)")
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, *moves, environment="asking") as lab:
        before = await lab.indexes()
        handle = await lab.start(statements=[QUERIES[0], write], measure_s=2)
        await open_gate(handle, "strategy")
        await lab.connection.execute("UPDATE moves SET moved_by = 1")
        await answer(handle, "strategy")
        await answer(handle, "findings_review")
        result = await lab.result_of(handle)
        strategy, tried = result.details.strategy, result.details.tried
        assert strategy and strategy.write_growth_source == "measured" and strategy.write_growth < 0.25
        assert tried and {one.end for one in tried} == {"undone"}, tried
        assert all(one.reason.startswith("a guard was breached: wal_bytes") for one in tried), tried
        assert all(one.ratio is not None and one.ratio < 0.8 for one in tried), "it would have won its metric"
        assert await lab.indexes() == before and not await lab.clones()
