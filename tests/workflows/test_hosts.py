"""Is there a worker on the host? Against a real server."""

import os
import platform
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from activities.hosts import Hosts
from activities.queues import Queues
from perfwright.models.host import HostFacts, HostSighting
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.queues import probe_queue
from tests.workflows.host_processes import Journey, Reaching

Reach = Callable[..., Awaitable[HostFacts]]


@pytest.fixture
def reach(client: Client, task_queue: str, host_name: str) -> Reach:
    async def reach(within_s: float = 30.0) -> HostFacts:
        journey = Journey(host=host_name, within_s=within_s)
        return await client.execute_workflow(Reaching.run, journey, id=f"reaching-{host_name}", task_queue=task_queue)

    return reach


def refusal(caught: pytest.ExceptionInfo[WorkflowFailureError]) -> str:
    error = caught.value.cause
    assert isinstance(error, ApplicationError) and error.type == "HostUnreachable" and error.non_retryable
    return error.message


async def test_a_host_with_a_worker_tells_its_facts(running_worker: Any, reach: Reach, host_name: str) -> None:
    """Kernel, CPUs, memory, tools and tracing permissions are those of the machine that the worker runs on."""
    async with (
        running_worker(workflows=[Reaching], activities=[Queues().describe_host_queue]),
        running_worker(task_queue=probe_queue(host_name), activities=[Hosts(host_name).probe_host]),
    ):
        facts = await reach()
    assert (facts.host, facts.worker_pid, facts.uid) == (host_name, os.getpid(), os.geteuid())
    assert platform.release() in facts.kernel and facts.cpu_count >= 1 and facts.memory_bytes > 1 << 20
    assert facts.worker_identity and facts.cpu_model
    assert facts.software["py-spy"][0].isdigit(), "py-spy is installed beside the worker"
    assert facts.free_disk_bytes is not None and facts.free_disk_bytes > 0
    assert len(facts.model_dump_json()) < 4_096
    assert facts.environment == EnvironmentFingerprint.model_validate(facts.model_dump())


async def test_a_host_without_a_worker_is_told_by_name(running_worker: Any, reach: Reach, host_name: str) -> None:
    """No worker has ever polled: the error names the host and the two commands that start one there."""
    async with running_worker(workflows=[Reaching], activities=[Queues().describe_host_queue]):
        with pytest.raises(WorkflowFailureError) as caught:
            await reach(within_s=1)
    text = refusal(caught)
    assert f"no worker has been seen for host {host_name}" in text
    assert f"perfwright worker --host {host_name}" in text and f"python worker.py --host {host_name}" in text


async def test_a_host_whose_worker_was_stopped_is_told(running_worker: Any, client: Client, reach: Reach, host_name: str) -> None:
    """A worker was there and is gone: the error says who was seen last and how long ago."""
    async with running_worker(workflows=[Reaching], activities=[Queues().describe_host_queue]):
        async with running_worker(task_queue=probe_queue(host_name), activities=[Hosts(host_name).probe_host]):
            await reach()
        with pytest.raises(WorkflowFailureError) as caught:
            await reach(within_s=1)
    text = refusal(caught)
    assert client.identity in text and "was last seen" in text and f"--host {host_name}" in text


def test_the_machine_of_targets_that_name_no_host() -> None:
    """For the host `local` the command has no --host; in a deployment no command helps, but the host's name in the registry."""
    sentence = HostSighting(host="local", queue=probe_queue("local")).sentence
    assert "`perfwright worker` (or `python worker.py`)" in sentence
    assert 'name their host in the registry (host = "NAME")' in sentence


def test_what_may_be_traced() -> None:
    """Permission is told from what the kernel says: the ptrace scope and the worker's capabilities."""
    facts = HostFacts(host="h", kernel="", cpu_model="", cpu_count=1, memory_bytes=1)
    table = [
        ((), None, True, False),
        ((), 0, True, False),
        ((), 1, False, False),
        (("SYS_PTRACE",), 1, True, True),
        (("SYS_PTRACE",), 2, True, True),
        (("SYS_PTRACE",), 3, False, False),
    ]
    for capabilities, scope, own, any_process in table:
        told = facts.model_copy(update={"capabilities": capabilities, "yama_scope": scope})
        assert (told.traces_own, told.traces_any) == (own, any_process)
