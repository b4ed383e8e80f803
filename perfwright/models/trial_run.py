"""A trial as a run of its own: what is asked of it, what its measuring steps are given, and what it ends with."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import ChangeSpec
from perfwright.models.gate import Decision
from perfwright.models.lease import LeaseTicket
from perfwright.models.target import Target
from perfwright.models.trial import Clock, Guard, GuardJudgement, Judgement, NoiseJudgement, QueryJudgement
from perfwright.models.undo import ChangeDescription, ChangeOutcome
from perfwright.models.vocabulary import Model

Seconds = Annotated[float, Field(ge=0.0, le=2_592_000.0, allow_inf_nan=False)]
Words = Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=4_096)], ...], Field(min_length=1, max_length=256)]


class BenchmarkMeasurement(Model):
    """A command that is run on both sides: in the worktree of each (`patch`), or with the flags and environment of each (`command`).

    Metrics: `cpu_s` and `rss_bytes` (peak) of all processes together, `wall_s`.
    """

    kind: Literal["benchmark"] = "benchmark"
    command: Words
    protocol: Literal["run", "slices"] = "run"
    """`run`: one whole run is one iteration. `slices`: it reads numbers of iterations and answers as `activities/trial_rounds.py` says."""
    working_directory: str = ""
    """Below the worktree, or the target's own."""
    run_limit_s: float = 600.0
    """Of one run, or of one slice."""
    one_core: bool = True
    """Whole runs: both sides of a round on one drawn core. Not for what counts the cores it has, as a JVM does to choose its collector."""


class ServiceMeasurement(Model):
    """A server that is started fresh on both sides and gets the same requests.

    Metrics: `p50_ms`, `p99_ms`, `throughput_hz`, `cpu_s`, `rss_bytes`, `errors_share`, and of its collector `gc_pause_p99_ms`,
    `gc_pause_max_ms`, `gc_share`.
    """

    kind: Literal["service"] = "service"
    command: Words
    """`{port}` stands for the port it is to listen on."""
    ready_path: str = "/"
    paths: Annotated[tuple[str, ...], Field(min_length=1, max_length=1_000)]
    """Requests, by path; GET."""
    requests_per_round: Annotated[int, Field(ge=10, le=100_000)] = 400
    concurrency: Annotated[int, Field(ge=1, le=256)] = 4
    warm_up_requests: int = 50


class QueriesMeasurement(Model):
    """Statements, run in turns with and without what is changed, on a clone of the database.

    Metrics: `wall_s` and `blocks` (shared buffers hit and read) of each statement, named `wall_s/STATEMENT` and `blocks/STATEMENT`.
    """

    kind: Literal["queries"] = "queries"
    statements: dict[str, str] = {}
    """By name; with values in them. Large sets stand in the artifact instead."""
    statements_artifact: ArtifactRef | None = None
    statement_limit_s: float = 60.0
    weights: dict[str, float] = {}
    """Calls, or seconds, that each stands for."""
    kept_in: str = ""
    """Where the target's host keeps statements with their values (`activities.kept_values`); those of `weights` are taken from there."""
    role: str = ""
    """Whose sessions the clone is planned like: the application's, where it is known; empty: those of our own role."""
    clone_dsn_env: str | None = None
    """Variable of the worker's environment with the server for clones; None: clones are made beside the database."""
    clone_limit_mb: float = 20_000.0
    clone_limit_s: float = 1_800.0


class SwitchedMeasurement(Model):
    """A running target that is switched between both states by applying and undoing the change, again and again.

    Metrics: `value`, what the probe gave; `rss_bytes` of a target that is a running process, beside the least it held without the change.
    """

    kind: Literal["switched"] = "switched"
    probe: Words
    """A command that exercises the target and prints one number as its last line: what it cost."""
    burn_in_s: float = 1.0
    """After each switch."""
    probes_per_block: Annotated[int, Field(ge=1, le=1_000)] = 3
    probe_limit_s: float = 60.0


TrialMeasurement = Annotated[
    BenchmarkMeasurement | ServiceMeasurement | QueriesMeasurement | SwitchedMeasurement, Field(discriminator="kind")
]
TrialPhase = Literal["noise", "trial", "watch"]
"""A against A; A against B; guards after the decision."""
TrialEnd = Literal["kept", "undone", "not applied", "conflict"]


class Companion(Model):
    """A deterministic count beside the time: instructions, buffers, statements, allocations."""

    name: str
    unit: str
    a: float
    b: float

    @property
    def ratio(self) -> float | None:
        return self.b / self.a if self.a else None


class TrialEvidence(Model):
    """What a measuring step saw."""

    phase: TrialPhase
    clock: Clock | None = None
    metric: str = ""
    rounds: int = 0
    void: tuple[str, ...] = ()
    """Rounds that do not count, with the reason."""
    seconds: float = 0.0
    round_s: float = 0.0
    judgement: Judgement | None = None
    noise: NoiseJudgement | None = None
    guards: tuple[GuardJudgement, ...] = ()
    queries: tuple[QueryJudgement, ...] = ()
    companions: tuple[Companion, ...] = ()
    medians: dict[str, tuple[float, float]] = {}
    """Metric -> median of A and of B."""
    data: ArtifactRef | None = None
    """All rounds, as JSON lines."""
    picture: ArtifactRef | None = None
    """One dot per round, as SVG."""
    strip: str = ""
    """The same as one line of text: how often B cost less, as much, more."""
    warnings: tuple[str, ...] = ()


