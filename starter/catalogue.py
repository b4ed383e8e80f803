"""The processes that exist: one literal list, from which `processes`, `describe`, completion and the generated docs follow.

Nothing is imported here but the standard library: the request models are loaded when a process is described or started, Temporal never.
"""

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from starter.refusals import UnknownProcess, nearest

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True)
class GateEntry:
    """A question that the process puts to a person."""

    name: str
    kind: Literal["review", "change", "keep"]
    question: str
    may_change: str = ""
    """What `request_changes` re-runs; empty: it takes comments only."""


@dataclass(frozen=True)
class ProcessEntry:
    """One process as people choose it."""

    name: str
    """The workflow type."""
    category: str
    question: str
    targets: str
    """What it can examine, in words."""
    models: str
    """The module that holds its request and its details."""
    request_name: str
    details_name: str
    steps: tuple[tuple[str, str], ...]
    """Name of a step as the run shows it, and what happens in it."""
    gates: tuple[GateEntry, ...]
    changes: tuple[str, ...]
    """What it can change on a target; empty: nothing."""
    outputs: tuple[str, ...]
    """What `details` and the report hold beyond the common result."""
    operation: str = "profile"
    """What the target's `allow` has to name, or nothing starts."""
    short_form: str = ""
    """The command for a first look, `perfwright cpu`."""

    @property
    def slug(self) -> str:
        """`cpu-profiling-investigation`: the first half of its workflow ids."""
        return "".join(f"-{c.lower()}" if c.isupper() else c for c in self.name).lstrip("-")

    @property
    def request(self) -> "type[BaseModel]":
        """The model of its input."""
        return self._load(self.request_name)  # type: ignore[no-any-return]

    @property
    def details(self) -> "type[BaseModel]":
        """The model of what it adds to the common result."""
        return self._load(self.details_name)  # type: ignore[no-any-return]

    def workflow_id(self, request: "BaseModel") -> str:
        """A function of the input: one run per target at a time."""
        of: Callable[[Any], str] = self._load("workflow_id")
        return of(request)

    def gate(self, name: str) -> GateEntry | None:
        return next((gate for gate in self.gates if gate.name == name), None)

    def _load(self, name: str) -> Any:
        return getattr(importlib.import_module(self.models), name)


