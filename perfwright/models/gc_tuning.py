"""Input, intermediate results and details of GarbageCollectionTuning.

They stand here and not in the process's file because the command line builds forms and checks input from them without loading Temporal.
"""

import json
import math
from statistics import median
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import InterpreterSpec, LaunchSpec
from perfwright.models.secrets import secret_argument
from perfwright.models.target import SECRETS_BY_ENVIRONMENT, Argument, InlineTarget, TargetName
from perfwright.models.trial_run import TrialEnd, TrialResult
from perfwright.models.vocabulary import Input, Model, Share
from perfwright.models.workload import Workload

PROCESS = "GarbageCollectionTuning"
PORT_WORD = "{port}"
PAUSE_TARGET_MS = 10.0

OVERRIDABLE: dict[str, str] = {
    "pause_target_ms": "p99 of noticed pauses to get below",
    "share_target": "share of the time in pauses to get below",
    "memory_limit_share": "memory that may be paid for it",
    "throughput_limit_share": "throughput that may be paid for it",
    "rounds": "fresh servers per candidate in the sweep",
    "candidates": "which candidates to try",
}
"""What `request_changes` at `objective` may change."""

UrlPath = Annotated[str, StringConstraints(min_length=1, max_length=2_000, pattern=r"^/[!-~]*$")]


class ServiceLoad(Input):
    """Requests that are sent to the service in every round."""

    paths: Annotated[tuple[UrlPath, ...], Field(min_length=1, max_length=1_000)]
    """Requests by path; GET."""
    ready_path: UrlPath = "/"
    """Answers with a status below 500 once the service is up."""
    requests_per_round: Annotated[int, Field(ge=10, le=20_000)] = 600
    """Requests to one freshly started server."""
    concurrency: Annotated[int, Field(ge=1, le=64)] = 4
    """Connections, each with one request at a time."""
    warm_up_requests: Annotated[int, Field(ge=0, le=20_000)] = 100
    """Before anything counts."""


class GarbageCollectionRequest(Input):
    """Which collector settings meet the pause target without costing memory or throughput?"""

    target: TargetName | InlineTarget
    """Name of a target in the registry: a command, a running CPython process whose entry allows `inject`, or a running JVM."""
    load: ServiceLoad | None = None
    """Requests for a command that serves HTTP on `{port}`; a command without a load is run to its end, again and again."""
    run_limit_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 300.0
    """Seconds that one run of a command that ends by itself may take."""
    workload: Workload | None = None
    """Command that loads a running target while it is observed."""
    probe: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)] | None = None
    """Command that exercises a running target and prints what it cost as its last line: decides whether a live change is kept."""
    observe_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 20.0
    """Seconds to observe a running target."""
    pause_target_ms: Annotated[float, Field(gt=0.0, le=60_000.0)] | None = None
    """p99 of the pauses that can be noticed (1 ms and longer): 10 when not given; a command that ends by itself has no such target then."""
    share_target: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05
    """Share of the time that may be spent in pauses."""
    memory_limit_share: Share = 0.10
    """Memory that may be paid: 0.1 is 10 % more."""
    throughput_limit_share: Share = 0.05
    """Throughput that may be paid."""
    rounds: Annotated[int, Field(ge=2, le=50)] = 5
    """Fresh servers per candidate in the sweep."""
    candidates: (
        Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=100)], ...], Field(min_length=1, max_length=12)] | None
    ) = None
    """Names of candidates to try; all that fit when not given."""
    trial_budget_s: Annotated[float, Field(ge=5.0, le=7_200.0)] | None = None
    """Seconds that a candidate is measured against what is, at most; not given: what the sweep shows to be needed, up to an hour."""
    watch_s: Annotated[float, Field(ge=0.0, le=86_400.0)] = 0.0
    """Seconds that guards are watched after a change is kept."""
    review_deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] = 86_400.0
    """Seconds a gate waits for a person."""
    max_revisions: Annotated[int, Field(ge=0, le=20)] = 3
    """How many times `request_changes` may revise the objective."""

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if place := secret_argument(self.probe or ()):
            raise ValueError(f"probe: {place} looks like a secret, and commands are recorded; {SECRETS_BY_ENVIRONMENT}")
        if self.candidates is not None and len(set(self.candidates)) != len(self.candidates):
            raise ValueError("candidates: each is allowed once")
        return self

    @property
    def target_name(self) -> str:
        return self.target if isinstance(self.target, str) else self.target.slug

    def pause_limit_ms(self, *, batch: bool) -> float:
        """The target for the p99 pause. Nobody waits in a program that ends by itself: only what all pauses take together counts there."""
        if self.pause_target_ms is not None:
            return self.pause_target_ms
        return math.inf if batch else PAUSE_TARGET_MS

    def revised(self, overrides: dict[str, Any]) -> "GarbageCollectionRequest":
        """The request with a person's overrides, validated as a whole; raises ValidationError."""
        merged = self.model_dump(mode="json") | overrides
        return GarbageCollectionRequest.model_validate_json(json.dumps(merged))


