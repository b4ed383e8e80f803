"""Findings of a CPU profile: which costs and patterns deserve a person's time.

Every program has a hottest line, so being the hottest is no finding. Code that spends its time on what it is there to do is none either. A
cost is told from the lower end of the interval of its share of CPU time, against what would be unusual for its kind:

1. *avoidable work* (cost_shapes.py: compiling, parsing or copying the same again): known to be winnable whatever the program does, so a few
   per cent are worth a look;
2. *a tight loop of interpreted code*: a program in CPython hands its bulk work to compiled code, at a hundredth of the cost per operation.
   Where one to three of its own lines take a tenth of everything, bytecode does bulk work: an index, a set or a library call would do it;
3. *everything else* (compiled loops, library calls, functions that spread their time over many lines, the framework): half of a program's
   time in a few lines is how programs are (Knuth, "An Empirical Study of FORTRAN Programs", Software: Practice and Experience 1, 1971). One
   place must take more than half before it stands out.

And all of it must matter: the CPU that the target uses, and the part of it that is this cost. All of a process that uses 5 % of a core is
not worth an hour. What stays below is listed as `information`, so that a reader sees what was looked at.
"""

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from perfwright.analysis.cost_shapes import NO_SYMBOLS, OWN_CODE
from perfwright.analysis.cpu_costs import Cost, find_costs
from perfwright.analysis.frames import is_nameless, module_of, short_function
from perfwright.analysis.hot_paths import OnCpu
from perfwright.analysis.missing_symbols import nameless_by_place, title_of, way_to_names
from perfwright.analysis.recommendations import for_costs, for_patterns, for_symbols, ranked
from perfwright.analysis.running import mean_threads
from perfwright.models.artifact import ArtifactRef
from perfwright.models.cpu_profiling import HotPaths, Pattern, ProcessUse, Utilisation
from perfwright.models.finding import SEVERITIES, Confidence, Evidence, Finding, Location, Recommendation, Severity
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.profile import NamelessCode

Nameless = Mapping[tuple[str, str], NamelessCode]
"""Code without names, by module and file."""
SHARE_OF_CPU = "share of CPU time"
AVOIDABLE = (0.03, 0.10, 0.25)
"""Lower end of the share from which avoidable work is low, medium, high. Amdahl: 3 % won is a speed-up of 1.03, the least that interleaved
trials on ordinary machines can prove."""
TIGHT_LOOP = (0.08, 0.20, 0.40)
"""The same for a few lines of interpreted code. When such a loop halves, which takes little, 8 % are a win of 4 %."""
DOMINATES = (0.50, 0.65, 0.80)
"""The same for all other code: more than half the program in one place."""
FEW_LINES = 3.0
"""Effective number of lines of a tight loop: the loop, its condition and what it does."""
INTERPRETED = ("python",)
CORES_STEPS = (0.02, 0.08, 0.20)
"""Cores used by the cost below which it is information, at most low, at most medium: a fiftieth of a core pays no one's hour."""
PROCESS_STEPS = (0.12, 0.20, 0.40)
"""The same for all that the target uses: below an eighth of a core nothing in it waits for CPU (M/M/1: queueing adds an eighth), and what
is hottest in it does not matter."""
CRITICAL_SHARE, CRITICAL_CORES = 0.6, 0.5
"""A cost that is most of a program which has no CPU left."""
SATURATED = ("one thread saturated", "CPU-saturated", "GIL-bound")
FEW_SAMPLES = 50
"""Samples of a cost below which its place is sure and its size is not."""
INFORMATION_SHARE, INFORMATION_LISTED = 0.03, 5
"""What is listed although nothing need be done."""
HIGH_KERNEL_SHARE, HIGH_KERNEL_CORES = 0.6, 0.5
COLLECTS = (0.15, 0.30, 0.50)
"""CPU time that collecting a JVM's garbage takes, from which it is low, medium, high. G1 sizes the heap so that pauses take a thirteenth of
the time (-XX:GCTimeRatio=12); a collector that takes twice that has too little heap, or too much garbage."""
MOST_OF_IT = 0.5
"""What a place spends in code without names, from which on it is said that this code has none."""
LEAST_TOLD = 0.005
"""A line, or something called, with less of the CPU time is not named: it would read as 0 %."""


