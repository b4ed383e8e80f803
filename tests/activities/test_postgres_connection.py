"""Connecting to a real PostgreSQL, and every way in which that goes wrong."""

import asyncio
import socket
from pathlib import Path

import asyncpg
import pytest
from temporalio.exceptions import ApplicationError

from activities.postgres_connection import connected, reading, went_away
from perfwright.models.target import Target
from tests.databases import TARGET, VARIABLE, nothing_left, observed_postgres, postgres, postgres18, server
from tests.pgbouncer import start_pgbouncer
from tests.postgres import PASSWORD, USER, PostgresServer, start_standby

__all__ = ["observed_postgres", "postgres", "postgres18", "server"]

SETTINGS = "SELECT name, setting FROM pg_settings WHERE name <> ALL ('{application_name,transaction_read_only}') ORDER BY name"


async def refusal(dsn: str, target: Target = TARGET) -> ApplicationError:
    """What a connection attempt ends with; nothing secret is in it."""
    with pytest.raises(ApplicationError) as trouble:
        async with connected(target, {VARIABLE: dsn}):
            pass
    shown = f"{trouble.value} {trouble.value.__cause__} {trouble.value.details}"
    assert not any(word in shown for word in (PASSWORD, "geheim", "127.0.0.1", "nowhere.invalid"))
    return trouble.value


async def test_all_forms_of_connection_strings_connect(server: PostgresServer) -> None:
    """URL, SQLAlchemy URL, key=value over TCP and over the socket: as PostgreSQL's own clients take them."""
    for dsn in (
        server.dsn(),
        server.url(),
        f"host=127.0.0.1 port={server.port} user={USER} password='{PASSWORD}' dbname=postgres connect_timeout=5 keepalives=1",
        f"host={server.folder} port={server.port} user={USER} password={PASSWORD} dbname=postgres options='-c search_path=app'",
    ):
        async with connected(TARGET, {VARIABLE: dsn}) as connection:
            assert await connection.fetchval("SELECT current_setting('application_name')") == "perfwright"
    assert went_away(ConnectionResetError())


async def test_nothing_is_set_for_the_session_and_nothing_can_be_written(server: PostgresServer) -> None:
    """Bounds hold in our transactions only; afterwards the session is as it came, and it is closed at the end."""
    async with connected(TARGET, {VARIABLE: server.dsn()}) as connection:
        before = await connection.fetch(SETTINGS)
        async with reading(connection, statement_timeout_s=1.5, lock_timeout_s=0.25):
            assert await connection.fetchval("SELECT current_setting('statement_timeout')") == "1500ms"
            assert await connection.fetchval("SELECT current_setting('lock_timeout')") == "250ms"
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await connection.execute("CREATE TABLE never (a int)")
        assert await connection.fetch(SETTINGS) == before
        assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") == 0
    async with connected(TARGET, {VARIABLE: server.dsn()}, read_only=False) as connection:
        transaction = connection.transaction()
        await transaction.start()
        assert await connection.fetchval("SELECT current_setting('transaction_read_only')") == "off"
        await transaction.rollback()
    await nothing_left(server)


async def test_every_statement_begins_with_our_mark(server: PostgresServer) -> None:
    """Whoever looks at the server's sessions sees whose statement it is."""
    async with connected(TARGET, {VARIABLE: server.dsn()}) as connection:
        assert (await connection.fetchval("SELECT query FROM pg_stat_activity WHERE pid = pg_backend_pid()")).startswith("/* perfwright */")