def workflow_id(request: GarbageCollectionRequest) -> str:
    """`garbage-collection-tuning/shop`: one run per target at a time."""
    return f"garbage-collection-tuning/{request.target_name}"


GcRuntime = Literal["python", "jvm", "unknown"]
Collector = Literal["CPython", "Serial", "Parallel", "G1", "ZGC", "Shenandoah", "unknown"]
PauseCause = Literal[
    "young",
    "full generation",
    "humongous allocation",
    "allocation stall",
    "full collection",
    "evacuation failure",
    "metaspace",
    "explicit call",
    "concurrent phases",
    "safepoint without collection",
]
"""Why the program stood still. `young`: the ordinary work of a generational collector. `full generation`: CPython's generation 2."""


class Pause(Model):
    """One stop of the program, or of one thread of it (an allocation stall)."""

    at_s: float
    """On the monotonic clock of its host, when it ended."""
    ms: float
    cause: PauseCause
    collected: int = 0
    """CPython: objects."""
    uncollectable: int = 0


class CollectorFacts(Model):
    """What the runtime says about itself."""

    runtime: GcRuntime
    version: str = ""
    collector: Collector = "unknown"
    heap_max_bytes: int | None = None
    region_bytes: int | None = None
    """G1."""
    thresholds: tuple[int, int, int] | None = None
    """CPython."""
    live_bytes: tuple[int, ...] = ()
    """JVM: heap used after each collection, thinned to at most 64."""
    full_share: float | None = None
    """Of the pause time: CPython's generation 2, a JVM's full collections."""
    settable: tuple[str, ...] = ()
    """A running JVM: flags about its heap that it takes while it runs (`manageable`), with their values."""


class PauseLine(Model):
    """A line of the pause table."""

    cause: PauseCause
    count: int
    p50_ms: float
    p99_ms: float
    max_ms: float
    total_ms: float
    share: float
    """Of the observed time."""
    third_ms: float = 0.0
    """The third longest; 0: there were no three."""


class PauseTable(Model):
    """Pauses of the observed time by cause, dearest first."""

    seconds: float
    count: int
    noticed: int
    """Of a millisecond and longer."""
    p50_ms: float
    p99_ms: float
    """Of the noticed ones; of all where none is."""
    max_ms: float
    share: float
    lines: tuple[PauseLine, ...] = ()
    dropped: int = 0
    """Collections that were not written down singly: the log is bounded."""


class GcCandidate(Model):
    """Settings that may do better, and why."""

    name: str
    """`G1 regions of 4 MiB`, `thresholds 10000, 10, 10`."""
    why: str
    launch: LaunchSpec | None = None
    interpreter: InterpreterSpec | None = None
    for_people: str = ""
    """How its owner writes it down."""


class GcSample(Model):
    """One freshly started server under the load, or one run of a command that ends by itself.

    Of a run, its time stands for all latencies, and the runs that fit into a second are the throughput.
    """

    candidate: str
    """Empty: as it is."""
    round: int
    pause_p99_ms: float
    pause_max_ms: float
    pause_share: float
    throughput_hz: float
    p50_ms: float
    p99_ms: float
    cpu_s: float
    memory_bytes: float
    errors_share: float
    trouble: str = ""
    """Why it does not count: it did not start, or ended under the load."""


