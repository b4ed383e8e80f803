"""A process that proposes a change, for tests; in a file of its own, because the sandbox imports it again for every run."""

from temporalio import workflow

from perfwright.models.trial_run import TrialRequest, TrialResult
from workflows.changes.trial import Trial


@workflow.defn
class Proposing:
    """Its trial has `/trial` behind its id."""

    @workflow.run
    async def run(self, request: TrialRequest) -> TrialResult:
        result: TrialResult = await workflow.execute_child_workflow(Trial.run, request, id=f"{workflow.info().workflow_id}/trial")
        return result
