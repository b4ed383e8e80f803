"""A process that waits for a change of somebody's."""

from temporalio import workflow

from perfwright.models.vocabulary import Input
from workflows.shared.human_gates import HumanGates
from workflows.shared.submitted_changes import SubmittedChanges


class Waiting(Input):
    """For how long, and how many."""

    deadline_s: float = 3_600.0
    item: str = ""
    changes: int = 1


@workflow.defn
class WaitingForChanges(HumanGates, SubmittedChanges):
    @workflow.run
    async def run(self, request: Waiting) -> list[str]:
        found: list[str] = []
        for _ in range(request.changes):
            change = await self.submitted_change(request.deadline_s, request.item)
            found.append("nobody" if change is None else f"{change.by}: {change.spec.ref or change.spec.patch}")
        await self.finish()
        return found
