"""A process that only asks for its host, for tests; in a file of its own, because the sandbox imports it again for every run."""

from temporalio import workflow

from perfwright.models.host import HostFacts
from perfwright.models.vocabulary import Model
from workflows.shared.hosts import reach_host


class Journey(Model):
    host: str
    within_s: float = 30.0


@workflow.defn
class Reaching:
    @workflow.run
    async def run(self, journey: Journey) -> HostFacts:
        return await reach_host(journey.host, within_s=journey.within_s)