def analyse_findings(
    seen: OnCpu,
    hot_paths: HotPaths,
    utilisation: Utilisation,
    usage: ProcessUse | None,
    *,
    goal_share: float | None = None,
    profile: ArtifactRef | None = None,
    reproduce: str = "",
    seed: int = 1,
) -> tuple[tuple[Finding, ...], tuple[Recommendation, ...]]:
    """Findings by severity and cost, recommendations by gain over effort.

    `goal_share`: CPU time somebody wants to win; recommendations say whether they reach it. `profile`: the artifact that evidence names.
    `reproduce`: the command that measures again, for the briefs. Recommendations are made for findings above `information` only.
    """
    cores = hot_paths.cpu_cores or (mean_threads(seen.tree, seen.rows) or 0.0)
    saturated = any(one.name in SATURATED for one in utilisation.patterns)
    costs = find_costs(seen, seed=seed)
    named = _identified(costs)
    nameless = nameless_by_place(seen.tree.profile.nameless)
    told: list[tuple[Cost, Finding]] = []
    for cost, name in zip(costs, named, strict=True):
        severity = severity_of(cost, cores, saturated, interpreted=seen.runtime in INTERPRETED)
        if severity != "information" or cost.interval.low >= INFORMATION_SHARE:
            waits = _waits_at(seen, cost, utilisation)
            finding = _finding(seen, cost, name, severity, cores, profile, waits)
            told.append((cost, _with_missing_names(finding, cost, seen, hot_paths, nameless)))
    quiet = [finding for _, finding in told if finding.severity == "information"][INFORMATION_LISTED:]
    told = [(cost, finding) for cost, finding in told if finding not in quiet]
    of_patterns = [_pattern_finding(pattern, utilisation, usage, profile) for pattern in utilisation.patterns]
    patterns = [finding for finding in (*of_patterns, _collector_finding(seen, cores, profile)) if finding is not None]
    findings = sorted([*(finding for _, finding in told), *patterns], key=_rank)
    loud = [(cost, finding) for cost, finding in told if finding.severity != "information"]
    blind = [(finding, code) for cost, finding in told if (code := _hidden(cost, cores, saturated, nameless))]
    advice = [*for_costs(loud, cores, seen, reproduce), *for_patterns(patterns, utilisation, usage, reproduce)]
    recommendations = ranked([*advice, *for_symbols(blind, reproduce)], goal_share)
    return tuple(findings), recommendations


def _hidden(cost: Cost, cores: float, saturated: bool, nameless: Nameless) -> NamelessCode | None:
    """The code without names that would be a finding if it had any; None for all other costs."""
    code = nameless.get((cost.function, cost.file))
    if code and severity_of(replace(cost, shape=OWN_CODE), cores, saturated, interpreted=False) != "information":
        return code
    return None


def severity_of(cost: Cost, cores: float, saturated: bool, *, interpreted: bool = True) -> Severity:
    """By share, kind and cores; `saturated`: the target has no CPU left where this cost runs. `interpreted`: its runtime runs bytecode."""
    steps = steps_of(cost, interpreted)
    least = cost.without_helpers.low
    level = sum(least >= step for step in steps) if cost.shape is not NO_SYMBOLS else 0
    used = cost.share * cores
    level = min(level, sum(used >= step for step in CORES_STEPS), sum(cores >= step for step in PROCESS_STEPS))
    if cost.framework:
        level = min(level, 1)
    if level == 3 and saturated and least >= CRITICAL_SHARE and used >= CRITICAL_CORES:
        return "critical"
    return ("information", "low", "medium", "high")[level]


def steps_of(cost: Cost, interpreted: bool) -> tuple[float, float, float]:
    """From which shares a cost of this kind is unusual: see the module's text."""
    if cost.framework:
        return DOMINATES
    if cost.shape.cost == "avoidable":
        return AVOIDABLE
    if cost.shape.cost == "own code" and interpreted and cost.origin != "native" and cost.spread <= FEW_LINES and not cost.from_library:
        return TIGHT_LOOP
    return DOMINATES


def _identified(costs: tuple[Cost, ...]) -> list[str]:
    """Ids that are the same in the next run: kind, file name, function; a folder more where two would be equal, and at last a number."""
    names = [_identity(cost, 1) for cost in costs]
    for depth in range(2, 8):
        same = Counter(names)
        names = [_identity(cost, depth) if same[name] > 1 else name for cost, name in zip(costs, names, strict=True)]
    told = Counter[str]()
    for number, name in enumerate(names):
        told[name] += 1
        names[number] = name if told[name] == 1 else f"{name}:{told[name]}"
    return names


def _identity(cost: Cost, depth: int) -> str:
    if cost.shape is NO_SYMBOLS:
        return f"{cost.shape.name}:{cost.function.strip('[]')}"[:200]
    file = "/".join(cost.file.rstrip("/").split("/")[-depth:]) or "-"
    kind = "hot-line" if cost.shape.name == "hot-code" else cost.shape.name
    return f"{kind}:{file}:{cost.function.replace('.<locals>', '')}"[:200]


