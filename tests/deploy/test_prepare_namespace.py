"""The job that makes the namespace and its search attributes, and the health check: the commands as the image runs them."""

import os
import subprocess
import sys
import uuid
from pathlib import Path

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client

from starter.search_attributes import SEARCH_ATTRIBUTES
from starter.worker_metrics import start_metrics
from tests.needs import needs

ROOT = Path(__file__).resolve().parents[2]
PREPARE = ROOT / "deploy" / "temporal" / "prepare_namespace.py"
HEALTHCHECK = ROOT / "deploy" / "docker" / "healthcheck.py"


def run(script: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("TEMPORAL_", "PERFWRIGHT_"))}
    command = [sys.executable, str(script), *options]
    return subprocess.run(command, env=kept | {"PYTHONPATH": str(ROOT)} | environment, capture_output=True, text=True, timeout=120, cwd="/")


@needs("temporal")
async def test_a_namespace_is_made_with_all_a_worker_relies_on(client: Client, temporal_server: str) -> None:
    """Made with its retention and the search attributes of the worker; again changes nothing but a retention that is another."""
    namespace = f"made-{uuid.uuid4().hex[:8]}"
    where = {"TEMPORAL_ADDRESS": temporal_server, "TEMPORAL_NAMESPACE": namespace}
    for options, told, hours in (([], "made", 720), ([], "already there,", 720), (["--retention-hours", "48"], "another retention", 48)):
        ran = run(PREPARE, *options, **where)
        assert ran.returncode == 0 and told in ran.stdout, ran.stderr
        described = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
        assert described.config.workflow_execution_retention_ttl.seconds == hours * 3_600
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=namespace))
    assert {name: kind for name, kind in listed.custom_attributes.items() if name.startswith("Perf")} == SEARCH_ATTRIBUTES


def test_an_absurd_retention_is_refused() -> None:
    """Exit code 2 and what is allowed, before anything is connected."""
    ran = run(PREPARE, "--retention-hours", "5", TEMPORAL_ADDRESS="127.0.0.1:1")
    assert ran.returncode == 2 and "from 24 to 87600" in ran.stderr and "Traceback" not in ran.stderr


def test_a_worker_that_does_not_answer_is_unhealthy() -> None:
    """No endpoint, or none configured: exit code 1 and the reason, which `docker inspect` shows."""
    for metrics, told in (("127.0.0.1:1", "do not answer"), ("off", "names no port")):
        ran = run(HEALTHCHECK, PERFWRIGHT_METRICS=metrics)
        assert ran.returncode == 1 and told in ran.stderr and ran.stderr.count("\n") == 1


def test_a_worker_that_polls_nothing_is_unhealthy() -> None:
    """An endpoint alone is no worker."""
    metrics = start_metrics({"PERFWRIGHT_METRICS": "127.0.0.1:0"})  # held: the endpoint goes with it
    assert metrics.url is not None
    ran = run(HEALTHCHECK, PERFWRIGHT_METRICS=metrics.url.removeprefix("http://").removesuffix("/metrics"))
    assert ran.returncode == 1 and "polls no task queue" in ran.stderr


@needs("temporal")
async def test_a_worker_that_polls_is_healthy(temporal_server: str, tmp_path: Path) -> None:
    """The check says yes to a real worker, wherever it listens."""
    from tests.starter.test_worker import worker

    with worker(temporal_server, tmp_path, "--host", f"host-{uuid.uuid4().hex[:8]}", PERFWRIGHT_METRICS="0.0.0.0:0") as (_, told):
        address = told["metrics"].removeprefix("http://").removesuffix("/metrics")
        ran = run(HEALTHCHECK, PERFWRIGHT_METRICS=address)
        assert ran.returncode == 0, ran.stderr
