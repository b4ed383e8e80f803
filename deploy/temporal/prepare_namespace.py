"""Make the namespace and its search attributes usable, for the job that runs before any worker does.

    python deploy/temporal/prepare_namespace.py --retention-hours 720

Connection as everywhere (profiles and TEMPORAL_*). Which search attributes there are is said in `starter/search_attributes.py` alone.
Running it again changes nothing; another retention is set on the namespace that exists. Exit code 0, 2 for bad usage, 5 when it cannot.
"""

import argparse
import asyncio
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

from google.protobuf.duration_pb2 import Duration
from temporalio.api.namespace.v1 import NamespaceConfig
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest, RegisterNamespaceRequest, UpdateNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from starter.connection import load_connection
from starter.failures import CANNOT_BE_CARRIED_OUT, CannotStart
from starter.process_exit import exit_at_once
from starter.search_attributes import ensure_search_attributes

DESCRIPTION = "Performance-engineering processes of Perfwright"
LEAST_RETENTION_HOURS, MOST_RETENTION_HOURS = 24, 24 * 3_650
PATIENCE_S = 90.0
"""A server that has just started, and a namespace that has just been made, are known to all of its parts after some ten seconds."""
PASSING = {RPCStatusCode.NOT_FOUND, RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED}

T = TypeVar("T")


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(prog="prepare_namespace.py", description="Make the namespace and its search attributes.")
    parser.add_argument("--retention-hours", type=_retention, default=720, metavar="N", help="how long closed runs are kept (default 720)")
    hours = parser.parse_args(argv).retention_hours
    try:
        print(asyncio.run(prepare(hours)))
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)
        return CANNOT_BE_CARRIED_OUT
    return 0


def _retention(told: str) -> int:
    if not told.isdigit() or not LEAST_RETENTION_HOURS <= int(told) <= MOST_RETENTION_HOURS:
        raise argparse.ArgumentTypeError(f"{told} is not a whole number of hours from {LEAST_RETENTION_HOURS} to {MOST_RETENTION_HOURS}")
    return int(told)


async def prepare(retention_hours: int) -> str:
    """What was done, in one line. Raises `CannotStart` for a server that does not serve, a refusal, or an attribute of another type."""
    config = load_connection()
    address, namespace = config["target_host"], config["namespace"]
    retention = Duration(seconds=retention_hours * 3_600)
    client = await _patiently(lambda: Client.connect(**config), f"no Temporal server answers at {address}")
    try:
        done = await _make(client, namespace, retention)
    except RPCError as error:
        raise CannotStart(
            f"the namespace {namespace!r} cannot be made at {address} ({error.status.name}: {error.message})",
            way_out="Have an administrator make it, then start this again",
        ) from None
    await _patiently(lambda: _ask_once(client), f"the namespace {namespace!r} is not usable at {address}")
    await ensure_search_attributes(client)
    return f"namespace {namespace} at {address}: {done}, runs are kept for {retention_hours} h, search attributes are usable"


async def _make(client: Client, namespace: str, retention: Duration) -> str:
    try:
        await client.workflow_service.register_namespace(
            RegisterNamespaceRequest(namespace=namespace, description=DESCRIPTION, workflow_execution_retention_period=retention)
        )
        return "made"
    except RPCError as error:
        if error.status != RPCStatusCode.ALREADY_EXISTS:
            raise
    found = await client.workflow_service.describe_namespace(DescribeNamespaceRequest(namespace=namespace))
    if found.config.workflow_execution_retention_ttl == retention:
        return "already there"
    config = NamespaceConfig(workflow_execution_retention_ttl=retention)
    await client.workflow_service.update_namespace(UpdateNamespaceRequest(namespace=namespace, config=config))
    return "already there with another retention"


async def _ask_once(client: Client) -> None:
    """Ask as a worker will: the frontend hears of a new namespace later than the part that made it."""
    await client.count_workflows("ExecutionStatus = 'Running'")


async def _patiently(attempt: Callable[[], Awaitable[T]], trouble: str) -> T:
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    while True:
        try:
            return await attempt()
        except (RuntimeError, RPCError) as error:
            lasting = isinstance(error, RPCError) and error.status not in PASSING
            if lasting or asyncio.get_running_loop().time() > deadline:
                raise CannotStart(f"{trouble} ({' '.join(str(error).split())[:300]})") from None
        await asyncio.sleep(1)


if __name__ == "__main__":
    exit_at_once(main(sys.argv[1:]))
