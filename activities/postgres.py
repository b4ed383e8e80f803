"""PostgreSQL 13 to 18 as it runs: what it is, which statements it executed in a window, what its sessions waited for, what its tables are.

Reads catalogs and statistics views only, never rows of tables; writes nothing, sets nothing, and takes no lock that anybody waits for.
"""

from collections.abc import Mapping
from pathlib import Path

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.heartbeats import beating
from activities.postgres_activity import PostgresSessions
from activities.postgres_catalog import read_tables
from activities.postgres_connection import STATEMENT_S, connected, reading
from activities.postgres_facts import read_facts
from activities.postgres_pooler import find_pooler
from activities.postgres_window import observe
from activities.recording_folder import RecordingFolder, resumable
from activities.session_sampling import SessionSampling
from perfwright.models.database import DatabaseFacts
from perfwright.models.errors import ErrorType
from perfwright.models.query_steps import (
    ActivitySampled,
    CatalogRead,
    InspectDatabase,
    ObservedStatements,
    ObserveStatements,
    ReadCatalog,
    SampleActivity,
)
from perfwright.models.target import Target


class Postgres:
    """Activities on a target's server. `environ` holds connection strings; `state_folder` holds windows in progress.

    Errors of all: TargetRefused (another kind of target, no usable connection string), DatabaseUnreachable, DatabaseRefused, ToolFailed,
    and of those that store something StoreUnavailable.
    """

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._environ, self._state_folder = artifacts, environ, state_folder

    @activity.defn
    async def inspect_database(self, request: InspectDatabase) -> DatabaseFacts:
        """Connect, and tell what the server is, has and lets us see; what cannot be seen is listed with the way out."""
        target = _postgresql(request.target)
        async with beating(lambda: {"doing": "inspecting"}), connected(target, self._environ, answer_s=2 * STATEMENT_S) as connection:
            pooler = await find_pooler(connection, target, self._environ)
            async with reading(connection):
                return await read_facts(connection, target, pooler)

    @activity.defn
    async def observe_statements(self, request: ObserveStatements) -> ObservedStatements:
        """Counters of all statements over a window; a killed worker's next attempt goes on with the same window."""
        _postgresql(request.target)
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/statements")
        return await resumable(folder, ObservedStatements, lambda: observe(request, self._environ, folder, self._artifacts))

    @activity.defn
    async def sample_activity(self, request: SampleActivity) -> ActivitySampled:
        """Look at sessions once per interval, through a window."""
        _postgresql(request.target)
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/activity")
        sessions = PostgresSessions(request.target, self._environ)
        return await resumable(folder, ActivitySampled, lambda: SessionSampling(request, sessions, folder).run(self._artifacts))

    @activity.defn
    async def read_catalog(self, request: ReadCatalog) -> CatalogRead:
        """Tables, columns, indexes and their statistics, the largest tables first."""
        _postgresql(request.target)
        async with beating(lambda: {"doing": "reading the catalog"}):
            return await read_tables(request, self._environ, self._artifacts)


def _postgresql(target: Target) -> Target:
    if target.kind != "postgresql":
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"{target.title} is a target of kind {target.kind}, not postgresql",
            way_out='Name a target with kind = "postgresql" and dsn_env',
        )
    return target
