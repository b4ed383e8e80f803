"""What a server tells about itself, and what it keeps from us."""

import os
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from perfwright.models.database import DatabaseFacts
from perfwright.models.query_steps import InspectDatabase
from tests.databases import (
    TARGET,
    Examined,
    breakable,
    breakable15,
    breakable18,
    database_of,
    fresh_database,
    login_role,
    nothing_left,
    observed_postgres,
    postgres,
    postgres18,
    server,
)
from tests.pgbouncer import start_pgbouncer
from tests.postgres import PASSWORD, USER, PostgresServer, start_standby

__all__ = ["breakable", "breakable15", "breakable18", "observed_postgres", "postgres", "postgres18", "server"]

CREATE = "CREATE EXTENSION pg_stat_statements"


async def facts_of(dsn: str, folder: Path) -> DatabaseFacts:
    facts = await Examined(dsn, folder).run("inspect_database", InspectDatabase(target=TARGET))
    assert isinstance(facts, DatabaseFacts)
    assert not any(word in facts.model_dump_json() for word in (PASSWORD, "127.0.0.1"))
    return facts


def why(facts: DatabaseFacts, what: str) -> str:
    """The sentence about what was not seen; empty when it was."""
    return next((one.sentence for one in facts.not_seen if one.what == what), "")


async def test_a_server_that_shows_everything_has_nothing_unseen(breakable: PostgresServer, tmp_path: Path) -> None:
    """Version, rights, extensions, settings and the log: all told, and no complaint."""
    async with fresh_database(breakable, CREATE) as connection:
        database = await database_of(connection)
        facts = await facts_of(breakable.dsn(database), tmp_path)
        version = await connection.fetchval("SHOW server_version_num")
    assert facts.not_seen == () or os.geteuid() != 0  # as another user than the server's, the log is closed
    assert (facts.version_number, facts.version.split(".")[0]) == (int(version), str(int(version) // 10_000))
    assert (facts.database, facts.role, facts.superuser, facts.reads_all_stats, facts.standby) == (database, USER, True, True, False)
    assert (facts.pooler, facts.preloaded) == ("", ("pg_stat_statements", "auto_explain"))
    assert "pg_stat_statements" in facts.extensions
    assert "pg_trgm" in facts.available_extensions
    assert (facts.log_format, Path(facts.log_folder)) == ("jsonlog", breakable.folder / "data" / "log")
    assert facts.size_bytes > 1_000_000
    # In force for the session, not what we set for our own transaction.
    assert (facts.setting("jit"), facts.setting("statement_timeout"), facts.setting("search_path")) == ("on", "0", '"$user", public')
    assert (facts.setting("work_mem"), facts.setting("pg_stat_statements.max")) == ("4096", "100")
    await nothing_left(breakable)


async def test_an_extension_that_is_not_there_is_told_with_the_way_out(
    postgres: PostgresServer, server: PostgresServer, tmp_path: Path
) -> None:
    """Not created, not loaded, or neither: only then a restart is asked for."""
    async with fresh_database(server) as connection:
        facts = await facts_of(server.dsn(await database_of(connection)), tmp_path)
        told = why(facts, "statements over time")
        assert "not created in this database" in told
        assert "restart" not in told
        await connection.execute(f"ALTER DATABASE {await database_of(connection)} SET pg_stat_statements.track = none")
        await connection.execute(CREATE)
        facts = await facts_of(server.dsn(await database_of(connection)), tmp_path)
        assert "pg_stat_statements.track" in why(facts, "statements over time")
    async with fresh_database(postgres) as connection:
        facts = await facts_of(postgres.dsn(await database_of(connection)), tmp_path)
        assert "restart the server; then CREATE EXTENSION" in why(facts, "statements over time")
        await connection.execute(CREATE)
        facts = await facts_of(postgres.dsn(await database_of(connection)), tmp_path)
        assert "created but not loaded" in why(facts, "statements over time")
        assert facts.preloaded == ()


async def test_a_server_as_it_comes_tells_what_to_switch_on(postgres: PostgresServer, tmp_path: Path) -> None:
    """No log of its own, no durations, no read times: each with the setting that shows it."""
    facts = await facts_of(postgres.dsn(), tmp_path)
    assert "logging_collector = on" in why(facts, "server log")
    assert "track_io_timing = on" in why(facts, "time that reads from disk take")
    assert (facts.log_folder, facts.log_format) == ("", "stderr")


async def test_a_role_without_rights_sees_less_and_says_so(breakable: PostgresServer, tmp_path: Path) -> None:
    """A plain role can be used; the grant that shows the rest is named, and pg_monitor is enough."""
    async with fresh_database(breakable, CREATE) as connection, login_role(connection) as role:
        dsn = breakable.dsn(await database_of(connection), user=role)
        facts = await facts_of(dsn, tmp_path)
        assert (facts.superuser, facts.reads_all_stats, facts.preloaded, facts.log_folder) == (False, False, (), "")
        assert f"GRANT pg_monitor TO {role}" in why(facts, "statements and sessions of other roles")
        assert "GRANT pg_monitor" in why(facts, "server log")
        assert why(facts, "statements over time") == ""
        await connection.execute(f"GRANT pg_monitor TO {role}")
        facts = await facts_of(dsn, tmp_path)
        assert (facts.reads_all_stats, facts.log_format) == (True, "jsonlog")
        assert why(facts, "statements and sessions of other roles") == ""


async def test_a_standby_is_known(postgres18: PostgresServer, tmp_path: Path) -> None:
    """All of it works where nothing can be written."""
    async with fresh_database(postgres18, CREATE) as connection:
        with start_standby(postgres18) as standby:
            facts = await facts_of(standby.dsn(await database_of(connection)), tmp_path)
    assert facts.standby
    assert facts.size_bytes > 0


@pytest.mark.parametrize("mode", ["transaction", "session"])
async def test_a_pooler_is_noticed(postgres18: PostgresServer, tmp_path: Path, mode: str) -> None:
    """Also how it pools: hypothetical indexes and prepared statements need a session of one's own."""
    with start_pgbouncer(postgres18, mode) as pooler:
        assert f"pooler in {mode} mode" in (await facts_of(pooler.dsn(), tmp_path)).pooler
    with start_pgbouncer(postgres18, mode, pool_size=1) as pooler:
        assert f"pooler in {mode} mode" in (await facts_of(pooler.dsn(), tmp_path)).pooler
    await nothing_left(postgres18)


async def test_another_kind_of_target_is_refused(tmp_path: Path) -> None:
    """A process or a MySQL server is not asked as if it were PostgreSQL."""
    request = InspectDatabase(target=TARGET.model_copy(update={"kind": "mysql"}))
    with pytest.raises(ApplicationError, match="of kind mysql, not postgresql") as trouble:
        await Examined("", tmp_path).run("inspect_database", request)
    assert (trouble.value.type, trouble.value.non_retryable) == ("TargetRefused", True)
