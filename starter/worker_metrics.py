"""The worker's Prometheus endpoint: Temporal's metrics and our own on one port.

PERFWRIGHT_METRICS is `HOST:PORT` (port 0: a free one, told at start), or `off`. Default 127.0.0.1:9464, the port that
OpenTelemetry's Prometheus exporter uses as well; when it is taken, the worker says by whom and runs without metrics, because a
second worker on one machine is ordinary. A port that somebody asked for and that is taken is an error.
"""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass

from temporalio.runtime import LogForwardingConfig, LoggingConfig, PrometheusConfig, Runtime, TelemetryConfig, TelemetryFilter

from starter.failures import CannotStart
from starter.ports import LOOPBACK, free_ports, holder, is_free
from starter.settings import METRICS

DEFAULT = f"{LOOPBACK}:9464"

SECONDS = [0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3_600, 14_400, 43_200, 86_400]
"""Up to a day: a gate waits for people, a soak runs for hours."""

HISTOGRAMS = [
    "temporal_activity_execution_latency",
    "temporal_activity_schedule_to_start_latency",
    "temporal_activity_succeed_endtoend_latency",
    "temporal_workflow_endtoend_latency",
    "temporal_workflow_task_execution_latency",
    "temporal_workflow_task_schedule_to_start_latency",
    "temporal_workflow_task_replay_latency",
]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Metrics:
    """The runtime to connect with, and where its metrics are (None: nowhere)."""

    runtime: Runtime
    url: str | None


def start_metrics(environ: Mapping[str, str] | None = None, *, own_histograms: tuple[str, ...] = ()) -> Metrics:
    """Bind the endpoint and build the runtime. Raises `CannotStart` for a bad address or a chosen port that is taken."""
    environ = os.environ if environ is None else environ
    address = _address(environ)
    prometheus = None
    if address is not None:
        buckets = dict.fromkeys([*HISTOGRAMS, *own_histograms], SECONDS)
        prometheus = PrometheusConfig(
            bind_address=address,
            counters_total_suffix=True,
            unit_suffix=True,
            durations_as_seconds=True,
            histogram_bucket_overrides=buckets,
        )
    logs = LoggingConfig(
        filter=TelemetryFilter(core_level="WARN", other_level="ERROR"),
        forwarding=LogForwardingConfig(logger=logging.getLogger("temporalio.core")),
    )
    try:
        runtime = Runtime(telemetry=TelemetryConfig(metrics=prometheus, logging=logs))
    except (RuntimeError, ValueError) as error:
        raise CannotStart(
            f"metrics cannot be served on {address} ({error})", way_out=f"Set {METRICS} to another HOST:PORT, or off"
        ) from None
    return Metrics(runtime, f"http://{address}/metrics" if address else None)


def _address(environ: Mapping[str, str]) -> str | None:
    chosen = environ.get(METRICS, DEFAULT)
    if chosen == "off":
        return None
    host, _, number = chosen.rpartition(":")
    if not host or not number.isdigit() or int(number) > 65_535:
        raise CannotStart(f"{METRICS}={chosen} is not an address", way_out="Use HOST:PORT (port 0: a free one), or off")
    port = int(number) or free_ports(1)[0]
    if not is_free(port, host):
        told = f"the metrics port {port} is in use by {holder(port)}"
        way_out = f"Set {METRICS} to another HOST:PORT, or off"
        if METRICS in environ:
            raise CannotStart(told, way_out=way_out)
        log.warning("%s; this worker serves no metrics. %s", told, way_out)
        return None
    return f"{host}:{port}"