class TrialRequest(Model):
    """One change on one target: measured, decided, kept or undone. Input of the child workflow `Trial`."""

    target: Target
    title: Annotated[str, StringConstraints(min_length=1, max_length=500)]
    change: ChangeSpec
    measurement: TrialMeasurement
    metric: str = ""
    """What is to get better; empty: CPU or wall time, as A's noise says (`cpu_s` or `wall_s`)."""
    higher_is_better: bool = False
    goal_share: Annotated[float, Field(ge=0.0, lt=1_000.0, allow_inf_nan=False)] = 0.0
    """Least improvement that is worth keeping: 0.05 asks for 5 %."""
    margin: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Of the verdict, as a difference of logarithms; None: 1 %, or what the measurement calls for."""
    wanted_effect: Annotated[float, Field(gt=0.0, le=10.0)] = 0.05
    """Share that the trial has to be able to see; else it says that it is too noisy and stops."""
    guards: Annotated[tuple[Guard, ...], Field(max_length=64)] = ()
    live_guards: Annotated[tuple[Guard, ...], Field(max_length=16)] | None = None
    """Of the live target on which the change stands, which is measured elsewhere; watched until `keep` is answered, and for `watch_s`
    after it. None: those of the kind of change; (): none. Indexes and settings of PostgreSQL: `live_blocks` and `live_ms` of the statements
    that it may concern, call for call beside what they cost before; `live_rollbacks`, a share of transactions. Files and interpreters of a
    running process: `live_rss_bytes` of all its processes beside the most they held before, `live_restarts`; on request
    `live_cpu_cores`, `live_threads`, `live_open_files`, which follow the load."""
    budget_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    """For A against B; A against A takes up to half as much before it."""
    expected: Annotated[str, StringConstraints(max_length=4_000)] = ""
    """Expected gain, with its derivation, for the gate."""
    checked: Annotated[str, StringConstraints(max_length=4_000)] = ""
    """What was found right before it is measured, for the gate `keep`."""
    ask_change: bool = True
    """False where the parent's own gate has approved exactly this change (see `approved_digest`)."""
    approved_digest: str = ""
    """Of the description (`ChangeDescription.digest`) that a person approved at the parent's gate; another one is asked about again."""
    mask_literals: bool = False
    """Whether values of SQL are left out of what is told of the change."""
    ask_keep: bool = True
    """False: measured and undone, for sweeps and comparisons; what is wanted is then tried with a gate."""
    watch_s: Seconds = 0.0
    """Seconds that guards are watched after `keep`; a breach undoes at once."""
    deadline_s: Seconds = 86_400.0
    seed: Annotated[int, Field(ge=0, le=2**62)] = 0
    ticket: LeaseTicket | None = None
    """The parent's lease."""
    noise: TrialEvidence | None = None
    """A against A of an earlier trial of the same measurement on the same target: for sweeps, which need not measure it again each time."""
    artifact_prefix: str = ""


class TrialResult(Model):
    """How a trial ended."""

    title: str
    end: TrialEnd
    reason: str
    """One sentence: why it ended so."""
    change_id: str = ""
    description: ChangeDescription | None = None
    outcome: ChangeOutcome | None = None
    """What stands on the target, read from the target."""
    noise: TrialEvidence | None = None
    evidence: TrialEvidence | None = None
    watched: TrialEvidence | None = None
    decisions: tuple[Decision, ...] = ()
    delivered: tuple[ArtifactRef, ...] = ()
    """A kept change in the form in which its owner keeps state: migrations, a settings fragment."""
    branch: str = ""
    """Of a kept patch."""
    notes: tuple[str, ...] = ()
    """What could not be done and stopped nothing: an annotation, a guard that could not be watched."""
    workflow_id: str = ""
    run_id: str = ""

    @property
    def kept(self) -> bool:
        return self.end == "kept"


class MeasuringOrder(Model):
    """A measuring step of a trial."""

    request: TrialRequest
    phase: TrialPhase
    change_id: str = ""
    """The recorded change; empty in the phase `noise`, in which both sides are A."""
    clock: Clock | None = None
    """As the phase `noise` chose it."""
    metric: str = ""
    round_s: float = 0.0
    """As the phase `noise` found it; 0: found by the first rounds."""
    seconds: float = 60.0
    reference: dict[str, float] = {}
    """Phase `watch`: metric -> what A cost in the trial, where A itself is not measured any more."""


class TakenRound(Model):
    """A round as it is kept until the phase ends, and in the artifact."""

    number: int
    values: dict[str, tuple[float, float]] = {}
    data: dict[str, float] = {}
    wall_s: float = 0.0
    void: str = ""