class GcObservation(Model):
    """The collector at work: what the process runs with, and what it costs."""

    facts: CollectorFacts
    table: PauseTable
    samples: tuple[GcSample, ...] = ()
    pauses: ArtifactRef | None = None
    """Every pause, as JSON lines."""
    memory_bytes: float = 0.0
    live: bool = False
    """Of a running process: CPython by injected callbacks, a JVM by a log that is switched on and off."""
    batch: bool = False
    """Of runs of a command that ends by itself."""
    executable: str = ""
    """Of a JVM: its launcher."""
    flags: tuple[str, ...] = ()
    """A running JVM: words about memory that it was launched with."""
    warnings: tuple[str, ...] = ()

    @property
    def typical_p99_ms(self) -> float:
        """The median over the rounds: a collection that the machine held up once is no setting's fault. Of a running process: of all."""
        rounds = [one.pause_p99_ms for one in self.samples if not one.trouble]
        return median(rounds) if rounds else self.table.p99_ms

    @property
    def typical_share(self) -> float:
        """Likewise the share of the time in pauses."""
        rounds = [one.pause_share for one in self.samples if not one.trouble]
        return median(rounds) if rounds else self.table.share

    @property
    def typical_run_ms(self) -> float:
        """Of runs of a command that ends by itself: how long one takes."""
        runs = [one.p50_ms for one in self.samples if not one.trouble]
        return median(runs) if runs else 0.0


class GcIssue(Model):
    """A kind of pause that costs enough to act on."""

    cause: PauseCause
    statement: str
    p99_ms: float
    share: float
    over: Literal["pause", "share"]


class GcScore(Model):
    """A candidate in the sweep, as medians over its rounds."""

    candidate: str
    rounds: int
    pause_p99_ms: float
    pause_max_ms: float
    pause_share: float
    throughput_hz: float
    p99_ms: float
    cpu_s: float
    memory_bytes: float
    memory_ratio: float
    """To as it is, the median over rounds of the same round."""
    throughput_ratio: float
    errors_share: float = 0.0
    on_front: bool = False
    allowed: bool = True
    note: str = ""
    """Why it is not allowed, or what dominates it."""


class GcSweep(Model):
    """All candidates under the same load."""

    scores: tuple[GcScore, ...]
    chosen: str = ""
    """Empty: none is better than what is."""
    reason: str
    samples: ArtifactRef | None = None
    picture: ArtifactRef | None = None
    trial_s: float = 0.0
    """Seconds that a trial of the chosen one takes, reckoned from how long these rounds took and how much they differed; 0: none was."""


class CollectorPreflight(Model):
    """What was found before anything was measured."""

    runtime: GcRuntime
    version: str
    live: bool
    """A running process; else a command that is started fresh each time."""
    warnings: tuple[str, ...] = ()


class TriedCandidate(Model):
    """What a trial said of one candidate on a running process."""

    candidate: str
    end: TrialEnd
    reason: str


class GcDetails(Model):
    """What GarbageCollectionTuning adds to the common result."""

    preflight: CollectorPreflight | None = None
    before: GcObservation | None = None
    issues: tuple[GcIssue, ...] = ()
    candidates: tuple[GcCandidate, ...] = ()
    collectors: tuple[Collector, ...] = ()
    """JVM: those that this java starts with, what it uses now included."""
    absent: tuple[Collector, ...] = ()
    """JVM: those that this java does not start with."""
    sweep: GcSweep | None = None
    chosen: GcCandidate | None = None
    tried: tuple[TriedCandidate, ...] = ()
    """On a running process, in order; `trial` is the last of them."""
    trial: TrialResult | None = None
    after: GcObservation | None = None
    configuration: ArtifactRef | None = None
    undo: str = ""
    warnings: tuple[str, ...] = ()
