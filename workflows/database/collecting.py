"""What is collected of a database while its target is held, one activity each; counters, sessions and log over the same window."""

from temporalio import workflow

from activities.sql_files import SqlFiles
from perfwright.models.database import DatabaseFacts
from perfwright.models.history import CATALOG, RecordedProfile
from perfwright.models.query_performance import QueryPerformanceRequest
from perfwright.models.query_steps import (
    ActivitySampled,
    CatalogRead,
    LogReadDone,
    Observation,
    ObservedStatements,
    ObserveStatements,
    ReadCatalog,
    ReadLog,
    ReadSqlFile,
    SampleActivity,
)
from perfwright.models.target import Target
from workflows.database.database_steps import DatabaseSteps
from workflows.shared.options import asking, measuring

LONGEST_READ_S = 3_600.0
"""64 files of a server's log, at some 60 MB a second."""


async def count_statements(steps: DatabaseSteps, request: QueryPerformanceRequest, target: Target, prefix: str) -> ObservedStatements:
    return await workflow.execute_activity_method(
        steps.observe,
        ObserveStatements(target=target, duration_s=request.window_s, artifact_prefix=prefix, mask_literals=bool(request.mask_literals)),
        summary=f"Count what each statement costs {target.title} in {request.window_s:g} s",
        **measuring(request.window_s, on=target.host),
    )


async def sample_activity(steps: DatabaseSteps, request: QueryPerformanceRequest, target: Target, prefix: str) -> ActivitySampled:
    return await workflow.execute_activity_method(
        steps.sample,
        SampleActivity(target=target, duration_s=request.window_s, artifact_prefix=prefix),
        summary=f"Look at sessions of {target.title} and what they wait for",
        **measuring(request.window_s, on=target.host),
    )


async def read_log(
    steps: DatabaseSteps, request: QueryPerformanceRequest, target: Target, database: DatabaseFacts, prefix: str
) -> LogReadDone:
    what = f"{len(request.log_files)} log files" if request.log_files else f"the log of {target.title}"
    return await workflow.execute_activity_method(
        steps.read_log,
        ReadLog(
            target=target,
            files=request.log_files,
            folder=database.log_folder,
            log_format=database.log_format,
            follow_s=0.0 if request.log_files else request.window_s,
            artifact_prefix=prefix,
            mask_literals=bool(request.mask_literals),
        ),
        summary=f"Read {what}: durations, parameters, plans",
        **measuring(request.window_s + LONGEST_READ_S, on=target.host),
    )


async def read_catalog(steps: DatabaseSteps, request: QueryPerformanceRequest, target: Target, prefix: str) -> CatalogRead:
    return await workflow.execute_activity_method(
        steps.read_catalog,
        ReadCatalog(target=target, artifact_prefix=prefix, mask_literals=bool(request.mask_literals)),
        summary=f"Read tables, indexes and statistics of {target.title}",
        **measuring(60, on=target.host),
    )


async def with_given(
    observation: Observation, request: QueryPerformanceRequest, target: Target, database: DatabaseFacts, prefix: str
) -> Observation:
    """With the statements of the input's file. Where literals are masked, those of the input itself are kept on the host with them."""
    masks = bool(request.mask_literals)
    if request.sql_file is None and not (masks and request.statements):
        return observation
    kept_in = f"{prefix}/given" if masks else ""
    file = request.sql_file or ""
    what = f"the statements in {file.rpartition('/')[2][:100]}" if file else f"{len(request.statements)} statements of the input"
    given: tuple[str, ...] = await workflow.execute_activity_method(
        SqlFiles.read_sql_file,
        ReadSqlFile(path=file, statements=request.statements if masks else (), system=database.system, kept_in=kept_in),
        summary=f"Read {what}",
        **asking(on=target.host),
    )
    return observation.model_copy(update={"given": given, "given_kept_in": kept_in})


def catalog_kept(observation: Observation) -> tuple[RecordedProfile, ...]:
    """For later runs, which know by it what was there by now."""
    return (RecordedProfile(kind=CATALOG, artifact=observation.catalog.catalog),)
