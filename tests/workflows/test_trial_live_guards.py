"""What stands on a live target while a person thinks, and for a while after they said yes, is watched there: a breach undoes it at once."""

import asyncio
import math
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import asyncpg
import pytest
from temporalio.client import Client

from perfwright.models.trial_run import TrialResult
from tests.databases import VARIABLE, database_of, observed_postgres
from tests.holding import Held, holding
from tests.needs import needs
from tests.postgres import PASSWORD, USER, PostgresServer
from tests.workflows.indexing import Shop, answer, shop
from tests.workflows.trying import CONFIGURATION, EASY_NOISE, Lab, result_of, trying
from tests.workflows.watching_runs import Handle, activities_of, open_gate, task_failures, until

__all__ = ["observed_postgres"]

pytestmark = [needs("temporal"), pytest.mark.timeout(300)]

INDEX = "CREATE INDEX CONCURRENTLY by_customer ON public.orders (customer)"
QUERY = "SELECT sum(total) FROM orders WHERE customer = 77"
COUNTED = "CREATE EXTENSION pg_stat_statements"
COST_OF_SETTING = "SELECT (CASE current_setting('work_mem') WHEN '9MB' THEN 10 ELSE 20 END) * (0.99 + 0.02 * random())"
BLOCKS = {"metric": "live_blocks", "margin": math.log(3)}
PROBED = {"metric": "value", "margin": 0.1}


class Traffic:
    """Calls of one statement, which touch as many rows as is said."""

    rows = 10

    async def go_on(self, connection: asyncpg.Connection) -> None:
        while True:
            await connection.fetch(f"SELECT count(status) FROM orders WHERE id < {self.rows}")
            await asyncio.sleep(0.002)


@asynccontextmanager
async def used(opened: Shop) -> AsyncIterator[Traffic]:
    connection = await opened.server.connect(await opened.connection.fetchval("SELECT current_database()::text"))
    traffic = Traffic()
    task = asyncio.create_task(traffic.go_on(connection))
    try:
        yield traffic
    finally:
        task.cancel()
        await asyncio.wait([task])
        connection.terminate()


async def start(opened: Shop, host: str, **more: Any) -> Handle:
    target = {"name": opened.name, "kind": "postgresql", "environment": "asking", "host": host, "dsn_env": VARIABLE}
    given = {
        "target": target,
        "title": "an index",
        "change": {"kind": "sql", "create": INDEX},
        "measurement": {"kind": "queries", "statements": {"q": QUERY}},
        "noise": EASY_NOISE | {"metric": "wall_s", "clock": "wall", "round_s": 0.05},
        "metric": "wall_s",
        "budget_s": 20.0,
    }
    handle: Handle = await opened.client.start_workflow(
        "Trial", given | more, id=f"trial-{opened.name}", task_queue=opened.queue, result_type=TrialResult
    )
    await answer(handle, "change")
    return handle


async def setting(opened: Shop) -> dict[str, Any]:
    """Of the shop's database, which new sessions have; a probe of theirs says that it is better."""
    database = await database_of(opened.connection)
    password = opened.folder / "pgpass"
    password.write_text(f"127.0.0.1:{opened.server.port}:*:{USER}:{PASSWORD}\n")
    password.chmod(0o600)
    asked = ["-h", "127.0.0.1", "-p", str(opened.server.port), "-U", USER, "-d", database, "-XAtc", COST_OF_SETTING]
    probe = ["env", f"PGPASSFILE={password}", str(opened.server.programs / "psql"), *asked]
    return {
        "change": {"kind": "settings", "name": "work_mem", "value": "9MB", "database": database},
        "measurement": {"kind": "switched", "probe": probe, "burn_in_s": 0.0, "probes_per_block": 1},
        "noise": EASY_NOISE | {"metric": "value", "clock": None, "round_s": 1.0},
        "metric": "value",
    }


async def stands(opened: Shop) -> bool:
    return bool(
        await opened.connection.fetchval(
            "SELECT to_regclass('public.by_customer') IS NOT NULL OR EXISTS (SELECT FROM pg_db_role_setting s"
            " JOIN pg_database d ON d.oid = s.setdatabase WHERE d.datname = current_database() AND s.setconfig @> '{work_mem=9MB}')"
        )
    )


@pytest.fixture(autouse=True)
def windows() -> Iterator[None]:
    """A tenth of a second in place of half a minute."""
    with patch("activities.live_windows.WATCH_EVERY_S", 0.1):
        yield


