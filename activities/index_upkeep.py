"""Indexes of the target itself: what there is, what a failed build left, and who uses what was kept.

Errors: TargetRefused, DatabaseRefused, DatabaseUnreachable, ToolFailed, StoreUnavailable.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.changes.index_facts import find_index
from activities.changes.kind import Site
from activities.changes.postgres_session import changing
from activities.errors import refuse
from activities.heartbeats import beating
from activities.history import History
from activities.index_catalog import read_index_rows, read_scans
from activities.postgres_connection import STATEMENT_S, connected, reading
from perfwright.analysis.changes.index_statements import read_name
from perfwright.analysis.indexes.existing import existing_indexes, masked_indexes
from perfwright.analysis.indexes.redundancy import BUSINESS_CYCLE
from perfwright.analysis.indexes.sightings import Look
from perfwright.analysis.masking.plans import masked_expression
from perfwright.analysis.query_advice.identifiers import qualified
from perfwright.analysis.statements.stored import decode
from perfwright.models.database import Catalog
from perfwright.models.errors import ErrorType
from perfwright.models.history import CATALOG
from perfwright.models.index_steps import (
    IndexUseRead,
    InvalidIndexRemoved,
    ReadExistingIndexes,
    ReadIndexUse,
    RemoveInvalidIndex,
)
from perfwright.models.index_strategy import ExistingIndexes

REMOVING_S = 600.0
_BUILT = "SELECT EXISTS (SELECT FROM pg_catalog.pg_stat_progress_create_index WHERE index_relid = $1::bigint::oid)"
_USE = """
SELECT s.schemaname::text AS schema, s.indexrelname::text AS name, s.idx_scan AS scans, pg_catalog.pg_relation_size(s.indexrelid) AS bytes
  FROM pg_catalog.pg_stat_user_indexes s WHERE (s.schemaname::text, s.indexrelname::text) IN (SELECT * FROM unnest($1::text[], $2::text[]))
"""


class IndexUpkeep:
    """Activities on the target's indexes."""

    def __init__(self, artifacts: ArtifactStore, history: History, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._history, self._environ, self._state_folder = artifacts, history, environ, state_folder

    @activity.defn
    async def read_existing_indexes(self, request: ReadExistingIndexes) -> ExistingIndexes:
        """Which of them could go, and why; and foreign keys without one."""
        async with (
            beating(lambda: {"doing": "reading indexes"}),
            connected(request.target, self._environ, answer_s=2 * STATEMENT_S) as connection,
        ):
            rows = await read_index_rows(connection)
            scans, standbys = await read_scans(connection, request.target.name)
            catalog = decode(Catalog, await self._artifacts.get(request.catalog))
            now = datetime.now(UTC)
            found = existing_indexes(rows, (scans,), standbys, now.isoformat(), catalog, await self._earlier(request.target.name, now))
            return masked_indexes(found) if request.mask_literals else found

    @activity.defn
    async def remove_invalid_index(self, request: RemoveInvalidIndex) -> InvalidIndexRemoved:
        """Drop it, if it is still invalid, still the same, and nobody is building it. Again: it is gone already."""
        schema, name = read_name(request.name)
        site = Site(self._environ, self._state_folder)
        mark = f"remove invalid {request.target.name} {request.name}"
        async with (
            beating(lambda: {"doing": f"removing {request.name}"}),
            # Names as the catalog's readers saw them.
            changing(
                request.target, site, mark, lock_timeout_s=request.lock_timeout_s, limit_s=REMOVING_S, more={"search_path": "pg_catalog"}
            ) as connection,
        ):
            found = await find_index(connection, schema, name)
            if found is None:
                return InvalidIndexRemoved(removed=True, told="it is gone")
            definition = masked_expression(found.full, "postgresql") if request.mask_literals else found.full
            if found.valid or definition != request.definition or found.constrains or found.partitioned:
                return InvalidIndexRemoved(removed=False, told="it is not what was on show any more: it is left alone")
            oid = await connection.fetchval("SELECT pg_catalog.to_regclass($1)::oid::bigint", request.name)
            if await connection.fetchval(_BUILT, oid):
                return InvalidIndexRemoved(removed=False, told="somebody is building it: it is left alone")
            await connection.execute(f"DROP INDEX CONCURRENTLY {qualified(schema, name)}")
            if await find_index(connection, schema, name) is not None:
                raise refuse(ErrorType.TOOL_FAILED, f"{request.name} of {request.target.title} is still there", retryable=True)
        return InvalidIndexRemoved(removed=True, told="dropped")

    @activity.defn
    async def read_index_use(self, request: ReadIndexUse) -> IndexUseRead:
        """Scans of these indexes since the server began to count; what does not exist (any more) is left out."""
        split = [read_name(one) for one in request.names]
        async with connected(request.target, self._environ, answer_s=2 * STATEMENT_S) as connection:
            async with reading(connection):
                rows = await connection.fetch(_USE, [schema for schema, _ in split], [name for _, name in split])
            counted, _ = await read_scans(connection, request.target.name)
        names = {(schema, name): full for (schema, name), full in zip(split, request.names, strict=True)}
        return IndexUseRead(
            scans={names[row["schema"], row["name"]]: int(row["scans"] or 0) for row in rows},
            bytes={names[row["schema"], row["name"]]: int(row["bytes"]) for row in rows},
            counted_since=counted.counted_since,
        )

    async def _earlier(self, target: str, now: datetime) -> Look | None:
        """What the latest run saw that is a business cycle ago; None where none was, or what it kept is gone."""
        found = await self._history.find_kept(target, CATALOG, now - BUSINESS_CYCLE)
        if found is None:
            return None
        try:
            return Look(found.at, decode(Catalog, await self._artifacts.get(found.artifact)))
        except ValueError:
            return None
        except ApplicationError as trouble:
            if trouble.type != ErrorType.ARTIFACT_CORRUPT:
                raise
            return None
