"""A run whose workflow task fails, for the metric that counts those; in a file of its own, because the sandbox imports it again."""

from temporalio import workflow


@workflow.defn
class StuckSample:
    """Raises what no workflow should: its task is tried again for ever, as after a change that old runs cannot replay."""

    @workflow.run
    async def run(self) -> None:
        raise RuntimeError("a mistake in workflow code")
