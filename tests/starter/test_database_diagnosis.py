"""`perfwright doctor` on databases: what a run would see of a real server, and what would show the rest."""

import json
from pathlib import Path

import pytest

from perfwright.models.target import Target
from starter.database_diagnosis import look_at_database
from starter.diagnosis import diagnose
from starter.here import Here
from starter.looked import Looked
from tests.databases import database_of, fresh_database, login_role, observed_postgres, postgres
from tests.mysql import POOR_USER, MysqlServer, mariadb, plain_mariadb
from tests.postgres import OBSERVED, PASSWORD, PostgresServer, free_port, needed_programs, needs_hypopg, start_postgres

__all__ = ["mariadb", "observed_postgres", "plain_mariadb", "postgres"]

VARIABLE = "DOCTORED_DSN"
CREATE = "CREATE EXTENSION pg_stat_statements"
LOGGED = OBSERVED | {
    "logging_collector": "on",
    "log_destination": "jsonlog",
    "log_min_duration_statement": "100",
    "track_io_timing": "on",
}


async def looked_at(dsn: str, kind: str = "postgresql") -> dict[str, Looked]:
    target = Target.model_validate({"name": "doctored", "kind": kind, "environment": "lab", "dsn_env": VARIABLE})
    looked = await look_at_database(target, {VARIABLE: dsn})
    assert {one.section for one in looked} == {"Database doctored"}
    assert PASSWORD not in str(looked)
    return {one.name: one for one in looked}


async def test_a_server_with_everything_is_well() -> None:
    """Loaded, created, logged in JSON, allowed: all is ok but hypopg, which the database has not been given yet."""
    with start_postgres(needed_programs(), LOGGED) as server:
        async with fresh_database(server, CREATE) as connection:
            looked = await looked_at(server.dsn(await database_of(connection)))
            version = connection.get_server_version().major
    assert [name for name, one in looked.items() if one.state != "ok"] == ["hypopg"]
    assert looked["connection"].told.startswith(f"PostgreSQL {version}.") and "one with pg_monitor suffices" in looked["connection"].told
    assert looked["log"].told == f"jsonlog in {server.folder}/data/log"
    assert "CREATE EXTENSION hypopg" in looked["hypopg"].told


async def test_hypopg_that_is_there_is_told(postgres: PostgresServer) -> None:
    """With its version, as Debian's package brings it."""
    async with fresh_database(postgres) as connection:
        await needs_hypopg(connection)
        await connection.execute("CREATE EXTENSION hypopg")
        looked = await looked_at(postgres.dsn(await database_of(connection)))
    assert looked["hypopg"].state == "ok"


async def test_an_extension_that_is_missing_is_told_with_what_loads_it(postgres: PostgresServer, observed_postgres: PostgresServer) -> None:
    """Nothing preloaded needs a restart; loaded but not created needs one statement; neither keeps a run from starting."""
    plain = await looked_at(postgres.dsn())
    assert plain["statement counters"].state == "absent"
    assert "shared_preload_libraries and restart the server; then CREATE EXTENSION" in plain["statement counters"].told
    assert plain["log"].state == plain["times of reads"].state == "absent"
    assert "logging_collector = on" in plain["log"].told and "track_io_timing = on" in plain["times of reads"].told
    async with fresh_database(observed_postgres) as connection:
        created = await looked_at(observed_postgres.dsn(await database_of(connection)))
    assert created["statement counters"].told == (
        "pg_stat_statements is loaded but not created in this database: CREATE EXTENSION pg_stat_statements in this database"
    )
    assert "missing" not in {one.state for one in (plain | created).values()}


async def test_a_role_without_rights_is_told_what_to_grant(observed_postgres: PostgresServer) -> None:
    """The grant is named with the role; with it the line is ok."""
    async with fresh_database(observed_postgres, CREATE) as connection:
        database = await database_of(connection)
        async with login_role(connection) as role:
            poor = await looked_at(observed_postgres.dsn(database, user=role))
        async with login_role(connection, "GRANT pg_monitor TO {role}") as monitor:
            rich = await looked_at(observed_postgres.dsn(database, user=monitor))
    assert (poor["rights"].state, rich["rights"].state) == ("absent", "ok")
    assert f"GRANT pg_monitor TO {role}" in poor["rights"].told
    assert "superuser" not in rich["connection"].told


async def test_a_server_that_lets_nobody_in_is_missing(postgres: PostgresServer) -> None:
    """A wrong password, another database, nobody at the port: one line with the cause, and nothing of the connection string."""
    wrong = await looked_at(postgres.dsn(password="not-the-word"))
    nowhere = await looked_at(postgres.dsn().replace(f":{postgres.port}/", f":{free_port()}/"))
    absent = await looked_at(postgres.dsn("no_such_database"))
    for looked in (wrong, nowhere, absent):
        assert list(looked) == ["connection"] and looked["connection"].state == "missing"
        assert not any(secret in looked["connection"].told for secret in ("not-the-word", "127.0.0.1", str(postgres.port)))
    assert "password" in wrong["connection"].told and "refuse" in nowhere["connection"].told


async def test_mariadb_tells_of_performance_schema_and_the_slow_log(mariadb: MysqlServer, plain_mariadb: MysqlServer) -> None:
    """Switched on they are ok; as MariaDB comes, both are told with what switches them on; a poor user is told the grant."""
    well, plain, poor = [await looked_at(dsn, "mysql") for dsn in (mariadb.dsn(), plain_mariadb.dsn(), mariadb.dsn(user=POOR_USER))]
    assert {one.state for one in well.values()} == {"ok"} and "hypopg" not in well
    assert well["connection"].told.startswith("MariaDB 1") and well["log"].told == f"slow log in {mariadb.folder}/data/slow.log"
    assert "performance_schema = ON" in plain["statement counters"].told and "slow_query_log = ON" in plain["log"].told
    assert "GRANT PROCESS" in poor["rights"].told
    wrong = await looked_at(mariadb.dsn(password="not-the-word"), "mysql")
    assert list(wrong) == ["connection"] and wrong["connection"].state == "missing"


async def test_doctor_looks_at_the_databases_of_the_registry(
    postgres: PostgresServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those of this host whose connection string is here; the others have their line among the targets."""
    monkeypatch.setenv(VARIABLE, postgres.dsn())
    monkeypatch.setenv("TEMPORAL_ADDRESS", "127.0.0.1:1")
    registry = tmp_path / "perfwright.toml"
    targets = {"shop-db": VARIABLE, "other-db": "NOT_SET_HERE"}
    registry.write_text(
        "[environments.lab]\n"
        + "".join(f'[targets.{name}]\nkind = "postgresql"\nenvironment = "lab"\ndsn_env = "{dsn}"\n' for name, dsn in targets.items())
    )
    looked = await diagnose(Here(registry))
    assert {one.section for one in looked if one.section.startswith("Database")} == {"Database shop-db"}
    assert {one.name: one.state for one in looked if one.section == "Targets"} == {"shop-db": "ok", "other-db": "missing"}
    assert PASSWORD not in json.dumps([one.told for one in looked])
