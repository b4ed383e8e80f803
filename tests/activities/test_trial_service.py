"""A round of services: both sides fresh, the same requests, each side's own costs and pauses."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.changes.kind import Site
from activities.trial_measuring.kind import Round
from activities.trial_measuring.service import Services
from perfwright.analysis.changes.launches import encoded
from perfwright.analysis.trials.rounds import plan_round
from perfwright.models.change import LaunchSpec
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial_run import MeasuringOrder, ServiceMeasurement, TrialRequest
from perfwright.models.undo import UndoRecord
from perfwright.models.undo_data import LaunchUndo

SERVER = """
import gc, os, signal, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
live = [[n] for n in range(200_000)]
held = b"x" * int(os.environ.get("HELD_BYTES", "1"))
if "HELD_BYTES" in os.environ:
    told, tells = os.pipe()
    if not os.fork():
        own = b"y" * len(held)
        os.write(tells, b".")
        signal.pause()
    os.read(told, 1)
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        if self.path == "/collect" and not os.environ.get("CALM"):
            gc.collect()
        self.send_response(503 if self.path == "/broken" and os.environ.get("CALM") else 200)
        self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *arguments): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
COMMAND = (sys.executable, "-c", SERVER, "{port}")


async def round_of(
    folder: Path, paths: tuple[str, ...], *, command: tuple[str, ...] = COMMAND, changed: bool = True, **environment: str
) -> Round:
    spec = LaunchSpec(environment=dict(environment) or {"CALM": "1"})
    target = Target(name="served", kind="process", environment="lab", process=ProcessSelector(command=command))
    measurement = ServiceMeasurement(command=command, ready_path="/", paths=paths, requests_per_round=120, warm_up_requests=8)
    request = TrialRequest(target=target, title="calm", change=spec, measurement=measurement)
    undo = LaunchUndo(file="launches/x", before=None, after=encoded([("run/1", spec)]))
    record = UndoRecord(change_id="run/1", title="calm", target=target, subject="launch", spec=spec, undo=undo)
    order = MeasuringOrder(request=request, phase="trial" if changed else "noise", change_id="run/1" if changed else "")

    async def measure() -> Round:
        async with Services().opened(order, record if changed else None, Site({}, folder)) as rounds:
            assert await rounds.companions() == ()
            return await rounds.measure(plan_round(np.random.default_rng(1), [0]), 1)

    return await ActivityEnvironment().run(measure)


async def test_each_side_has_its_own_pauses(tmp_path: Path) -> None:
    """A collects with every request and B never: B's pauses are the least that is told, and A's are not."""
    taken = await round_of(tmp_path, ("/collect",))
    assert not taken.void
    a, b = taken.values["gc_pause_p99_ms"]
    assert b == pytest.approx(0.01) and a > 10 * b
    assert taken.values["gc_share"][0] > 100 * taken.values["gc_share"][1]
    assert taken.values["errors_share"] == (0.0, 0.0)
    assert {"p50_ms", "p99_ms", "throughput_hz", "cpu_s", "rss_bytes", "gc_pause_max_ms"} <= taken.values.keys()
    assert taken.data.keys() == {"p50_ms", "p99_ms"} and all(math.isfinite(one) for one in taken.data.values())
    assert taken.data["p50_ms"] < 0, "each request of B is quicker than itself with A"


async def test_memory_is_the_sides_own(tmp_path: Path) -> None:
    """B holds 80 MB more, half of it in a process of its own: its memory is as much more."""
    a, b = (await round_of(tmp_path, ("/",), HELD_BYTES="40000000")).values["rss_bytes"]
    assert 70e6 < b - a < 95e6, (a, b)


async def test_both_sides_are_equal_without_a_change(tmp_path: Path) -> None:
    """In the phase `noise` both collect: their pauses are of the same size."""
    taken = await round_of(tmp_path, ("/collect",), changed=False)
    a, b = taken.values["gc_pause_p99_ms"]
    assert 0.1 < a / b < 10


async def test_a_side_that_answers_with_errors_is_void(tmp_path: Path) -> None:
    """Most of B's answers are errors: the round says nothing of latencies, and keeps the errors."""
    taken = await round_of(tmp_path, ("/broken",))
    assert "side B" in taken.void and taken.values["errors_share"] == (0.0, 1.0)


async def test_a_command_without_a_port_is_refused(tmp_path: Path) -> None:
    """Two of it could not run beside each other."""
    with pytest.raises(ApplicationError, match="no word of it holds"):
        await round_of(tmp_path, ("/",), command=(sys.executable, "-c", SERVER, "8000"))


async def test_a_side_that_does_not_start_is_told(tmp_path: Path) -> None:
    """By its letter, with what it said last."""
    with pytest.raises(ApplicationError, match=r"side [AB] ended: .*no such module"):
        await round_of(tmp_path, ("/",), command=(sys.executable, "-c", "raise SystemExit('no such module')", "{port}"))
