"""What IndexStrategyOptimization asks of its steps on clones."""

from perfwright.models.database import DatabaseFacts
from perfwright.models.index_steps import ClonePlan, SearchIndexes
from perfwright.models.index_strategy import IndexStrategyRequest
from perfwright.models.query_steps import GroupedStatements, Observation
from perfwright.models.target import Target
from workflows.shared.closing import artifact_folder


def clone_plan(request: IndexStrategyRequest, target: Target) -> ClonePlan:
    """Where clones are made, within which bounds, and whether one of statistics alone may take their place."""
    return ClonePlan(
        target=target,
        dsn_env=request.clone_dsn_env,
        owner=artifact_folder(target.name),
        limit_mb=request.clone_limit_mb,
        limit_s=request.clone_limit_s,
        statistics=request.decided(target.environment).statistics_clone or "never",
    )


def search_order(
    request: IndexStrategyRequest, clone: ClonePlan, database: DatabaseFacts, observation: Observation, grouped: GroupedStatements
) -> SearchIndexes:
    """The search over the statements that were chosen."""
    return SearchIndexes(
        target=clone.target,
        database=database,
        request=request.model_copy(update={"statements": ()}),
        table=grouped.table,
        fingerprints=grouped.chosen,
        catalog=observation.catalog.catalog,
        clone=clone,
        artifact_prefix=artifact_folder(clone.target.name),
    )
