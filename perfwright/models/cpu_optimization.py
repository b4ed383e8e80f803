"""CpuOptimizationImplementation: its input, what its steps tell each other, and what it adds to the common result."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.artifact import ArtifactRef
from perfwright.models.change import PatchSpec
from perfwright.models.cpu_profiling import HotPaths
from perfwright.models.secrets import secret_argument
from perfwright.models.target import SECRETS_BY_ENVIRONMENT, Argument, Target, TargetName
from perfwright.models.trial_run import TrialResult
from perfwright.models.vocabulary import Input, Model, Share
from perfwright.models.worker_counts import WorkerCount

PROCESS = "CpuOptimizationImplementation"
CANDIDATES_AT_MOST = 12
PATCH_CHARACTERS = 8_000
"""Of one candidate: all of them travel in one payload."""
Command = Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)]
CandidateId = Annotated[str, StringConstraints(min_length=1, max_length=200)]
GIVEN = "given"
"""Codemod of a candidate that a person or the team's command gave."""
OVERRIDABLE: dict[str, str] = {
    "leave_out": "ids of candidates that are not tried",
    "candidates_at_most": "how many candidates are tried, best first",
}
"""What `request_changes` at `approach` may change."""


class CpuOptimizationRequest(Input):
    """Which change of the hot code makes it cheaper, and is that proven?"""

    target: TargetName
    """Name of a target in the registry whose `repository` is a clone on its host."""
    benchmark: Annotated[Command, Field(examples=[["python", "-m", "benchmarks"]])]
    """Program and arguments (no shell) that do the work that is to get cheaper, and end; run in a tree of the commit."""
    tests: Annotated[Command, Field(examples=[["python", "-m", "pytest", "-q"]])]
    """Program and arguments that run the project's tests: exit code 0 where they pass; run in a tree of the commit."""
    working_directory: Annotated[str, StringConstraints(max_length=1_000)] = ""
    """Where both are run, below the top of the repository."""
    base: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")] = "HEAD"
    """Commit, branch or tag that is improved."""
    investigation: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}#[0-9]{1,9}$")] | None = None
    """A run of CpuProfilingInvestigation on the target, `shop#12`, whose profile is used; else the benchmark is profiled."""
    profile_s: Annotated[float, Field(ge=2.0, le=600.0)] = 15.0
    """Seconds for which the benchmark is profiled, again and again."""
    leave_out: Annotated[tuple[CandidateId, ...], Field(max_length=100)] = ()
    """Candidates that are not tried, by id."""
    candidates_at_most: Annotated[int, Field(ge=1, le=CANDIDATES_AT_MOST)] = 6
    """How many candidates are tried, best first."""
    least_gain_share: Annotated[float, Field(ge=0.001, le=0.9)] = 0.03
    """A candidate that cannot win this share of the CPU time, by the profile, is not tried."""
    goal_share: Share | None = None
    """CPU time that all kept changes together are to win."""
    memory_margin_share: Annotated[float, Field(ge=0.01, le=10.0)] = 0.10
    """How much more memory (peak, resident) a change may take."""
    trial_s: Annotated[float, Field(ge=5.0, le=3_600.0)] = 120.0
    """Seconds of measuring for one candidate; half as much once before the first, for the noise. A verdict takes 12 runs of both sides."""
    tests_limit_s: Annotated[float, Field(ge=1.0, le=7_200.0)] = 600.0
    """Longest run of the tests."""
    benchmark_limit_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 300.0
    """Longest run of the benchmark."""
    use_change_command: bool = False
    """Whether the target's `change_command` is asked for one more change, after the generated candidates."""
    submissions_s: Annotated[float, Field(ge=0.0, le=2_592_000.0)] = 0.0
    """Seconds to wait, after that, for a change that people submit (`perfwright submit`); what was submitted before is tried anyway."""
    workers: WorkerCount | None = None
    """A count of workers in the launch of the target, and of the benchmark, that may be raised where cores are left."""
    given_gain_share: Annotated[float, Field(ge=0.01, le=0.9)] = 0.05
    """Gain that the trial of a change which was submitted, or made by the command, has to be able to see."""
    review_deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] = 86_400.0
    """Seconds a gate waits for a person."""
    max_revisions: Annotated[int, Field(ge=0, le=20)] = 3
    """How many times `request_changes` may choose other candidates."""

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        for field in ("benchmark", "tests"):
            if place := secret_argument(getattr(self, field)):
                raise ValueError(f"{field}: {place} looks like a secret, and commands are recorded; {SECRETS_BY_ENVIRONMENT}")
        return self

    @property
    def target_name(self) -> str:
        return self.target

    def revised(self, overrides: dict[str, Any]) -> "CpuOptimizationRequest":
        """The request with a person's overrides, validated as a whole; raises ValidationError."""
        merged = self.model_dump(mode="json") | overrides
        return CpuOptimizationRequest.model_validate_json(json.dumps(merged))


