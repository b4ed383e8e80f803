"""A clone of statistics alone: the target's schema, what its planner believes of the workload's tables, and files as long as theirs, on a
private server of the worker's host. No row is read, and hardly any disk is used.

    schema (pg_dump) -> relation sizes and column statistics -> shut down -> files extended sparsely, B-trees given their height -> running

The planner there says what it would say on the target, also of hypothetical indexes; nothing can be executed, built or verified. It
believes the length of a file and not `relpages`. Statistics hold values of rows: they are copied for the tables of the workload only, in a
folder that nobody else may read, which goes with the block.
"""

import asyncio
import os
import time
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from activities.database_clones import ENVIRONMENT, VARIABLE
from activities.database_dumps import Dump, connection_text, dump_and_restore
from activities.errors import refuse
from activities.planner_settings import FIXED, plan_alike, read_planner_settings
from activities.postgres_connection import STATEMENT_S, connected, connection_parameters
from activities.private_postgres import PrivateServer, private_folder, programs_with_hypopg, remove_folder
from activities.slice_recorder import carried_out
from activities.statistics_copying import ROLE, Copied, RelationFile, copy_statistics, make_planner, relation_files
from activities.statistics_queries import FACTS
from perfwright.analysis.explaining.sql_texts import quoted_literal
from perfwright.analysis.explaining.what_if import EXTENSION
from perfwright.analysis.indexes.btree_tops import PAGE_BYTES, with_height
from perfwright.models.errors import ErrorType
from perfwright.models.index_steps import ClonePlan
from perfwright.models.target import Target
from perfwright.models.unverified_indexes import CopiedStatistics

if TYPE_CHECKING:
    import asyncpg

DATABASE = "statistics"
SEGMENT_PAGES = 131_072
"""Files of a relation have 1 GiB each (documentation, 73.1)."""
SCHEMA_BYTES = 1 << 30
SEARCHING_S = 3_600.0
"""Beyond the making of the clone: whoever asks is bounded by itself."""
_REPLICA = "-c session_replication_role=replica"
"""No event trigger of the target's is run by what we do."""


@dataclass(frozen=True)
class StatisticsClone:
    """As activities connect to it."""

    target: Target
    environ: Mapping[str, str]
    copied: CopiedStatistics


@asynccontextmanager
async def statistics_clone(
    plan: ClonePlan, tables: Collection[tuple[str, str]], environ: Mapping[str, str], state_folder: Path
) -> AsyncIterator[StatisticsClone]:
    """A clone for the block. `tables`: schema and name of those whose statistics are copied, with their partitions and indexes.

    Raises ToolMissing (no server programs, no HypoPG), NotPermitted, ToolFailed, ToolTimeout, TargetRefused, DatabaseUnreachable,
    DatabaseRefused, StoreUnavailable.
    """
    began = time.monotonic()
    facts = await _facts_of(plan, environ)
    server = PrivateServer(await programs_with_hypopg(facts["major"]), private_folder(state_folder, plan.target.name, plan.owner))
    try:
        await server.make()
        copied = Copied()
        async with server.running(plan.limit_s) as program:
            files = await _filled(plan, server, facts, tables, environ, copied)
            await server.shut_down(program)
        heights = await asyncio.to_thread(_extended, files)
        async with server.running(plan.limit_s + SEARCHING_S):
            if server.programs.major > facts["major"]:
                copied.warnings.append(f"the planner is that of PostgreSQL {server.programs.major}, the target's of {facts['major']}")
            yield StatisticsClone(
                *_reached(plan, server, ROLE),
                CopiedStatistics(
                    version=server.programs.version,
                    relations=copied.relations,
                    columns=copied.columns,
                    heights=heights,
                    seconds=round(time.monotonic() - began, 3),
                    warnings=copied.told,
                ),
            )
    finally:
        await carried_out(asyncio.to_thread(remove_folder, server.folder))


async def refuse_statistics_clone(plan: ClonePlan, environ: Mapping[str, str]) -> None:
    """Raises TargetRefused, ToolMissing, NotPermitted, with the way out, where one would be refused."""
    facts = await _facts_of(plan, environ)
    await programs_with_hypopg(facts["major"])


async def _facts_of(plan: ClonePlan, environ: Mapping[str, str]) -> Mapping[str, Any]:
    async with connected(plan.target, environ, answer_s=2 * STATEMENT_S) as source:
        facts = await source.fetchrow(FACTS)
    assert facts is not None, "the current database is in pg_database"
    if facts["block_bytes"] != PAGE_BYTES:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"{plan.target.title} has pages of {facts['block_bytes']} bytes, and no server here has the like",
            way_out="Name a smaller copy of the database as the target",
        )
    return dict(facts)


