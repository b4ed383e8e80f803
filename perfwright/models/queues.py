"""Task queues: who does what where."""

CENTRAL_QUEUE = "perfwright"
"""Workflows and the activities that need no particular host."""


def host_queue(host: str) -> str:
    """Steps that run where the target is, polled by `worker.py --host <host>` there."""
    return f"perf-host.{host}"


def probe_queue(host: str) -> str:
    """A small queue of its own for the probe, so that busy slots cannot look like absence."""
    return f"perf-host.{host}.probe"