def _finding(seen: OnCpu, cost: Cost, name: str, severity: Severity, cores: float, profile: ArtifactRef | None, waits: str) -> Finding:
    function = short_function(cost.function, seen.runtime)
    file = seen.files.get(cost.file, cost.file)
    place = f"{file}:{cost.line}" if cost.line else file
    within = f" [{cost.interval.low:.0%} to {cost.interval.high:.0%}]"
    used = f"{cost.share * cores:.2f} of {cores:.2f} cores"
    callee = cost.called[0][0].split(" (")[0] if cost.called else "a library call"
    told = {"hot-code": "takes", "library-call": f"spends its time in {callee}:"}
    verb = told.get(cost.shape.name, f"{cost.shape.title}:")
    title = f"{place} {function} {verb} {cost.share:.0%} of CPU time".strip()
    sentences = [f"{cost.share:.1%}{within} of the CPU time, {used}."]
    lines = [(line, share) for line, share in cost.lines[:3] if line and share >= LEAST_TOLD]
    called = [f"{name} {share:.0%}" for name, share in cost.called if share >= LEAST_TOLD]
    if called:
        sentences.append(f"Spent in {_listed(called)}, called from here.")
    elif len(lines) > 1 and cost.line:
        sentences.append(f"Hottest lines: {_listed([f'{line} ({share:.0%})' for line, share in lines])}.")
    if cost.helpers:
        sentences.append(f"With {_listed(list(cost.helpers))}, called for nothing else.")
    if cost.callers and (not cost.framework or cost.shape is NO_SYMBOLS):
        sentences.append(f"Called by {_listed(list(cost.callers))}.")
    if severity == "information" and cost.shape is not NO_SYMBOLS:
        sentences.append(
            "Listed to show what was looked at: for code of its kind this is not unusual, or it costs too little CPU to matter."
        )
    taken, weighed = round(float(seen.rows.taken.sum())), "" if (seen.rows.count == seen.rows.taken).all() else ", weighed by CPU time"
    evidence = [
        Evidence(
            statement=f"{cost.samples} of {taken} on-CPU samples{weighed}; interval by {cost.interval.method}",
            estimate=Estimate(value=cost.share, unit=SHARE_OF_CPU, interval=cost.interval),
            artifact=profile,
        ),
        Evidence(statement="CPU used", estimate=Estimate(value=cost.share * cores, unit="cores", interval=_times(cost.interval, cores))),
    ]
    if len(cost.chain) > 1:
        evidence.append(Evidence(statement=f"Heaviest way here: {' > '.join(cost.chain)}", artifact=profile))
    if cost.threads:
        evidence.append(Evidence(statement=f"Threads: {', '.join(cost.threads)}"))
    if waits:
        evidence.append(Evidence(statement=waits))
    if seen.note:
        evidence.append(Evidence(statement=seen.note))
    others = tuple(Location(file=file, line=line, function=function) for line, _ in lines if line != cost.line)
    return Finding(
        id=name,
        title=title,
        severity=severity,
        summary=" ".join(sentences),
        cost=Estimate(value=cost.share, unit=SHARE_OF_CPU, interval=cost.interval),
        locations=(Location(file=file, line=cost.line or None, function=function), *others),
        evidence=tuple(evidence),
        confidence=_confidence(cost),
    )


def _with_missing_names(finding: Finding, cost: Cost, seen: OnCpu, hot_paths: HotPaths, nameless: Nameless) -> Finding:
    """Says of code without names, in the cost or called by it, why there are none and how to get them."""
    if cost.shape is not NO_SYMBOLS:
        called, share = cost.called[0] if cost.called else ("", 0.0)
        hidden = next((code for code in nameless.values() if code.module == called), None)
        if hidden is None or share < MOST_OF_IT * cost.share:
            return finding
        told = f"{title_of(hidden)}, so that what costs there is not known. {way_to_names(hidden)}"
        return finding.model_copy(update={"summary": f"{finding.summary} {told}"})
    code = nameless.get((cost.function, cost.file))
    file = seen.files.get(cost.file, cost.file)
    inside = [
        f"{line.function} ({line.self_share:.0%})"
        for line in hot_paths.lines
        if is_nameless(line.function, line.file) and (module_of(line.function, line.file), line.file) == (cost.function, file)
        if line.function != cost.function and line.self_share >= LEAST_TOLD
    ]
    sentences = [finding.summary]
    if inside:
        sentences.append(f"Hottest functions, by where they begin: {_listed(inside[:3])}.")
    sentences.append(way_to_names(code) if code else cost.shape.advice)
    place = Location(file=cost.file) if cost.file.strip("[]") == cost.file else Location(function=cost.function)
    return finding.model_copy(
        update={
            "title": f"{title_of(code) if code else f'{file} has no symbols'}: {cost.share:.0%} of CPU time",
            "summary": " ".join(sentences),
            "locations": (place,),
        }
    )


