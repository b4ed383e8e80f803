"""`python worker.py` as its users run it."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from temporalio.api.enums.v1 import TaskQueueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest
from temporalio.api.taskqueue.v1 import TaskQueue
from temporalio.api.workflowservice.v1 import DescribeTaskQueueRequest, RegisterNamespaceRequest
from temporalio.client import Client

from starter.children import Child
from starter.search_attributes import KEYWORD_LIST
from tests.needs import needs
from tests.starter.conftest import say

pytestmark = needs("temporal")

WORKER = Path(__file__).resolve().parents[2] / "worker.py"


def environment(address: str, folder: Path, **more: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
    ours = {"TEMPORAL_ADDRESS": address, "PERFWRIGHT_METRICS": "off", "PERFWRIGHT_CONFIG": str(folder / "perfwright.toml")}
    (folder / "perfwright.toml").touch()
    return kept | ours | more


@contextmanager
def worker(address: str, folder: Path, *options: str, **more: str) -> Iterator[tuple[Child, dict[str, Any]]]:
    command = [sys.executable, str(WORKER), *options]
    with Child("worker", command, env=environment(address, folder, **more), cwd=folder, grace_s=30) as child:
        yield child, child.wait_ready(90)


async def refused(address: str, folder: Path, *options: str, **more: str) -> tuple[int, str]:
    """Run a worker that must not start; return its exit code and what it said."""
    said = await say(options, environment(address, folder, **more), folder, program=WORKER)
    assert said.out == "", "it never claimed to be ready"
    return said.code, said.err


async def pollers(client: Client, queue: str) -> list[str]:
    request = DescribeTaskQueueRequest(
        namespace="default", task_queue=TaskQueue(name=queue), task_queue_type=TaskQueueType.TASK_QUEUE_TYPE_ACTIVITY
    )
    return [poller.identity for poller in (await client.workflow_service.describe_task_queue(request)).pollers]


def test_it_is_ready_serves_and_ends_gracefully(temporal_server: str, tmp_path: Path) -> None:
    """One JSON line tells that it polls and where its metrics are; SIGTERM ends it with exit code 0."""
    with worker(temporal_server, tmp_path, PERFWRIGHT_METRICS="127.0.0.1:0") as (child, told):
        assert told["task_queues"] == ["perfwright", "perf-host.local", "perf-host.local.probe"]
        with urllib.request.urlopen(told["metrics"], timeout=10) as answer:
            assert "temporal_" in answer.read().decode()
        child.signal(signal.SIGTERM)
        assert child.wait_ended(60)
    assert child.exit_code == 0, child.last_lines(20)


def test_one_of_several_central_workers_takes_no_steps(temporal_server: str, tmp_path: Path) -> None:
    """As deployments set it, a worker serves processes and no host: two of them would each take a part of a run's steps on "local"."""
    with worker(temporal_server, tmp_path, PERFWRIGHT_SERVE_LOCAL="0") as (_, told):
        assert told["task_queues"] == ["perfwright"]


async def test_a_host_worker_serves_its_host_alone(temporal_server: str, client: Client, tmp_path: Path, host_name: str) -> None:
    """`--host` polls the host's queue and its probe queue, and nothing else."""
    with worker(temporal_server, tmp_path, "--host", host_name) as (child, told):
        assert told["task_queues"] == [f"perf-host.{host_name}", f"perf-host.{host_name}.probe"]
        for queue in told["task_queues"]:
            while not any(identity.startswith(f"{child.pid}@") for identity in await pollers(client, queue)):
                assert not child.ended
        child.signal(signal.SIGINT)
        assert child.wait_ended(60)
    assert child.exit_code == 0, child.last_lines(20)


async def test_no_server_is_one_clear_line(tmp_path: Path) -> None:
    """Exit code 5 and one line with the address and what to do; no stack trace."""
    code, said = await refused("127.0.0.1:1", tmp_path)
    assert code == 5
    assert said.count("\n") == 1 and "127.0.0.1:1" in said and "perfwright up" in said


async def test_a_namespace_that_is_not_there_is_one_clear_line(temporal_server: str, tmp_path: Path) -> None:
    """The namespace is named with the command that makes it."""
    code, said = await refused(temporal_server, tmp_path, TEMPORAL_NAMESPACE="elsewhere")
    assert code == 5 and said.count("\n") == 1 and "namespace create --namespace elsewhere" in said