PROCESSES: tuple[ProcessEntry, ...] = (
    ProcessEntry(
        name="CpuProfilingInvestigation",
        category="CPU",
        question="Where does the CPU time go, which line, and how much could be won?",
        targets="a running process (pid, port, program name, pid file) or a command; Python, JVM, Node, native",
        models="perfwright.models.cpu_profiling",
        request_name="CpuProfilingRequest",
        details_name="CpuProfilingDetails",
        steps=(
            ("Preflight", "target looked up, its host's worker reached, runtime detected, profiler chosen with the reason"),
            (
                "Record",
                "on-CPU, idle, GIL and native stacks in alternating slices, under an overhead budget; CPU, threads and switches beside",
            ),
            ("Judge the profile", "samples, failed samples and the profiler's own overhead against their limits"),
            ("Draw flame graphs", "on-CPU, waiting, and the difference to an earlier run of the same target"),
            ("Find hot paths", "self and total time by function and line, with intervals"),
            ("Classify utilisation", "one thread saturated, GIL-bound, kernel-heavy, waiting, balanced, idle"),
            ("Rank findings", "recommendations by gain (Amdahl) over effort, a brief for each"),
            ("Write the report", "HTML, Markdown, JSON"),
            ("Record in the history", "kept for later comparison"),
        ),
        gates=(
            GateEntry("open_inspector", "change", "May the inspector be opened? Only for a Node.js target in production."),
            GateEntry(
                "profile_review",
                "review",
                "Is this profile usable?",
                "records again with another duration_s, rate_hz, passes, workload or overhead_budget_share",
            ),
            GateEntry("findings_review", "review", "Do the findings hold?"),
        ),
        changes=("opens the inspector of a Node.js program while it records, where the registry allows `inject`; closed again afterwards",),
        outputs=(
            "hot functions and lines, self and total, with intervals",
            "thread table and utilisation patterns",
            "flame graphs: on-CPU, waiting, difference",
            "the profiler that was chosen, why, and what it cost the target",
        ),
        short_form="cpu",
    ),
    ProcessEntry(
        name="CpuOptimizationImplementation",
        category="CPU",
        question="Which change of the hot code makes it cheaper, and is that proven?",
        targets="a target whose repository (Python) is a clone on its host, with a command that does its work and one that tests it",
        models="perfwright.models.cpu_optimization",
        request_name="CpuOptimizationRequest",
        details_name="CpuOptimizationDetails",
        steps=(
            ("Preflight", "target looked up, its host's worker reached, the commit laid out beside its repository"),
            ("Run the commit's own tests", "what does not pass before a change is no judge of one"),
            (
                "Profile the benchmark",
                "by CpuProfilingInvestigation as a child, with its own reviews; or the profile of an earlier run is read",
            ),
            ("Find hot functions in the repository", "functions and lines of the profile, in the commit's files"),
            (
                "Record calls of hot functions",
                "how often, how often with the same arguments, and the arguments, in one run of the benchmark",
            ),
            ("Find candidates", "codemods and ruff's fixes on hot lines, where results and exceptions are shown to stay equal"),
            (
                "Check",
                "each candidate in a tree of its own: syntax, tests, recorded and varied calls made again in the old and the new code",
            ),
            ("Trial", "each candidate that is right: interleaved fresh processes, instructions counted, memory guarded; kept or undone"),
            ("Write the pull request", "title, evidence and numbers for the branch with one commit per kept candidate"),
            ("Write the report", "HTML, Markdown, JSON"),
            ("Record in the history", "kept for later comparison"),
        ),
        gates=(
            GateEntry("approach", "review", "Are these the changes to try?", "chooses again with leave_out or candidates_at_most"),
            GateEntry("given_change", "change", "May code that somebody, or the change command, gave be run?"),
            GateEntry("findings_review", "review", "Do the findings hold?"),
        ),
        changes=("commits each kept change on a branch of its own, on top of those kept before; the checkout is left alone",),
        outputs=(
            "each candidate with its checks, the CPU time it won with the interval, instructions and memory, and why it was kept or not",
            "opportunities that were seen and left alone, and why",
            "a branch and the text of a pull request",
        ),
    ),
    ProcessEntry(
        name="GarbageCollectionTuning",
        category="Memory",
        question="Which collector settings meet the pause target without costing memory or throughput?",
        targets="a command on CPython or the JVM (9 or newer) that serves HTTP or ends by itself; a running CPython whose entry allows "
        "`inject`; a running JVM, to be observed alone",
        models="perfwright.models.gc_tuning",
        request_name="GarbageCollectionRequest",
        details_name="GcDetails",
        steps=(
            (
                "Preflight",
                "target looked up, its host's worker reached, command and load checked; of a running process its runtime and rights",
            ),
            (
                "Observe the collector before",
                "every pause of fresh servers under the load or of runs, by cause; of a running process by callbacks, of a JVM by its log",
            ),
            (
                "Find pause issues and candidates",
                "causes over the targets; thresholds, freeze, collectors that this java has, heap, regions",
            ),
            (
                "Sweep candidates",
                "each started fresh in turns under the same load, or run: p99 pause, throughput, memory, and their Pareto front",
            ),
            (
                "Try",
                "the chosen candidate against what is, with guards on memory, throughput, latency and errors; kept or undone. On a running "
                "CPython one candidate after the other, with a guard on memory",
            ),
            ("Observe the collector after", "the same again, with what is kept"),
            ("Write the configuration down", "what is set, what it reached, how its owner writes it down, how it is taken back"),
            ("Write the report", "HTML, Markdown, JSON"),
            ("Record in the history", "kept for later comparison"),
        ),
        gates=(
            GateEntry(
                "objective",
                "review",
                "Is this what the collector is to reach, and what may be paid for it?",
                "proposes again with other targets (pause_target_ms, share_target), limits, rounds or candidates",
            ),
            GateEntry("findings_review", "review", "Do the findings hold?"),
        ),
        changes=(
            "flags and environment of the target's own command, for launches by Perfwright, until undone",
            "thresholds and freeze inside a running CPython process, where the registry allows `inject`",
        ),
        outputs=(
            "pauses by cause, before and after",
            "candidates with p99 pause, memory and throughput; the front and the choice",
            "the trial's evidence and guards",
            "a configuration document",
        ),
    ),
    ProcessEntry(
        name="IndexStrategyOptimization",
        category="Database",
        question="Which indexes should exist?",
        targets="a PostgreSQL server (13 to 18)",
        models="perfwright.models.index_strategy",
        request_name="IndexStrategyRequest",
        details_name="IndexStrategyDetails",
        operation="ddl",
        steps=(
            (
                "Preflight",
                "target looked up, its host's worker reached, version and rights read, clones that a killed worker left are dropped",
            ),
            ("Observe", "statement counters, sessions, log, tables and indexes over the window, side by side"),
            ("Group statements", "by fingerprint, with values to run them with"),
            ("Look at existing indexes", "duplicates, prefixes of others, invalid, unused and bloated ones; foreign keys without one"),
            (
                "Search on a clone",
                "candidates, plans with hypothetical or hidden indexes, selection by gain per byte, then by measured times",
            ),
            ("Verify on a fresh clone", "every changed plan in pairs, WAL and HOT of every write; what is not shown to help is let go"),
            (
                "Ask the planner on a clone of statistics",
                "in place of search, verification and trials where no clone with rows can be made: candidates that nothing is measured of",
            ),
            ("Describe the changes", "exact statements and what undoes them"),
            ("Carry out", "CREATE or DROP INDEX CONCURRENTLY, each measured as a trial of its own, and kept or undone"),
            ("Watch use", "scans of kept indexes while the run sleeps"),
            ("Conclude", "quality gates, findings, advice"),
            ("Write the report", "HTML, Markdown, JSON"),
            ("Record in the history", "kept for later comparison"),
        ),
        gates=(
            GateEntry(
                "strategy",
                "change",
                "May these indexes be made and dropped?",
                "verifies again with add_indexes, leave_out, least_gain_share, budget_mb or write_growth_most",
            ),
            GateEntry("findings_review", "review", "Do the findings hold?"),
        ),
        changes=(
            "creates indexes (CREATE INDEX CONCURRENTLY), undone by dropping them",
            "drops redundant indexes, undone by building them again as they were defined",
            "drops invalid indexes that a failed build left",
        ),
        outputs=(
            "each change with its exact statement, how it ended, its measured gain, size and gain per megabyte",
            "queries whose plan changes, in time and blocks; writes, in WAL and HOT",
            "existing indexes that could go or need care",
            "where no clone with rows can be made: candidates by the planner's costs, said to be unverified, and how to have them verified",
            "kept changes as migrations",
        ),
    ),
    ProcessEntry(
        name="QueryPerformanceAnalysis",
        category="Database",
        question="Which queries cost most, why, and what first?",
        targets="a PostgreSQL server (13 to 18), or a MySQL or MariaDB server",
        models="perfwright.models.query_performance",
        request_name="QueryPerformanceRequest",
        details_name="QueryPerformanceDetails",
        steps=(
            ("Preflight", "target looked up, its host's worker reached, version, rights, extensions and settings read"),
            ("Observe", "statement counters over the window, sessions and their waits, the server's log, tables and indexes, side by side"),
            ("Group statements", "by fingerprint, with values to explain them with; what cannot be explained is listed with the reason"),
            (
                "Explain statements",
                "one after the other, in a transaction that is rolled back; executed only where that is allowed and safe",
            ),
            ("Explain costly statements", "those over the cost ceiling, after approval"),
            ("Judge plans", "rules R01 to R30 by family, side by side: scans, joins, estimates, memory, complexity, overhead"),
            ("Look for advice", "indexes with their exact DDL, rewrites, statistics, memory"),
            ("Try advice", "hypothetical indexes where that is safe; rewrites beside their originals: equal rows, and faster"),
            ("Rank findings", "by total time in the window x expected gain"),
            ("Write the report", "HTML, Markdown, JSON"),
            ("Record in the history", "kept for later comparison"),
        ),
        gates=(
            GateEntry(
                "queries_review",
                "review",
                "Are these the statements to examine?",
                "chooses again with add_fingerprints, drop_fingerprints, top or analyze; observes again with another window_s",
            ),
            GateEntry("costly_statements", "change", "May statements over the cost ceiling be executed for their plans?"),
            GateEntry("findings_review", "review", "Do the findings hold?"),
        ),
        changes=(),
        outputs=(
            "statements with their share of the time, calls, mean, p99, rows, blocks",
            "plans with the hot node marked, estimates against what was found",
            "findings with the index, statistics or setting that helps, and the change that does it",
            "rewrites that returned equal rows and were faster",
        ),
        short_form="query",
    ),
)


def find_process(name: str) -> ProcessEntry:
    """The process of that name, or of its slug; raises UnknownProcess with the nearest names."""
    for entry in PROCESSES:
        if name in (entry.name, entry.slug):
            return entry
    raise UnknownProcess(f'no process "{name[:100]}"{nearest(name, [entry.name for entry in PROCESSES])}')
