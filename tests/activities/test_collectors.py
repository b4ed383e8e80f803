"""Collectors observed and swept: what was measured by a killed worker is not measured again, and what does not start is told."""

import sys
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.artifacts import ArtifactStore
from activities.collector_samples import SAMPLES_FILE
from activities.collectors import Collectors
from activities.recording_folder import RecordingFolder
from perfwright.models.change import LaunchSpec
from perfwright.models.gc_steps import CollectorToObserve, SettingsToPropose, SweepOrder
from perfwright.models.gc_tuning import GarbageCollectionRequest, GcCandidate, GcObservation, GcSweep, ServiceLoad
from perfwright.models.target import ProcessSelector, Target
from tests.perfwright.analysis.gc.tuning_samples import G1, sample, seen

SERVER = """
import gc, os, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
with open(os.environ["STARTS"], "a") as file: file.write("x")
if os.environ.get("BROKEN"): raise SystemExit("cannot be")
class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        gc.collect()
        self.send_response(200); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *arguments): pass
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
LOAD = ServiceLoad(paths=("/",), requests_per_round=20, warm_up_requests=2, concurrency=1)  # of two collections at once one is let go
REQUEST = GarbageCollectionRequest(target="served", load=LOAD, rounds=3)
TARGET = Target(
    name="served",
    kind="process",
    environment="lab",
    process=ProcessSelector(command=(sys.executable, "-c", SERVER, "{port}"), environment_names=("STARTS",)),
)


@pytest.fixture
def collectors(tmp_path: Path) -> Collectors:
    return Collectors(ArtifactStore(f"file://{tmp_path}/artifacts"), {"STARTS": str(tmp_path / "starts")}, tmp_path)


def starts(folder: Path) -> int:
    file = folder / "starts"
    return len(file.read_text()) if file.exists() else 0


async def test_every_round_has_its_own_server(collectors: Collectors, tmp_path: Path) -> None:
    """Three rounds, three starts; twenty collections in each, which are stored one by one; an answer that got lost is not measured again."""
    order = CollectorToObserve(target=TARGET, request=REQUEST, artifact_prefix="x/before")
    observation: GcObservation = await ActivityEnvironment().run(collectors.observe_collector, order)
    assert starts(tmp_path) == 3 and len(observation.samples) == 3
    full = next(line for line in observation.table.lines if line.cause == "full generation")
    assert full.count == 60 and observation.facts.thresholds == (700, 10, 10)
    assert observation.pauses and (tmp_path / "artifacts" / observation.pauses.uri).read_text().count("full generation") == 60
    again: GcObservation = await ActivityEnvironment().run(collectors.observe_collector, order)
    assert again == observation and starts(tmp_path) == 3


async def test_a_sweep_goes_on_where_it_was_killed(collectors: Collectors, tmp_path: Path) -> None:
    """Of six samples four are there: two servers are started, and all six count."""
    other = GcCandidate(name="other", why="", launch=LaunchSpec(environment={"CALM": "1"}))
    folder = RecordingFolder(tmp_path, "x/sweep")
    folder.open()
    for name in ("", "other"):
        for number in range(2):
            folder.append(SAMPLES_FILE, {"sample": sample(name, number).model_dump()})
    order = SweepOrder(target=TARGET, request=REQUEST, candidates=(other,), artifact_prefix="x")
    sweep: GcSweep = await ActivityEnvironment().run(collectors.sweep_settings, order)
    assert starts(tmp_path) == 2 and {one.candidate: one.rounds for one in sweep.scores} == {"": 3, "other": 3}
    assert sweep.picture and (tmp_path / "artifacts" / sweep.picture.uri).read_text().startswith("<svg")


async def test_a_candidate_that_does_not_start_ends_no_sweep(collectors: Collectors, tmp_path: Path) -> None:
    """It is told with what it said, and not chosen."""
    broken = GcCandidate(name="broken", why="", launch=LaunchSpec(environment={"BROKEN": "1"}))
    order = SweepOrder(target=TARGET, request=REQUEST, candidates=(broken,), artifact_prefix="x")
    sweep: GcSweep = await ActivityEnvironment().run(collectors.sweep_settings, order)
    (score,) = (one for one in sweep.scores if one.candidate == "broken")
    assert not sweep.chosen and not score.allowed and "cannot be" in score.note


async def test_candidates_that_a_person_names(collectors: Collectors) -> None:
    """Those alone are tried; names that do not exist are told."""
    asked = REQUEST.model_copy(update={"candidates": ("freeze", "no such")})
    proposed = await ActivityEnvironment().run(
        collectors.propose_settings, SettingsToPropose(target=TARGET, request=asked, observation=seen(full_generation=[90.0] * 9))
    )
    assert [one.name for one in proposed.candidates] == ["freeze"] and proposed.refused == ("no such",)
    assert len(proposed.known) == 5


async def test_inherited_secrets_are_recorded_in_no_change(tmp_path: Path) -> None:
    """Options that a script gives on, with a password in them: refused with the way out, and without the password."""
    environ = {"JAVA_TOOL_OPTIONS": "-Ddb.password=hunter2-hunter2"}
    collectors = Collectors(ArtifactStore(f"file://{tmp_path}/artifacts"), environ, tmp_path)
    script = TARGET.model_copy(
        update={"process": ProcessSelector(command=("./run.sh", "{port}"), environment_names=("JAVA_TOOL_OPTIONS",))}
    )
    order = SettingsToPropose(target=script, request=REQUEST, observation=seen(G1, humongous_allocation=[5.0] * 600))
    with pytest.raises(ApplicationError, match="looks like a secret") as told:
        await ActivityEnvironment().run(collectors.propose_settings, order)
    assert "hunter2" not in str(told.value) and told.value.non_retryable


@pytest.mark.parametrize("executable", ["", "/bin/false"])
async def test_a_java_that_cannot_be_asked_has_no_other_collectors(collectors: Collectors, executable: str) -> None:
    """Flags of the one that it uses remain."""
    observation = seen(G1, humongous_allocation=[5.0] * 600).model_copy(update={"executable": executable})
    order = SettingsToPropose(target=TARGET, request=REQUEST, observation=observation)
    proposed = await ActivityEnvironment().run(collectors.propose_settings, order)
    assert [one.name for one in proposed.candidates] == ["G1 regions of 4 MiB", "G1 regions of 8 MiB", "heap of 128 MiB"]
    assert proposed.collectors == () and proposed.absent == ()


async def test_collectors_that_this_java_lacks_are_named(collectors: Collectors, tmp_path: Path) -> None:
    """A build without Shenandoah: the others are candidates, and it is told as absent."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\ncase $1 in *Shenandoah*) echo Unrecognized >&2; exit 1;; esac\n")
    java.chmod(0o755)
    observation = seen(G1, humongous_allocation=[5.0] * 600).model_copy(update={"executable": str(java)})
    order = SettingsToPropose(target=TARGET, request=REQUEST, observation=observation)
    proposed = await ActivityEnvironment().run(collectors.propose_settings, order)
    assert proposed.collectors == ("Serial", "Parallel", "G1", "ZGC") and proposed.absent == ("Shenandoah",)
    assert [one.name for one in proposed.candidates][-3:] == ["Serial", "Parallel", "ZGC"]


