"""The worker: workflows and central activities, or the activities of one or more hosts.

python worker.py                      workflows, central activities, and the steps on this machine (host "local")
python worker.py --host db1           only the steps that run on the host db1

With PERFWRIGHT_SERVE_LOCAL=0 the first leaves those steps out: of several such workers each would take a part of them, on its own machine.
"""

import argparse
import asyncio
import dataclasses
import logging
import os
import signal
import socket
import sys
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.runtime import Runtime
from temporalio.worker import PollerBehaviorAutoscaling, Worker

from activities.context import WorkerContext
from activities.registry import build_activities
from perfwright.models.queues import CENTRAL_QUEUE, host_queue, probe_queue
from perfwright.models.registry import RegistryInvalid
from perfwright.models.target import LOCAL_HOST
from perfwright.models.vocabulary import Name
from starter import settings
from starter.code_version import unversioned_deployment
from starter.connection import connect
from starter.failures import CANNOT_BE_CARRIED_OUT, CannotStart
from starter.janitor_schedule import ensure_undo_janitor
from starter.json_lines import say_ready
from starter.logs import set_up_logs
from starter.search_attributes import ensure_search_attributes
from starter.worker_metrics import start_metrics
from workflows.plugin.metrics import GATE_WAIT
from workflows.plugin.plugin import PerfwrightPlugin
from workflows.registry import WORKFLOWS

T = TypeVar("T")

HOST_SLOTS = 8
"""Steps at one time on one host: they measure, so they wait for each other rather than disturb each other. Leases do the rest."""
PROBE_SLOTS = 2
CENTRAL_SLOTS = 100

HEARTBEAT_THROTTLE = timedelta(seconds=1)
"""With the SDK's 60 s the last checkpoint before a crash is lost whole."""
STICKY_TIMEOUT = timedelta(seconds=5)
"""How long a signal waits for a killed worker before another one takes over (the SDK's 10 s made it 11 s)."""

log = logging.getLogger("perfwright.worker")


@dataclass(frozen=True)
class Options:
    """What the command line and the environment ask for."""

    central: bool
    """Workflows and the activities that need no particular host."""
    hosts: tuple[str, ...]
    """Whose steps run here; none where a central worker leaves its machine alone."""
    config: str | None
    max_cached_workflows: int
    grace_s: float


def main(argv: Sequence[str]) -> int:
    """Run until a signal. Exit code 0 after a graceful end, 2 for bad usage, 5 when it cannot run."""
    try:
        options = read_options(argv)
        set_up_logs()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    try:
        return asyncio.run(run(options))
    except CannotStart as error:
        print(f"error: {error}", file=sys.stderr)
        return CANNOT_BE_CARRIED_OUT


def read_options(argv: Sequence[str]) -> Options:
    parser = argparse.ArgumentParser(prog="worker.py", description="Poll Temporal for Perfwright's processes.")
    parser.add_argument("--host", action="append", default=[], metavar="NAME", help="serve only the steps of this host (may be repeated)")
    parser.add_argument("--config", metavar="FILE", help="the target registry (default: PERFWRIGHT_CONFIG, else ./perfwright.toml)")
    arguments = parser.parse_args(argv)
    for host in arguments.host:
        try:
            TypeAdapter(Name).validate_python(host)
        except ValidationError:
            raise ValueError(f"--host {host}: a name has letters, digits, dot, dash and underscore, at most 63") from None
    local = [LOCAL_HOST] if _serves_local() else []
    return Options(
        central=not arguments.host,
        hosts=tuple(dict.fromkeys(arguments.host or local)),
        config=arguments.config,
        max_cached_workflows=int(_number(settings.MAX_CACHED_WORKFLOWS, default=1_000)),
        grace_s=_number(settings.SHUTDOWN_GRACE_S, default=10),
    )


def _serves_local() -> bool:
    told = os.environ.get(settings.SERVE_LOCAL) or "1"
    if told not in ("0", "1"):
        raise ValueError(f"{settings.SERVE_LOCAL}={told} is neither 0 nor 1")
    return told == "1"


def _number(variable: str, *, default: float) -> float:
    told = os.environ.get(variable, str(default))
    try:
        number = float(told)
    except ValueError:
        number = -1
    if not 0 <= number <= 1_000_000:
        raise ValueError(f"{variable}={told} is not a number from 0 to 1000000")
    return number


