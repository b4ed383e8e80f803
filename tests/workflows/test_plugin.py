from temporalio import workflow


@workflow.defn
class Hello:
    @workflow.run
    async def run(self) -> str:
        return "hi"


async def test_hello(client, running_worker, task_queue):
    async with running_worker(workflows=[Hello]):
        assert await client.execute_workflow(Hello.run, id=task_queue, task_queue=task_queue) == "hi"