RUN = """
import gc, os, sys
with open(os.environ["STARTS"], "a") as file: file.write("x")
if os.environ.get("BROKEN"): raise SystemExit("cannot be")
for _ in range(7): gc.collect()
"""
BATCH = TARGET.model_copy(update={"process": ProcessSelector(command=(sys.executable, "-c", RUN), environment_names=("STARTS",))})


async def test_a_command_that_ends_by_itself(collectors: Collectors, tmp_path: Path) -> None:
    """Run whole, once a round: every collection of every run counts, the interpreter's last one as well, with the run's time, CPU and
    memory; nobody waits, so no pause is long."""
    asked = REQUEST.model_copy(update={"load": None})
    order = CollectorToObserve(target=BATCH, request=asked, artifact_prefix="x/before")
    observation: GcObservation = await ActivityEnvironment().run(collectors.observe_collector, order)
    assert observation.batch and starts(tmp_path) == 3
    full = next(line for line in observation.table.lines if line.cause == "full generation")
    assert full.count == 3 * (7 + 1)
    for one in observation.samples:
        assert one.p50_ms == pytest.approx(1e3 / one.throughput_hz) and one.cpu_s > 0 and one.memory_bytes > 1e6
    slow = seen(full_generation=[90.0] * 2).model_copy(update={"batch": True})
    proposed = await ActivityEnvironment().run(
        collectors.propose_settings, SettingsToPropose(target=BATCH, request=asked, observation=slow)
    )
    assert proposed.issues == () and "the target is 5 % of the time" in proposed.sentence
    slow = seen(full_generation=[90.0] * 20).model_copy(update={"batch": True})
    proposed = await ActivityEnvironment().run(
        collectors.propose_settings, SettingsToPropose(target=BATCH, request=asked, observation=slow)
    )
    assert [issue.over for issue in proposed.issues] == ["share"]
    assert proposed.known[-1] == "collector off" and not [name for name in proposed.known if "freeze" in name]


async def test_a_run_that_fails_is_told(collectors: Collectors, tmp_path: Path) -> None:
    """With what it said; what is goes on."""
    broken = GcCandidate(name="broken", why="", launch=LaunchSpec(environment={"BROKEN": "1"}))
    asked = REQUEST.model_copy(update={"load": None})
    order = SweepOrder(target=BATCH, request=asked, candidates=(broken,), artifact_prefix="x")
    sweep: GcSweep = await ActivityEnvironment().run(collectors.sweep_settings, order)
    (score,) = (one for one in sweep.scores if one.candidate == "broken")
    assert not sweep.chosen and not score.allowed and "cannot be" in score.note