async def run(options: Options) -> int:
    """Connect, check, poll, and shut down gracefully at SIGTERM or SIGINT; a second signal ends at once."""
    stop = asyncio.Event()
    _on_signals(stop)
    metrics = start_metrics(own_histograms=(GATE_WAIT,))
    opened = await _unless_stopped(stop, _open(options, metrics.runtime))
    if opened is None:
        log.info("stopped before it polled")
        return 0
    client, context = opened
    try:
        with ThreadPoolExecutor(CENTRAL_SLOTS, thread_name_prefix="activity") as executor:
            workers = build_workers(client, options, context, executor)
            if options.central:
                await _unless_stopped(stop, ensure_undo_janitor(client))
            return await _poll(workers, stop, metrics.url)
    finally:
        await context.close()


async def _open(options: Options, runtime: Runtime) -> tuple[Client, WorkerContext]:
    client = await connect(plugins=[PerfwrightPlugin()], runtime=runtime, identity=f"{os.getpid()}@{socket.gethostname()}")
    await ensure_search_attributes(client)
    try:
        return client, await WorkerContext.open(options.config, allow_inline_targets=allows_inline_targets(os.environ))
    except (RegistryInvalid, ApplicationError) as error:
        raise CannotStart(str(error)) from None


async def _unless_stopped(stop: asyncio.Event, step: Coroutine[Any, Any, T]) -> T | None:
    """What a step of the start gives; None where a signal came first: a server that does not answer must not use up the grace."""
    starting, stopped = asyncio.create_task(step), asyncio.create_task(stop.wait())
    await asyncio.wait([starting, stopped], return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    if not starting.done():
        starting.cancel()
        await asyncio.wait([starting])
    return None if starting.cancelled() else starting.result()


def allows_inline_targets(environ: Mapping[str, str]) -> bool:
    """Targets that no registry names: `perfwright up` allows them on the machine it runs on."""
    return environ.get(settings.ALLOW_INLINE_TARGETS, "") == "1"


def build_workers(client: Client, options: Options, context: WorkerContext, executor: ThreadPoolExecutor) -> list[Worker]:
    """One worker per task queue; host queues have fixed slots and the probe a queue of its own."""
    shared: dict[str, Any] = {
        "activity_executor": executor,
        "max_heartbeat_throttle_interval": HEARTBEAT_THROTTLE,
        "default_heartbeat_throttle_interval": HEARTBEAT_THROTTLE,
        "graceful_shutdown_timeout": timedelta(seconds=options.grace_s),
        "deployment_config": unversioned_deployment(),
    }
    workers = []
    if options.central:
        workers.append(
            Worker(
                client,
                task_queue=CENTRAL_QUEUE,
                workflows=WORKFLOWS,
                activities=build_activities(context).central,
                max_cached_workflows=options.max_cached_workflows,
                max_concurrent_activities=CENTRAL_SLOTS,
                sticky_queue_schedule_to_start_timeout=STICKY_TIMEOUT,
                workflow_task_poller_behavior=PollerBehaviorAutoscaling(),
                **shared,
            )
        )
    for host in options.hosts:
        activities = build_activities(dataclasses.replace(context, host=host))
        for queue, methods, slots in (
            (host_queue(host), activities.host, HOST_SLOTS),
            (probe_queue(host), activities.probe, PROBE_SLOTS),
        ):
            workers.append(Worker(client, task_queue=queue, activities=methods, max_concurrent_activities=slots, **shared))
    return workers


async def _poll(workers: list[Worker], stop: asyncio.Event, metrics_url: str | None) -> int:
    runs = [asyncio.create_task(worker.run()) for worker in workers]
    stopped = asyncio.create_task(stop.wait())
    try:
        while not (all(worker.is_running for worker in workers) or any(run.done() for run in runs)):  # noqa: ASYNC110  (the SDK has no event)
            await asyncio.sleep(0.01)
        if not any(run.done() for run in runs):
            say_ready(task_queues=[worker.task_queue for worker in workers], metrics=metrics_url, pid=os.getpid())
            log.info("polling %s", ", ".join(worker.task_queue for worker in workers))
        await asyncio.wait([*runs, stopped], return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            log.info("stopping: running steps get their grace, then are handed on")
        await asyncio.gather(*(worker.shutdown() for worker in workers if worker.is_running))
        for ended in await asyncio.gather(*runs, return_exceptions=True):
            if isinstance(ended, BaseException):
                raise CannotStart(f"the worker ended: {' '.join(str(ended).split())[:500]}") from ended
    finally:
        stopped.cancel()
    return 0


def _on_signals(stop: asyncio.Event) -> None:
    """First signal: graceful. Second: at once, with the shell's exit code for it."""

    def told(number: int) -> None:
        if stop.is_set():
            os._exit(128 + number)
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told, number)