@pytest.mark.parametrize(("kind", "moment"), [("index", "thinking"), ("index", "kept"), ("setting", "thinking")])
async def test_a_breach_on_the_live_server_undoes(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer, kind: str, moment: str
) -> None:
    """Calls that touch many more blocks than before, while a person thinks or after they said yes: index or setting come off, unasked."""
    async with (
        shop(client, task_queue, host_name, tmp_path, observed_postgres, COUNTED, environment="asking") as opened,
        used(opened) as traffic,
    ):
        wait = {"deadline_s": 60.0} if moment == "thinking" else {"watch_s": 60.0}
        handle = await start(opened, host_name, **wait, **(await setting(opened) if kind == "setting" else {}))
        gate = await open_gate(handle, "keep")
        assert any("live_blocks" in one for one in gate.question.evidence) and await stands(opened)
        if moment == "kept":
            await answer(handle, "keep")
            await until(lambda: _is_watched_as_kept(handle, "watch_live_counters"), "the watch over what is kept")
        traffic.rows = 60_000
        result: TrialResult = await handle.result()
        assert not await task_failures(handle)
        assert result.end == "undone" and "live_blocks breached" in result.reason, result.reason
        if kind == "index":
            limits_s = await _limits_s(handle)
            assert limits_s["apply_change"] == limits_s["revert_change"] == 3_900 and limits_s["verify_change"] == 600
        assert not await stands(opened) and (result.watched is not None) == (moment == "kept")


async def test_a_setting_that_harms_nothing_is_kept(
    client: Client, task_queue: str, host_name: str, tmp_path: Path, observed_postgres: PostgresServer
) -> None:
    """It is watched and stays; that sessions which were open before go on without it is told at the gate and with the result."""
    async with shop(client, task_queue, host_name, tmp_path, observed_postgres, COUNTED, environment="asking") as opened, used(opened):
        handle = await start(opened, host_name, live_guards=[BLOCKS], watch_s=2.4, **await setting(opened))
        gate = await open_gate(handle, "keep")
        assert any("Sessions that were open before" in one for one in gate.question.evidence)
        await answer(handle, "keep")
        result = await result_of(handle)
        assert result.kept and await stands(opened) and result.watched and result.watched.guards[0].verdict != "breached", result
        before, now = result.watched.medians["live_blocks"]
        assert 0.5 < now / before < 2
        assert any("sessions that the setting concerns were open before it" in note for note in result.notes), result.notes


@asynccontextmanager
async def running(client: Client, queue: str, host: str, folder: Path) -> AsyncIterator[tuple[Lab, Held, dict[str, Any]]]:
    """A process that runs and is known by its pid file, and the trial of an edit of its configuration, which a probe finds better."""
    name = f"shop-{host[-8:]}"
    with holding(folder) as held:
        selector = f'process = {{ pid_file = "{held.pid_file}" }}'
        more = f'[targets.{name}-live]\nkind = "process"\nenvironment = "lab"\nhost = "{host}"\nfiles_root = "{folder}/etc"\n{selector}\n'
        async with trying(client, queue, host, name, folder, more=more) as lab:
            target = lab.context.registry_file.read().target(f"{name}-live")
            assert target is not None
            yield lab, held, lab.edit(10, target=target.model_dump(mode="json"), ask_change=False, guards=[PROBED])


async def test_a_breach_in_the_live_process_undoes(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Many times the memory, which the probe does not see: the file is as it was, and both watches have ended."""
    async with running(client, task_queue, host_name, tmp_path) as (lab, held, request):
        handle = await lab.start(request | {"deadline_s": 60.0})
        gate = await open_gate(handle, "keep")
        told = "\n".join(gate.question.evidence)
        assert "by the probe until this is answered: value" in told and "from outside until this is answered: live_rss_bytes" in told
        assert lab.file.read_text() == "cost = 10\n"
        held.hold(150_000_000)
        result = await result_of(handle)
        assert result.end == "undone" and "live_rss_bytes breached" in result.reason, result.reason
        assert lab.file.read_text() == CONFIGURATION and [one.gate for one in result.decisions] == ["change"]


async def test_a_quiet_process_keeps_its_change(client: Client, task_queue: str, host_name: str, tmp_path: Path) -> None:
    """Probe and process are watched side by side, and both are in the result."""
    async with running(client, task_queue, host_name, tmp_path) as (lab, _, request):
        handle = await lab.start(request | {"watch_s": 2.4})
        await answer(handle, "keep")
        result = await result_of(handle)
        assert result.kept and result.watched and lab.file.read_text() == "cost = 10\n", result
        assert [one.metric for one in result.watched.guards] == ["value", "live_rss_bytes", "live_restarts"], result.watched
        assert result.watched.medians["live_threads"] == (1, 1) and result.watched.picture
        assert len(result.notes) == 1 and result.notes[0].endswith("live_restarts"), "that there was no restart shows little"


async def _is_watched_as_kept(handle: Handle, watch: str) -> bool:
    steps = await activities_of(handle)
    return "keep_change" in steps and watch in steps[steps.index("keep_change") :]


async def _limits_s(handle: Handle) -> dict[str, float]:
    """Seconds that an attempt of each step has."""
    asked = [event.activity_task_scheduled_event_attributes async for event in handle.fetch_history_events()]
    return {one.activity_type.name: one.start_to_close_timeout.ToTimedelta().total_seconds() for one in asked if one.activity_type.name}