async def _filled(
    plan: ClonePlan,
    server: PrivateServer,
    facts: Mapping[str, Any],
    tables: Collection[tuple[str, str]],
    environ: Mapping[str, str],
    copied: Copied,
) -> list[RelationFile]:
    """Everything that is done while the server runs; gives what is left to do to its files."""
    async with _administrating(plan, server, "postgres") as administrator:
        await _create_database(administrator, facts, copied)
    dump = Dump(
        source=connection_parameters(plan.target, environ),
        into=server.parameters(DATABASE),
        major=facts["major"],
        file=server.folder / "schema.dump",
        limit_s=plan.limit_s,
        limit_bytes=SCHEMA_BYTES,
        schema_only=True,
        restore_environment={"PGOPTIONS": _REPLICA},
    )
    await dump_and_restore(dump)
    async with (
        _administrating(plan, server, DATABASE) as administrator,
        connected(plan.target, environ, answer_s=2 * STATEMENT_S) as source,
    ):
        await administrator.execute(f"CREATE EXTENSION IF NOT EXISTS {EXTENSION}")
        await make_planner(administrator, server.password)
        settings = await read_planner_settings(source, plan.role)
        relations = await copy_statistics(source, administrator, (facts["major"], server.programs.major), tables, copied)
        files = await relation_files(administrator, server.data, relations)
    # The planner asks neither how large the server's own cache is nor how many processes it may have.
    planned_with = replace(settings, values={name: value for name, value in settings.values.items() if name not in FIXED})
    copied.warnings += await plan_alike(*_reached(plan, server, ROLE), planned_with, DATABASE)
    return files


async def _create_database(administrator: "asyncpg.Connection", facts: Mapping[str, Any], copied: Copied) -> None:
    """Text is compared as on the target: its histograms are in that order."""
    from asyncpg.exceptions import PostgresError

    providers = {"i": ("icu", "ICU_LOCALE"), "b": ("builtin", "BUILTIN_LOCALE")}
    name, locale = providers.get(facts["provider"], ("", ""))
    words = f"ENCODING {quoted_literal(facts['encoding'])} LC_COLLATE {quoted_literal(facts['collate'])}"
    words += f" LC_CTYPE {quoted_literal(facts['ctype'])}"
    words += f" LOCALE_PROVIDER {name} {locale} {quoted_literal(facts['locale'])}" if name else ""
    try:
        await administrator.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0 {words}")
    except PostgresError:
        await administrator.execute(f"CREATE DATABASE {DATABASE} TEMPLATE template0")
        copied.warnings.append(
            f"this host has no locale {facts['locale'] or facts['collate']}: text is compared otherwise than on the target"
        )


def _extended(files: Sequence[RelationFile]) -> int:
    """Make each as long as it is told, in segments, without writing what is only zeros; never shorter. Gives how many got a height.

    The server has to be down: what it holds in memory would be written over what is written here."""
    heights = 0
    for one in files:
        owner = one.path.stat()
        if one.height and (pages := with_height(one.path.read_bytes()[:PAGE_BYTES], one.height)):
            with one.path.open("r+b") as file:
                file.write(pages)
            heights += 1
        for number in range(-(-one.pages // SEGMENT_PAGES)):
            segment = one.path.with_name(f"{one.path.name}.{number}") if number else one.path
            length = min(SEGMENT_PAGES, one.pages - number * SEGMENT_PAGES) * PAGE_BYTES
            with segment.open("ab") as file:
                if file.tell() < length:
                    file.truncate(length)
            if os.geteuid() == 0:
                os.chown(segment, owner.st_uid, owner.st_gid)
            segment.chmod(0o600)
    return heights


def _reached(plan: ClonePlan, server: PrivateServer, user: str, database: str = DATABASE) -> tuple[Target, dict[str, str]]:
    own = plan.target.model_copy(update={"environment": ENVIRONMENT, "dsn_env": VARIABLE, "allow": ("analyze",)})
    return own, {VARIABLE: connection_text(server.parameters(database, user), database)}


@asynccontextmanager
async def _administrating(plan: ClonePlan, server: PrivateServer, database: str) -> "AsyncIterator[asyncpg.Connection]":
    own, environ = _reached(plan, server, server.parameters(database).user, database)
    async with connected(own, environ, read_only=False, session={"options": _REPLICA}) as connection:
        yield connection
