"""What to do about the findings of a CPU profile, ranked by gain over effort.

The gain is Amdahl's (1967): with a fraction f of a share p won, CPU seconds fall by p f and the speed-up is 1 / (1 - p f). It is in CPU
seconds of the same work, not in latency: a request that mostly waits hardly gets faster. f is an assumption by shape of the cost, so the
gain has an interval from the least share with the least f to the most with the most.
"""

from perfwright.analysis.cpu_costs import Cost
from perfwright.analysis.frames import short_function
from perfwright.analysis.hot_paths import OnCpu
from perfwright.analysis.markdown_text import as_markdown
from perfwright.analysis.missing_symbols import subject_of, way_to_names
from perfwright.models.change import RiskClass
from perfwright.models.cpu_profiling import ProcessUse, Utilisation
from perfwright.models.finding import Effort, Finding, Recommendation
from perfwright.models.measurement import Estimate, Interval
from perfwright.models.profile import NamelessCode

GAIN_UNIT = "share of CPU seconds"
SEEN_UNIT = "share of CPU time that gets names"
EFFORT_WEIGHT: dict[Effort, float] = {"hours": 1.0, "days": 3.0, "weeks": 10.0}
"""A day's work counts three times that of an afternoon: testing and review come with it."""
MANY_LINES = 4
"""Own code that is hot on more lines than this is a day's work, not an hour's."""


def for_costs(told: list[tuple[Cost, Finding]], cores: float, seen: OnCpu, reproduce: str) -> list[Recommendation]:
    """One recommendation per cost."""
    return [_for_cost(cost, finding, cores, seen, reproduce) for cost, finding in told]


def _for_cost(cost: Cost, finding: Finding, cores: float, seen: OnCpu, reproduce: str) -> Recommendation:
    least, expected, most = cost.shape.can_be_won
    gain = cost.share * expected
    interval = Interval(low=cost.interval.low * least, high=cost.interval.high * most, method="share interval times assumed fraction")
    effort = _effort(cost)
    derivation = (
        f"{cost.share:.1%} of the CPU time is spent here [{cost.interval.low:.1%} to {cost.interval.high:.1%}]; a fix wins about "
        f"{expected:.0%} of it ({least:.0%} to {most:.0%}: {cost.shape.why}). Amdahl: {gain:.1%} fewer CPU seconds for the same work, "
        f"{gain * cores:.2f} cores, a speed-up of {1 / (1 - min(0.99, gain)):.2f} where CPU is what limits. This is CPU time, not latency."
    )
    return Recommendation(
        id=f"fix:{finding.id}",
        title=_title(cost, finding),
        finding_ids=(finding.id,),
        expected_gain=Estimate(value=gain, unit=GAIN_UNIT, interval=interval),
        derivation=derivation,
        effort=effort,
        risk="restart",
        score=gain / EFFORT_WEIGHT[effort],
        brief=_brief(cost, finding, derivation, seen, reproduce),
    )


def _effort(cost: Cost) -> Effort:
    if cost.shape.cost == "own code" and sum(share >= 0.1 * cost.share for _, share in cost.lines) > MANY_LINES:
        return "days"
    return cost.shape.effort


def _title(cost: Cost, finding: Finding) -> str:
    place = finding.locations[0].title
    callee = cost.called[0][0].split(" (")[0] if cost.called else "the library"
    titles = {
        "date-parsing": "Parse each date once in",
        "regex-compile": "Compile patterns once in",
        "template-compile": "Compile templates once in",
        "deep-copy": "Avoid deep copies in",
        "import-in-call": "Import at start instead of in",
        "introspection": "Keep what introspection found in",
        "log-formatting": "Log less in",
        "connection-setup": "Keep connections open in",
        "garbage-collection": "Allocate less in",
        "json": "Serialise less, or with a compiled encoder, in",
        "pickling": "Send less between processes in",
        "pure-python-numbers": "Calculate in integers in",
        "kernel-work": "Make fewer system calls in",
        "linear-search": "Look up by key instead of searching in",
        "library-call": f"Call {callee} less often in",
        "framework-work": "Tune the framework around",
        "compiled-call": "Find out what is called at",
        "no-caller": "Find out who calls",
    }
    return f"{titles.get(cost.shape.name, 'Do less in')} {place}"


