"""MySQL and MariaDB as they run: what they are, which statements they executed in a window, what their sessions did, what their tables are,
and plans of their statements.

Reads system tables, never rows of tables but by a statement that is executed for its plan; writes nothing, sets nothing for others.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.explained_together import added_to
from activities.heartbeats import beating
from activities.kept_values import KeptValues
from activities.mysql_activity import MysqlSessions
from activities.mysql_catalog import read_tables
from activities.mysql_connection import connected, connection_parameters
from activities.mysql_explain import Explaining
from activities.mysql_facts import read_facts
from activities.mysql_window import observe
from activities.recording_folder import RecordingFolder, resumable
from activities.session_sampling import SessionSampling
from perfwright.analysis.statements.stored import MEDIA_TYPE, encode
from perfwright.models.database import DatabaseFacts
from perfwright.models.errors import ErrorType
from perfwright.models.query_advice import AdviceOnTrial, AdviceTried, TriedAdvice
from perfwright.models.query_steps import (
    ActivitySampled,
    CatalogRead,
    ExplainedStatements,
    ExplainStatements,
    InspectDatabase,
    ObservedStatements,
    ObserveStatements,
    ReadCatalog,
    SampleActivity,
)
from perfwright.models.target import Target

NOT_TRIED = "MySQL and MariaDB have no hypothetical indexes: advice was not tried"


class Mysql:
    """Activities on a target's server. `environ` holds connection strings; `state_folder` holds windows and runs in progress.

    Errors of all: TargetRefused (another kind of target, no usable connection string), DatabaseUnreachable, DatabaseRefused, ToolFailed,
    and of those that store something StoreUnavailable.
    """

    def __init__(self, artifacts: ArtifactStore, environ: Mapping[str, str], state_folder: Path) -> None:
        self._artifacts, self._environ, self._state_folder = artifacts, environ, state_folder

    @activity.defn
    async def inspect_mysql(self, request: InspectDatabase) -> DatabaseFacts:
        """Connect, and tell what the server is, has and lets us see; what cannot be seen is listed with the way out."""
        target = _mysql(request.target)
        database = connection_parameters(target, self._environ).database
        async with beating(lambda: {"doing": "inspecting"}), connected(target, self._environ, in_database=True) as session:
            return await read_facts(session, target, database)

    @activity.defn
    async def observe_mysql_statements(self, request: ObserveStatements) -> ObservedStatements:
        """Counters of all statements over a window; a killed worker's next attempt goes on with the same window."""
        _mysql(request.target)
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/statements")
        return await resumable(folder, ObservedStatements, lambda: observe(request, self._environ, folder, self._artifacts))

    @activity.defn
    async def sample_mysql_activity(self, request: SampleActivity) -> ActivitySampled:
        """Look at sessions once per interval, through a window."""
        _mysql(request.target)
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/activity")
        sessions = MysqlSessions(request.target, self._environ)
        return await resumable(folder, ActivitySampled, lambda: SessionSampling(request, sessions, folder).run(self._artifacts))

    @activity.defn
    async def read_mysql_catalog(self, request: ReadCatalog) -> CatalogRead:
        """Tables, columns, indexes and their statistics, the largest tables first."""
        _mysql(request.target)
        async with beating(lambda: {"doing": "reading the catalog"}):
            return await read_tables(request, self._environ, self._artifacts)

    @activity.defn
    async def explain_mysql_statements(self, request: ExplainStatements) -> ExplainedStatements:
        """Plans of the statements, in their order; goes on where a killed worker stopped."""
        _mysql(request.target)
        key = hashlib.sha256(request.model_dump_json().encode()).hexdigest()[:12]
        folder = RecordingFolder(self._state_folder, f"{request.artifact_prefix}/explain-{key}")
        explaining = Explaining(request, self._artifacts, self._environ, folder, KeptValues(self._state_folder))

        async def explain() -> ExplainedStatements:
            path = f"{request.artifact_prefix}/plans-{key}-all.json.gz"
            return await added_to(request.earlier, await explaining.run(), self._artifacts, path)

        return await resumable(folder, ExplainedStatements, explain)

    @activity.defn
    async def try_mysql_advice(self, request: AdviceOnTrial) -> AdviceTried:
        """Nothing: there are no hypothetical indexes, and rewrites are derived for PostgreSQL only. Says so."""
        _mysql(request.target)
        tried = TriedAdvice(warnings=(NOT_TRIED,))
        path = f"{request.artifact_prefix}/tried.json.gz"
        return AdviceTried(tried=await self._artifacts.put(path, encode(tried), MEDIA_TYPE, "What became of the advice"))


def _mysql(target: Target) -> Target:
    if target.kind != "mysql":
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"{target.title} is a target of kind {target.kind}, not mysql",
            way_out='Name a target with kind = "mysql" and dsn_env',
        )
    return target