def workflow_id(request: CpuOptimizationRequest) -> str:
    """`cpu-optimization-implementation/shop`: one run per target at a time."""
    return f"cpu-optimization-implementation/{request.target}"


class CodeBase(Model):
    """The commit that is improved, and how its code is run."""

    target: Target
    repository: str
    """Its top folder on the target's host."""
    commit: str
    tree: str
    """The commit's files, laid out on the host for the time of the run."""
    benchmark: tuple[str, ...]
    tests: tuple[str, ...]
    working_directory: str = ""
    benchmark_limit_s: float = 300.0
    tests_limit_s: float = 600.0
    repeated: tuple[str, ...] = ()
    """The command that runs the benchmark again and again, for a profiler."""
    prefix: str
    """Folder of the run in the artifact store, and its name on the host."""


class PrepareCode(Model):
    """What is looked at before anything else."""

    target: Target
    request: CpuOptimizationRequest
    prefix: str


class HotLine(Model):
    """A line with its share of CPU time."""

    line: int
    share: float


class HotFunction(Model):
    """A function of the repository that takes CPU time."""

    path: str
    """From the top of the repository."""
    function: str
    """As the profiler names it."""
    line: int
    share: float
    """Of CPU time, with all it calls."""
    lines: tuple[HotLine, ...] = ()


class HotCodeFound(Model):
    """What of a profile is the repository's own code."""

    functions: tuple[HotFunction, ...]
    elsewhere_share: float = 0.0
    """CPU time of the hottest code that is not in the repository."""


class HotCodeQuery(Model):
    """Which hot functions are the repository's."""

    code: CodeBase
    hot_paths: HotPaths


class EarlierProfileQuery(Model):
    """The hot paths of an earlier investigation."""

    target: str
    run: str
    run_id: str


class CallsToRecord(Model):
    """Functions whose calls are recorded while the benchmark runs once."""

    code: CodeBase
    functions: tuple[HotFunction, ...]


class CallsOfFunction(Model):
    """What was seen of one function."""

    path: str
    function: str
    line: int
    calls: int
    plain_calls: int = 0
    """Calls all of whose arguments are plain: str, bytes, int, bool, None."""
    repeated: int = 0
    """Plain calls with arguments seen before."""
    distinct: int = 0
    kept: int = 0
    """Calls whose arguments are kept, to be made again."""
    not_kept: str = ""
    """Why some could not be: the first reason."""


class CallsRecorded(Model):
    """What was seen of all; the arguments themselves stay on the host."""

    functions: tuple[CallsOfFunction, ...]
    file: str = ""
    """On the host, in the worker's folder; empty: no call was seen."""
    note: str = ""


class CandidatesQuery(Model):
    """Where to look for changes, and with what in hand."""

    code: CodeBase
    functions: tuple[HotFunction, ...]
    calls: CallsRecorded
    least_gain_share: float


class Candidate(Model):
    """A change of one function, on the base commit."""

    id: str
    """`memoise:shop/prices.py:parse_price`."""
    codemod: str
    path: str
    function: str
    line: int
    title: str
    reasoning: str
    gain_share: float
    """Most of the CPU time that it can win, by the profile."""
    patch: str
    ref: str = ""
    """A commit that holds the change just so, on the tip: somebody's own, kept with its authors and messages."""
    mutable: bool = True
    """Whether arguments may be varied: not where the function does something to the world, such as writing files."""


class LeftAlone(Model):
    """An opportunity that was seen and not taken."""

    codemod: str
    path: str
    function: str
    line: int
    why: str