def _brief(cost: Cost, finding: Finding, derivation: str, seen: OnCpu, reproduce: str) -> str:
    """Markdown that an engineer or an agent can act on."""
    function = short_function(cost.function, seen.runtime)
    lines = [f"{line} ({share:.1%})" for line, share in cost.lines if line]
    parts = [
        f"## {as_markdown(finding.title)}",
        f"**Where**: `{cost.file or 'unknown file'}`, function `{function}`" + (f", lines {', '.join(lines)}" if lines else "") + ".",
        f"**Measured**: {as_markdown(finding.summary)}",
    ]
    if cost.called:
        parts.append("**Spent in**: " + ", ".join(f"`{name}` {share:.1%}" for name, share in cost.called) + ".")
    if cost.callers:
        parts.append("**Called by**: " + ", ".join(f"`{caller}`" for caller in cost.callers) + ".")
    if len(cost.chain) > 1:
        parts.append("**Heaviest stack**: " + " > ".join(f"`{one}`" for one in cost.chain) + ".")
    parts += [
        f"**Try**: {cost.shape.advice}",
        f"**Expected**: {derivation}",
        "**Check**: results and exceptions stay the same on the old code's inputs (tests, then differential or property tests). Record "
        f"again under the same load: this place was {cost.share:.1%} of the CPU time, and CPU seconds per request or job must fall; "
        "compare interleaved, because a later run alone also differs by noise.",
    ]
    if reproduce:
        parts.append(f"**Measure again**:\n\n```\n{reproduce}\n```")
    return "\n\n".join(parts)


def for_patterns(findings: list[Finding], utilisation: Utilisation, usage: ProcessUse | None, reproduce: str) -> list[Recommendation]:
    """The same for patterns that are findings."""
    made = []
    for finding in findings:
        if finding.severity == "information":
            continue
        if finding.id == "pattern:gil-bound":
            made.append(_for_gil(finding, utilisation, usage, reproduce))
        elif finding.id == "pattern:kernel-heavy":
            made.append(_for_kernel(finding, reproduce))
        elif finding.id == "pattern:waiting-on-locks":
            made.append(_for_locks(finding, reproduce))
        elif finding.id == "pattern:garbage-collection":
            made.append(_for_collector(finding, reproduce))
    return made


def _for_gil(finding: Finding, utilisation: Utilisation, usage: ProcessUse | None, reproduce: str) -> Recommendation:
    wanting = utilisation.runnable_threads or 1.0
    bound = min(wanting, float(usage.cpu_count)) if usage else wanting
    more = max(0.0, bound - 1)
    derivation = (
        f"{wanting:.1f} threads want to run and the GIL lets one: in processes up to {bound:.1f} times the throughput of this part, if "
        "CPUs are free and the work can be divided. CPU seconds per unit of work stay the same."
    )
    return _advice(
        finding,
        title="Run the threads' CPU work in processes",
        gain=Estimate(value=more, unit="more throughput, at most, as a share", interval=Interval(low=0.0, high=more)),
        derivation=derivation,
        effort="days",
        score=0.1,
        advice="Move CPU-bound work to processes (`concurrent.futures.ProcessPoolExecutor`, more server workers), or to code that releases "
        "the GIL; fewer threads otherwise, because each switch costs. Win CPU time in the findings first: it helps at once.",
        reproduce=reproduce,
    )


def _for_kernel(finding: Finding, reproduce: str) -> Recommendation:
    share = finding.cost.value if finding.cost else 0.0
    gain = share * 0.3
    return _advice(
        finding,
        title="Make fewer system calls",
        gain=Estimate(value=gain, unit=GAIN_UNIT, interval=Interval(low=0.0, high=share * 0.7)),
        derivation=f"{share:.0%} of the CPU time is the kernel's; assumed: batching wins a third of it (nothing to 70 %).",
        effort="days",
        score=gain / EFFORT_WEIGHT["days"],
        advice="Count system calls (`perf trace -s -p PID`, `strace -c -f -p PID` in a test system), then buffer, batch, keep connections "
        "and files open, and poll less often.",
        reproduce=reproduce,
    )


