"""What QueryPerformanceAnalysis would see of a database, asked in one round of short queries; each thing with its way out."""

import asyncio
from collections.abc import Mapping

from temporalio.exceptions import ApplicationError

from activities import mysql_connection, mysql_facts, postgres_connection, postgres_facts
from activities.postgres_pooler import find_pooler
from perfwright.models.database import DatabaseFacts, NotSeen
from perfwright.models.target import Target
from starter.looked import Looked

LOOK_S = 20.0
QUERY_S = 5.0
COUNTERS, DURATIONS, READS = "statements over time", "durations and values of single statements", "time that reads from disk take"
OTHERS = ("statements and sessions of other roles", "sessions of other users")
LOGS = ("server log", mysql_facts.SLOW_LOG)
HYPOPG = "hypopg"


async def look_at_database(target: Target, environ: Mapping[str, str]) -> list[Looked]:
    """One line per thing that the process looks at. Nothing of the connection string is in it."""
    section = f"Database {target.name}"
    try:
        async with asyncio.timeout(LOOK_S):
            facts = await (_mysql if target.kind == "mysql" else _postgresql)(target, environ)
    except TimeoutError:
        return [Looked(section, "connection", "missing", f"the server did not answer our questions within {LOOK_S:g} s")]
    except ApplicationError as refused:
        return [Looked(section, "connection", "missing", refused.message)]
    return lines(facts, section)


async def _postgresql(target: Target, environ: Mapping[str, str]) -> DatabaseFacts:
    async with postgres_connection.connected(target, environ, answer_s=QUERY_S) as connection:
        pooler = await find_pooler(connection, target, environ)
        async with postgres_connection.reading(connection, statement_timeout_s=QUERY_S):
            return await postgres_facts.read_facts(connection, target, pooler)


async def _mysql(target: Target, environ: Mapping[str, str]) -> DatabaseFacts:
    database = mysql_connection.connection_parameters(target, environ).database
    async with mysql_connection.connected(target, environ, answer_s=QUERY_S, in_database=True) as session:
        return await mysql_facts.read_facts(session, target, database)


def lines(facts: DatabaseFacts, section: str) -> list[Looked]:
    """What is seen, and what is not with its way out. A run goes on without what is absent, and says so."""
    postgresql = facts.system == "postgresql"
    unseen = {one.what: one for one in facts.not_seen}

    def line(name: str, told: str, *whats: str) -> Looked:
        missing = [unseen.pop(what) for what in whats if what in unseen]
        return Looked(section, name, "absent" if missing else "ok", _told(missing[0]) if missing else told)

    looked = [
        Looked(section, "connection", "ok", _reached(facts)),
        line("statement counters", _counters(facts), COUNTERS),
        line("rights", "sees statements and sessions of everybody", *OTHERS),
        line("log", f"{facts.log_format} in {facts.log_folder}", *LOGS),
    ]
    if postgresql:
        if looked[-1].state == "ok":
            looked.append(line("log of durations", "single statements with their values", DURATIONS))
        else:
            unseen.pop(DURATIONS, None)
        looked += [line("times of reads", "track_io_timing is on", READS), _what_ifs(facts, section)]
    return looked + [Looked(section, one.what, "absent", _told(one)) for one in unseen.values()]


def _told(unseen: NotSeen) -> str:
    if unseen.what in OTHERS:
        return unseen.sentence  # the reason alone does not say what of
    return f"{unseen.reason}: {unseen.way_out}" if unseen.way_out else unseen.reason


def _reached(facts: DatabaseFacts) -> str:
    product = {"postgresql": "PostgreSQL", "mariadb": "MariaDB", "mysql": "MySQL"}[facts.system]
    role = f"role {facts.role}" + (" (a superuser: one with pg_monitor suffices)" if facts.superuser and product == "PostgreSQL" else "")
    standby = "; a standby: nothing is executed there but what reads" if facts.standby else ""
    pooler = f"; through a {facts.pooler}" if facts.pooler else ""
    return f"{product} {facts.version}, database {facts.database or '(none)'}, {role}{standby}{pooler}"


def _counters(facts: DatabaseFacts) -> str:
    if facts.system == "postgresql":
        return f"pg_stat_statements {facts.extensions.get('pg_stat_statements', '')} is loaded and created"
    return "performance_schema counts statements"


def _what_ifs(facts: DatabaseFacts, section: str) -> Looked:
    """Whether index advice can be tried as hypothetical indexes."""
    if version := facts.extensions.get(HYPOPG):
        return Looked(section, HYPOPG, "ok", f"{version}: index advice is tried as hypothetical indexes")
    create = "CREATE EXTENSION hypopg in this database"
    if HYPOPG not in facts.available_extensions:
        create = f"install it on the server (Debian: postgresql-{facts.version_number // 10_000}-hypopg), then {create}"
    return Looked(section, HYPOPG, "absent", f"index advice is given untried: {create}")