class CandidatesFound(Model):
    """What can be tried, best first."""

    candidates: tuple[Candidate, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()


class StackOrder(Model):
    """A candidate that is to stand on top of what was kept already."""

    code: CodeBase
    tip: str
    candidate: Candidate
    function: HotFunction
    calls: CallsRecorded


class Stacked(Model):
    """The candidate's patch for the tip; empty: it is not there any more."""

    patch: str = ""
    why: str = ""


class CheckOrder(Model):
    """A candidate to check, or (without one) the base commit itself."""

    code: CodeBase
    tip: str
    patch: str = ""
    candidate: Candidate | None = None
    line: int = 0
    """Of its function in the base commit: under which its calls were recorded."""
    calls: CallsRecorded | None = None


class GivenOrder(Model):
    """A change that was not generated: a patch, or a ref, to be put on top of what was kept."""

    code: CodeBase
    tip: str
    spec: PatchSpec
    title: str
    by: str
    number: int
    calls: CallsRecorded


class GivenCandidate(Model):
    """The change as a candidate; none where it cannot be tried, and why."""

    candidate: Candidate | None = None
    line: int = 0
    why: str = ""


class ProjectTests(Model):
    """How the project's tests went."""

    passed: bool
    seconds: float
    told: str = ""
    """The end of what they said, where they did not pass."""


class Difference(Model):
    """A call that the new code answers differently."""

    call: str
    old: str
    new: str


class Differential(Model):
    """Old and new code, called with the same arguments in two fresh interpreters."""

    recorded: int = 0
    """Calls with arguments of the real run."""
    varied: int = 0
    """Calls with arguments varied from those."""
    raised: int = 0
    """Calls in which the old code raised an exception: the new one has to raise an equal one."""
    skipped: int = 0
    """Calls that took too long in either."""
    differences: int = 0
    first: tuple[Difference, ...] = ()
    why_none: str = ""
    """Why no call could be made."""
    functions: tuple[str, ...] = ()
    """Whose calls were made again."""
    not_called: tuple[str, ...] = ()
    """Whose recorded calls were not, with the reason."""

    @property
    def equal(self) -> bool:
        """No data is no pass."""
        return self.recorded > 0 and self.differences == 0


class Checked(Model):
    """Whether a candidate may be measured."""

    syntax: bool = True
    tests: ProjectTests | None = None
    differential: Differential | None = None
    problem: str = ""
    """Why not; empty: it may."""


CandidateEnd = Literal["kept", "not kept", "not tried"]


class CandidateResult(Model):
    """What became of one candidate."""

    candidate: Candidate
    end: CandidateEnd
    reason: str
    checked: Checked | None = None
    trial: TrialResult | None = None
    commit: str = ""
    gain_share: float | None = None
    """Of the time that its trial judged it by (`gain_metric`: `cpu_s` or `wall_s`), of what that was before this change."""
    gain_low: float | None = None
    gain_high: float | None = None
    gain_metric: str = ""


class Gain(Model):
    """Share of a time that was won, with its interval: of CPU time (`cpu_s`) nothing follows for wall-clock time (`wall_s`), nor back."""

    metric: str
    share: float
    low: float | None = None
    high: float | None = None


class KeptCommit(Model):
    """Where a kept change is; empty: it has no record."""

    commit: str = ""
    branch: str = ""


class CpuOptimizationDetails(Model):
    """What CpuOptimizationImplementation adds to the common result."""

    commit: str = ""
    """That was improved."""
    profile_of: str = ""
    """Where the profile is from."""
    hot_functions: tuple[HotFunction, ...] = ()
    candidates: tuple[CandidateResult, ...] = ()
    left_alone: tuple[LeftAlone, ...] = ()
    base_tests: ProjectTests | None = None
    branch: str = ""
    """With one commit per kept candidate."""
    tip: str = ""
    gain_share: float | None = None
    """Of the time `gain_metric`, won by all kept changes together; None also where no time was measured of them all."""
    gain_low: float | None = None
    gain_high: float | None = None
    gain_metric: str = ""
    pull_request: ArtifactRef | None = None
    workers: CandidateResult | None = None
    """Another count of workers, measured by wall-clock time; None: none was tried."""
    workers_left: str = ""
    """Why none was."""
    warnings: tuple[str, ...] = ()


class PullRequestOrder(Model):
    """What the text is about."""

    target: str
    details: CpuOptimizationDetails
    prefix: str
