"""One table of statements from counters, log and given SQL; in a process of its own, from the artifacts of the steps before."""

import gc
import tempfile
from pathlib import Path
from typing import Any

from temporalio import activity

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.errors import refuse
from perfwright.analysis.statements.stored import MEDIA_TYPE, DocumentTooLarge, decode, encode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import Catalog, DatabaseFacts
from perfwright.models.errors import ErrorType
from perfwright.models.query_performance import QueryPerformanceRequest, StatementSummary
from perfwright.models.query_steps import GroupedStatements, GroupStatements
from perfwright.models.statement import LogDigest, ObservedWindow
from perfwright.models.vocabulary import Model

TOP_LISTED = 40
TOP_BYTES = 24 * 1024
"""Of the texts in the answer, which later steps and the result carry on beside findings: one payload may have 256 KiB."""


class Grouped(Model):
    """What the other process answers, beside the table."""

    statements: int
    total_ms: float
    top: tuple[StatementSummary, ...]
    chosen: tuple[str, ...]
    chosen_share: float
    unknown: tuple[str, ...]
    unreadable: int


class StatementGrouping:
    """From every source to the statements that would be examined."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        self._artifacts = artifacts

    @activity.defn
    async def group_statements(self, request: GroupStatements) -> GroupedStatements:
        """The table as an artifact, its costliest statements, and which of them to examine.

        Raises OutputTooLarge where a source or the table is more than fits into memory.
        """
        with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
            window = await self._kept(folder, "window", request.observed.window if request.observed else None)
            log = await self._kept(folder, "log", request.log.digest if request.log else None)
            catalog = await self._kept(folder, "catalog", request.catalog)
            # Where literals are masked, the host handed on those of the input as well.
            given = request.given if request.given_kept_in else (*request.request.statements, *request.given)
            try:
                data, grouped = await in_own_process(
                    grouped_from,
                    window,
                    log,
                    catalog,
                    given,
                    request.database,
                    request.request,
                    request.given_kept_in,
                    heartbeat=_beat,
                )
            except DocumentTooLarge as trouble:
                way_out = "Observe for a shorter time, or read fewer log files"
                raise refuse(ErrorType.OUTPUT_TOO_LARGE, str(trouble), way_out=way_out) from trouble
        table = await self._artifacts.put(
            f"{request.artifact_prefix}/statement-table.json.gz", data, MEDIA_TYPE, "Statements by share of time"
        )
        return GroupedStatements(
            table=table,
            statements=grouped.statements,
            total_ms=grouped.total_ms,
            top=grouped.top,
            chosen=grouped.chosen,
            chosen_share=grouped.chosen_share,
            unknown_fingerprints=grouped.unknown,
            unreadable=grouped.unreadable,
        )

    async def _kept(self, folder: str, name: str, artifact: ArtifactRef | None) -> str:
        """The path of a copy of the artifact; empty when there is none."""
        if artifact is None:
            return ""
        path = Path(folder) / name
        await self._artifacts.get_file(artifact, path)
        return str(path)


def grouped_from(
    window: str,
    log: str,
    catalog: str,
    given: tuple[str, ...],
    database: DatabaseFacts,
    request: QueryPerformanceRequest,
    given_kept_in: str = "",
) -> tuple[bytes, Grouped]:
    """In a process of its own: the encoded table, and what the answer says of it. Paths of artifacts; empty: there is none."""
    from perfwright.analysis.statements.choosing import choose, summaries
    from perfwright.analysis.statements.grouping import group_statements

    # Parse trees are large and have no cycles: looking for some in them takes a fifth of the time.
    gc.disable()
    try:
        table = group_statements(
            decode(ObservedWindow, Path(window).read_bytes()) if window else None,
            decode(LogDigest, Path(log).read_bytes()) if log else None,
            given,
            decode(Catalog, Path(catalog).read_bytes()) if catalog else None,
            database=database,
            given_kept_in=given_kept_in,
        )
    finally:
        gc.enable()
    choice = choose(table, request)
    grouped = Grouped(
        statements=len(table.statements) + len(table.unreadable),
        total_ms=table.total_ms,
        top=summaries(table, most=TOP_LISTED, most_bytes=TOP_BYTES),
        chosen=choice.fingerprints,
        chosen_share=choice.share,
        unknown=choice.unknown,
        unreadable=len(table.unreadable),
    )
    return encode(table), grouped


def _beat(elapsed_s: float, _: Any) -> None:
    activity.heartbeat({"doing": "grouping statements", "elapsed_s": round(elapsed_s, 1)})