def _waits_at(seen: OnCpu, cost: Cost, utilisation: Utilisation) -> str:
    """What threads wait for at this place when they do not run: work of several threads that take turns at the GIL shows here."""
    file, function = seen.files.get(cost.file, cost.file), short_function(cost.function, seen.runtime)
    spots = [spot for spot in utilisation.waiting if spot.file == file and spot.function.startswith(f"{function}: ")]
    return "; ".join(f"{spot.function} at line {spot.line} ({spot.self_share:.0%} of all waiting)" for spot in spots[:2])


def _confidence(cost: Cost) -> Confidence:
    if cost.samples < FEW_SAMPLES or cost.interval.high - cost.interval.low > max(0.1, cost.share):
        return "low"
    return "high" if cost.interval.low >= cost.share / 2 and not cost.framework else "medium"


def _pattern_finding(pattern: Pattern, utilisation: Utilisation, usage: ProcessUse | None, profile: ArtifactRef | None) -> Finding | None:
    """Patterns are findings where they cost CPU or keep threads from it; saturation alone only says how much room there is."""
    if pattern.name in ("balanced", "idle"):
        return None
    cores = usage.user_share + usage.system_share if usage else 0.0
    severity: Severity = "information"
    cost: Estimate | None = None
    locations: tuple[Location, ...] = ()
    waits = {"GIL-bound": "GIL", "waiting on locks": "for a lock"}
    if pattern.name == "GIL-bound":
        severity = "medium" if pattern.confidence == "high" else "low"
        cost = Estimate(value=utilisation.gil_busy_share or 0.0, unit="share of time that the GIL is held")
    elif pattern.name == "kernel-heavy" and usage is not None:
        share = usage.system_share / cores if cores else 0.0
        severity = "medium" if share >= HIGH_KERNEL_SHARE and usage.system_share >= HIGH_KERNEL_CORES else "low"
        cost = Estimate(value=share, unit=SHARE_OF_CPU)
    elif pattern.name == "waiting on locks":
        severity = "medium" if pattern.confidence == "high" else "information"
    if pattern.name in waits:
        spots = [spot for spot in utilisation.waiting if waits[pattern.name] in spot.function or "without a frame" in spot.function]
        locations = tuple(Location(file=one.file, line=one.line, function=one.function.split(":")[0]) for one in spots[:3])
    return Finding(
        id=f"pattern:{pattern.name.lower().replace(' ', '-').replace('/', '-')}",
        title=f"{pattern.name[0].upper()}{pattern.name[1:]}",
        severity=severity,
        summary=pattern.statement,
        cost=cost,
        locations=locations,
        evidence=(Evidence(statement=pattern.statement, estimate=cost, artifact=profile),),
        confidence=pattern.confidence,
    )


def _collector_finding(seen: OnCpu, cores: float, profile: ArtifactRef | None) -> Finding | None:
    """CPU time of the threads that collect a JVM's garbage: none of its methods has it."""
    share = seen.coverage.share_of("garbage collection")
    if share < INFORMATION_SHARE:
        return None
    steps = ((share, COLLECTS), (share * cores, CORES_STEPS), (cores, PROCESS_STEPS))
    severity: Severity = ("information", "low", "medium", "high")[min(sum(value >= step for step in bounds) for value, bounds in steps)]
    threads = next(one.what for one in seen.coverage.unseen if one.kind == "garbage collection")
    cost = Estimate(value=share, unit=SHARE_OF_CPU)
    used = f"{share:.1%} of the CPU time, {share * cores:.2f} of {cores:.2f} cores"
    return Finding(
        id="pattern:garbage-collection",
        title=f"Garbage collection takes {share:.0%} of CPU time",
        severity=severity,
        summary=f"{used}, is the JVM's own work: {threads}. The program's methods share the rest.",
        cost=cost,
        evidence=(Evidence(statement="CPU time of the JVM's own threads, by the kernel's counters", estimate=cost, artifact=profile),),
        confidence="high",
    )


def _rank(finding: Finding) -> tuple[int, float, str]:
    value = finding.cost.value if finding.cost and finding.cost.unit == SHARE_OF_CPU else math.inf if finding.cost else 0.0
    return SEVERITIES.index(finding.severity), -value, finding.id


def _times(interval: Interval, factor: float) -> Interval:
    return interval.model_copy(update={"low": interval.low * factor, "high": interval.high * factor})


def _listed(items: list[str]) -> str:
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} and {items[-1]}"