def _for_locks(finding: Finding, reproduce: str) -> Recommendation:
    return _advice(
        finding,
        title="Hold the contended lock for less time",
        gain=Estimate(value=0.0, unit=GAIN_UNIT),
        derivation="Waiting threads use no CPU: this wins latency and throughput, not CPU seconds; how much, the time it is held tells.",
        effort="days",
        score=0.02,
        advice="Do slow work (I/O, computing) outside of the lock, split it by key, or hand the data to one owner through a queue.",
        reproduce=reproduce,
    )


def _for_collector(finding: Finding, reproduce: str) -> Recommendation:
    share = finding.cost.value if finding.cost else 0.0
    gain = share * 0.5
    return _advice(
        finding,
        title="Tune garbage collection",
        gain=Estimate(value=gain, unit=GAIN_UNIT, interval=Interval(low=0.0, high=share * 0.9)),
        derivation=f"{share:.0%} of the CPU time collects garbage; assumed: heap and collector win half of it (nothing to 90 %).",
        effort="hours",
        score=gain / EFFORT_WEIGHT["hours"],
        advice="Let the process GarbageCollectionTuning try heap sizes and collectors on this program (`perfwright start "
        "GarbageCollectionTuning`): it measures pauses, CPU time and memory of each. And allocate less where most is allocated, which "
        "JFR's event jdk.ObjectAllocationSample tells.",
        reproduce=reproduce,
    )


def _advice(
    finding: Finding,
    *,
    title: str,
    gain: Estimate,
    derivation: str,
    effort: Effort,
    score: float,
    advice: str,
    reproduce: str,
    risk: RiskClass = "restart",
) -> Recommendation:
    parts = [f"## {finding.title}", f"**Measured**: {finding.summary}"]
    if finding.locations:
        parts.append("**Where**: " + ", ".join(f"`{one.title}`" for one in finding.locations) + ".")
    parts += [f"**Try**: {advice}", f"**Expected**: {derivation}"]
    if reproduce:
        parts.append(f"**Measure again**:\n\n```\n{reproduce}\n```")
    return Recommendation(
        id=f"fix:{finding.id}",
        title=title,
        finding_ids=(finding.id,),
        expected_gain=gain,
        derivation=derivation,
        effort=effort,
        risk=risk,
        score=score,
        brief="\n\n".join(parts),
    )


def for_symbols(blind: list[tuple[Finding, NamelessCode]], reproduce: str) -> list[Recommendation]:
    """For findings of code without names, with the way to get them: nothing in it can be recommended before it is known what it is."""
    return [_for_symbols(finding, code, reproduce) for finding, code in blind]


def _for_symbols(finding: Finding, code: NamelessCode, reproduce: str) -> Recommendation:
    way = way_to_names(code)
    return _advice(
        finding.model_copy(update={"summary": finding.summary.removesuffix(f" {way}")}),
        title=f"Get the function names of {subject_of(code)}",
        gain=finding.cost.model_copy(update={"unit": SEEN_UNIT}) if finding.cost else Estimate(value=0.0, unit=SEEN_UNIT),
        derivation="Names win no CPU time. Without them it is known how much this code takes, and not for what: no gain can be told.",
        effort="hours",
        score=0.0,
        advice=way,
        reproduce=reproduce,
        risk="observe",
    )


def ranked(recommendations: list[Recommendation], goal_share: float | None) -> tuple[Recommendation, ...]:
    """By gain over effort. With a goal, each says whether it is reached so far: costs share no samples, so their gains add up."""
    ordered = sorted(recommendations, key=lambda one: (-one.score, one.id))
    if goal_share is None:
        return tuple(ordered)
    told, won = [], 0.0
    for one in ordered:
        if one.expected_gain.unit == SEEN_UNIT:
            told.append(one)
            continue
        gain = one.expected_gain.value if one.expected_gain.unit == GAIN_UNIT else 0.0
        won += gain
        if gain >= goal_share:
            verdict = f"Alone it reaches the goal of {goal_share:.0%}."
        elif won >= goal_share:
            verdict = f"With those above it reaches the goal of {goal_share:.0%} ({won:.1%} together)."
        else:
            verdict = f"With those above it wins {won:.1%}, short of the goal of {goal_share:.0%}."
        told.append(one.model_copy(update={"derivation": f"{one.derivation} {verdict}"}))
    return tuple(told)
