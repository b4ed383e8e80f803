"""Plans of costly statements, taken after approval, put together with those that the run had before."""

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from perfwright.analysis.explaining.bounds import bounded
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.query_steps import ExplainedStatements, PlanSet


async def added_to(
    earlier: ExplainedStatements | None, result: ExplainedStatements, artifacts: ArtifactStore, path: str
) -> ExplainedStatements:
    """The earlier plans, with those that were taken again in their place; the result alone where there are none."""
    if earlier is None:
        return result
    before, again = await artifacts.get(earlier.plans), await artifacts.get(result.plans)
    data = await in_own_process(plans_together, before, again)
    plans = await artifacts.put(path, data, MEDIA_TYPE, "Plans, with those of costly statements")
    taken = {one.fingerprint: one for one in result.outcomes}
    together = ExplainedStatements(
        plans=plans,
        outcomes=tuple(taken.get(one.fingerprint, one) for one in earlier.outcomes),
        costly=result.costly,
        approved=result.approved,
        warnings=tuple(dict.fromkeys((*earlier.warnings, *result.warnings))),
    )
    return bounded(together)


def plans_together(before: bytes, again: bytes) -> bytes:
    """In a process of its own: one artifact of two; a statement that is in both has the later plans."""
    earlier, later = decode(PlanSet, before), decode(PlanSet, again)
    taken = {one.fingerprint: one for one in later.statements}
    return encode(earlier.model_copy(update={"statements": tuple(taken.get(one.fingerprint, one) for one in earlier.statements)}))