async def test_a_bad_settings_file_is_one_clear_line(temporal_server: str, tmp_path: Path) -> None:
    """A Temporal configuration that is no TOML is told, not skipped."""
    (tmp_path / "temporal.toml").write_text("[profile.default\n")
    code, said = await refused(temporal_server, tmp_path, TEMPORAL_CONFIG_FILE=str(tmp_path / "temporal.toml"))
    assert code == 5 and said.count("\n") == 1 and "cannot be read" in said


async def test_a_bad_registry_is_told_whole(temporal_server: str, tmp_path: Path) -> None:
    """Every mistake of the registry is told before anything polls."""
    (tmp_path / "perfwright.toml").write_text("[targets.one]\nkind = 'nonsense'\n[targets.two]\ncolour = 'red'\n")
    code, said = await refused(temporal_server, tmp_path)
    assert code == 5 and "targets.one" in said and "targets.two" in said and "Traceback" not in said


async def test_wrong_search_attributes_keep_it_from_starting(temporal_server: str, client: Client, tmp_path: Path) -> None:
    """A namespace where one of them has another type is refused, with both types."""
    request = RegisterNamespaceRequest(namespace="wrong-types")
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(request)
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace="wrong-types", search_attributes={"PerfVerdict": KEYWORD_LIST})
    )
    code, said = await refused(temporal_server, tmp_path, TEMPORAL_NAMESPACE="wrong-types")
    assert code == 5 and "PerfVerdict is KeywordList, Keyword is needed" in said


@pytest.mark.parametrize(
    ("options", "more", "told"),
    [
        (["--host", "a/b"], {}, "--host a/b"),
        (["--nonsense"], {}, "--nonsense"),
        ([], {"PERFWRIGHT_MAX_CACHED_WORKFLOWS": "many"}, "PERFWRIGHT_MAX_CACHED_WORKFLOWS=many"),
        ([], {"PERFWRIGHT_SHUTDOWN_GRACE_S": "-1"}, "PERFWRIGHT_SHUTDOWN_GRACE_S=-1"),
        ([], {"PERFWRIGHT_SERVE_LOCAL": "no"}, "PERFWRIGHT_SERVE_LOCAL=no"),
        ([], {"PERFWRIGHT_LOG_LEVEL": "LOUD"}, "PERFWRIGHT_LOG_LEVEL"),
    ],
)
async def test_bad_usage_is_exit_code_2(tmp_path: Path, options: list[str], more: dict[str, str], told: str) -> None:
    """Options and settings that make no sense are refused by name before anything is connected."""
    code, said = await refused("127.0.0.1:1", tmp_path, *options, **more)
    assert code == 2 and told in said and "Traceback" not in said


def test_a_second_signal_ends_at_once() -> None:
    """Whoever asks twice does not wait for a grace."""
    script = """
import asyncio, os, signal
from starter.worker_process import _on_signals
async def main():
    stop = asyncio.Event()
    _on_signals(stop)
    os.kill(os.getpid(), signal.SIGTERM)
    await stop.wait()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.sleep(60)
asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", script], timeout=60).returncode == 128 + signal.SIGTERM


def test_a_signal_ends_a_start_that_waits(tmp_path: Path) -> None:
    """A worker that waits for its server to answer ends at SIGTERM as one that polls: gracefully, and not when its patience is over."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(120)
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, str(WORKER)], env=environment(address, tmp_path), cwd=tmp_path, stderr=subprocess.PIPE, text=True
        ) as starting:
            connection, _ = silent.accept()
            with connection:
                starting.send_signal(signal.SIGTERM)
                _, said = starting.communicate(timeout=120)
    assert starting.returncode == 0, said
    assert "stopped before it polled" in said and address not in said


def test_importing_it_is_cheap() -> None:
    """`import worker` loads no SDK: the packaging and the command line can name it for free."""
    script = "import json, sys, worker; print(json.dumps([m for m in sys.modules if m.startswith(('temporalio', 'pydantic', 'starter'))]))"
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert json.loads(ran.stdout) == []