@pytest.mark.parametrize(
    ("dsn", "error", "words"),
    [
        ("", "TargetRefused", VARIABLE),
        ("geheim", "TargetRefused", "postgresql://USER"),
        ("mysql://ann:geheim@127.0.0.1/shop", "TargetRefused", "not one of postgresql://"),
        ("postgresql://ann:geheim@127.0.0.1:1/shop", "DatabaseUnreachable", "listen_addresses"),
        ("postgresql://ann:geheim@nowhere.invalid/shop", "DatabaseUnreachable", "host name"),
        ("host=/nowhere dbname=shop user=ann password=geheim", "DatabaseUnreachable", "refused the connection"),
    ],
)
async def test_what_cannot_be_reached_is_told(dsn: str, error: str, words: str) -> None:
    """The cause and the way out, at once, and nothing of the connection string."""
    refused = await refusal(dsn)
    assert (refused.type, refused.non_retryable) == (error, True)
    assert words in str(refused)


async def test_a_target_without_connection_string_is_refused() -> None:
    """The registry's line that is missing is told."""
    assert "dsn_env" in str(await refusal("", TARGET.model_copy(update={"dsn_env": None})))


async def test_what_the_server_refuses_is_told(server: PostgresServer) -> None:
    """Password, role, database, TLS and settings: a person must change something, so none is tried again."""
    for dsn, words in (
        (server.dsn(password="geheim"), "password"),
        (server.dsn(user="nobody", password="geheim"), "password"),
        (server.dsn("nowhere"), "no such database"),
        (server.dsn() + "?sslmode=require", "TLS"),
        (server.dsn() + "?sslmode=verify-full&sslrootcert=/nowhere.crt", "certificate"),
        (server.dsn() + "?options=-cnowhere%3D1", "options"),
    ):
        refused = await refusal(dsn)
        assert (refused.type, refused.non_retryable) == ("DatabaseRefused", True), dsn
        assert words in str(refused)


async def test_a_server_without_a_free_connection_is_tried_again(server: PostgresServer) -> None:
    """Connections of others come and go: that passes by itself."""
    admin = await server.connect()
    await admin.execute("CREATE ROLE crowd LOGIN PASSWORD 'geheim' CONNECTION LIMIT 0")
    try:
        refused = await refusal(server.dsn(user="crowd", password="geheim"))
    finally:
        await admin.execute("DROP ROLE crowd")
        await admin.close()
    assert (refused.type, refused.non_retryable) == ("DatabaseUnreachable", False)
    assert "max_connections" in str(refused)


async def test_a_server_that_never_answers_is_given_up(tmp_path: Path) -> None:
    """Something listens there and says nothing: the wait is bounded, by the connection string's own timeout if it has one."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        refused = await refusal(f"host=127.0.0.1 port={silent.getsockname()[1]} user=ann password=geheim connect_timeout=0.3")
    assert (refused.type, refused.non_retryable) == ("DatabaseUnreachable", False)
    assert "did not answer" in str(refused)


async def test_statements_are_bounded_and_told(server: PostgresServer) -> None:
    """A statement that takes too long, and one that waits for somebody's lock, end as refusals that pass."""
    for statement, words in (("SELECT pg_sleep(30)", "in time"), ("LOCK TABLE locked IN ACCESS SHARE MODE", "lock")):
        holder = await server.connect()
        await holder.execute("CREATE TABLE locked (a int)")
        try:
            async with holder.transaction():
                await holder.execute("LOCK TABLE locked")
                with pytest.raises(ApplicationError, match=words) as trouble:
                    async with connected(TARGET, {VARIABLE: server.dsn()}) as connection:
                        await connection.fetchval("SELECT 1")
                        async with connection.transaction():
                            await connection.execute("SET LOCAL statement_timeout = '300ms'; SET LOCAL lock_timeout = '100ms'")
                            await connection.execute(statement)
                assert not trouble.value.non_retryable
        finally:
            await holder.execute("DROP TABLE locked")
            await holder.close()
    await nothing_left(server)


async def test_a_session_that_is_ended_is_told(server: PostgresServer) -> None:
    """An administrator (or a failover) ends our session in the middle: it is not our mistake, and may be tried again."""
    admin = await server.connect()
    try:
        with pytest.raises(ApplicationError) as trouble:
            async with connected(TARGET, {VARIABLE: server.dsn()}) as connection:
                await admin.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
                await connection.fetchval("SELECT 1")
    finally:
        await admin.close()
    assert (trouble.value.type, trouble.value.non_retryable) == ("DatabaseUnreachable", False)
    assert went_away(trouble.value)


async def test_a_cancelled_statement_is_gone_from_the_server(server: PostgresServer) -> None:
    """Cancelling the activity cancels what the server does for it, and closes the session."""

    async def wait_long() -> None:
        async with connected(TARGET, {VARIABLE: server.dsn()}) as connection, reading(connection):
            await connection.fetchval("SELECT pg_sleep(120)")

    admin = await server.connect()
    task = asyncio.create_task(wait_long())
    try:
        async with asyncio.timeout(20):
            while not await admin.fetchval(
                "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(120)%' AND pid <> pg_backend_pid()"
            ):
                await asyncio.sleep(0.02)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    finally:
        await admin.close()
    await nothing_left(server)


async def test_mistakes_in_the_block_stay_what_they_are(server: PostgresServer) -> None:
    """Only what becomes of the connection is told as such: a file that is missing is not a server that is away."""
    with pytest.raises(FileNotFoundError):
        async with connected(TARGET, {VARIABLE: server.dsn()}):
            Path("/nowhere").read_text()
    with pytest.raises(ApplicationError, match="42P01") as trouble:
        async with connected(TARGET, {VARIABLE: server.dsn()}) as connection:
            await connection.fetch("SELECT FROM nowhere")
    assert trouble.value.type == "ToolFailed"


async def test_pgbouncer_in_transaction_mode_is_used_without_leaving_anything(server: PostgresServer) -> None:
    """Reading works with every transaction on another server connection, and no setting or prepared statement stays on any of them."""
    with start_pgbouncer(server) as pooler:
        others = [await asyncpg.connect(pooler.dsn(), statement_cache_size=0) for _ in range(2)]
        before = await others[0].fetch(SETTINGS)

        async def read() -> int:
            async with connected(TARGET, {VARIABLE: pooler.dsn()}) as connection:
                for _ in range(10):
                    async with reading(connection):
                        await connection.fetch("SELECT n FROM generate_series(1, $1::int) AS n", 3)
                    await connection.fetchval("SELECT $1::int", 3)
            return 1

        assert sum(await asyncio.gather(*(read() for _ in range(6)))) == 6
        for other in others:
            async with other.transaction():
                assert await other.fetch(SETTINGS) == before
                assert await other.fetchval("SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE '%perfwright%'") == 0
        for other in others:
            await other.close()


async def test_what_poolers_refuse_is_told(server: PostgresServer) -> None:
    """pgbouncer speaks with one code for everything: its words are understood."""
    with start_pgbouncer(server) as pooler:
        for dsn, words in (
            (pooler.dsn(password="geheim"), "password"),
            (pooler.dsn(user="nobody", password="geheim"), "password"),
            (pooler.dsn("nowhere"), "no such database"),
            (pooler.dsn() + "?options=-csearch_path%3Dapp", "ignore_startup_parameters"),
        ):
            with pytest.raises(ApplicationError, match=words) as trouble:
                async with connected(TARGET, {VARIABLE: dsn}) as connection:
                    await connection.fetchval("SELECT 1")
            assert trouble.value.type == "DatabaseRefused"
    with start_pgbouncer(server, "statement") as pooler, pytest.raises(ApplicationError, match="statement mode"):
        async with connected(TARGET, {VARIABLE: pooler.dsn()}) as connection, reading(connection):
            await connection.fetchval("SELECT 1")


async def test_a_server_that_starts_is_tried_again(server: PostgresServer) -> None:
    """A standby without hot standby takes no connections for as long as it recovers: as a server does that starts."""
    with start_standby(server, hot_standby="off") as starting:
        refused = await refusal(starting.dsn())
    assert (refused.type, refused.non_retryable) == ("DatabaseUnreachable", False)
    assert "starts" in str(refused)
