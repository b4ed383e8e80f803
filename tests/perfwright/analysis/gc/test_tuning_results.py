"""What comes of a tuning: verdict, findings, gates and the document, for every way that it can end."""

import math
from typing import Any

import pytest

from perfwright.analysis.gc.candidates import as_advice, jvm_candidates, python_candidates
from perfwright.analysis.gc.front import choose, score
from perfwright.analysis.gc.issues import issues_of
from perfwright.analysis.gc.trial_time import trial_seconds
from perfwright.analysis.gc.trying import guards_of, trial_of, wanted_effect
from perfwright.analysis.gc.tuning_questions import objective_question, unknown_names
from perfwright.analysis.gc.tuning_results import judged
from perfwright.analysis.trials.course import fewest_rounds
from perfwright.models.change import Change
from perfwright.models.gate import Decision
from perfwright.models.gc_steps import ProposedSettings, TuningToJudge
from perfwright.models.gc_tuning import (
    CollectorPreflight,
    GarbageCollectionRequest,
    GcDetails,
    GcObservation,
    ServiceLoad,
    TriedCandidate,
)
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial import GuardJudgement, NoiseJudgement
from perfwright.models.trial_run import TrialEvidence, TrialResult
from perfwright.models.undo import ChangeDescription
from perfwright.report.gc_picture import draw_front
from perfwright.report.gc_tuning import report_extras
from tests.perfwright.analysis.gc.tuning_samples import CPYTHON, G1, sample, seen

REQUEST = GarbageCollectionRequest(target="shop", load=ServiceLoad(paths=("/a", "/b")), probe=("probe",), candidates=("freeze",))
SLOW = seen(CPYTHON, full_generation=[120.0] * 30, young=[0.4] * 900)
CALM = seen(CPYTHON, young=[0.4] * 90)
CANDIDATES = python_candidates(CPYTHON, live=False, python_path="/agent")
SWEEP = choose(
    score(
        [
            sample(name, n, p99=p99, share=share)
            for n in range(3)
            for name, p99, share in (("", 120.0, 0.4), (CANDIDATES[0].name, 0.01, 0.0))
        ],
        0.1,
        0.05,
    ),
    10.0,
    0.05,
)
TARGET = Target(name="shop", kind="process", environment="lab", process=ProcessSelector(command=("python", "shop.py", "{port}")))


def known(before: GcObservation = SLOW, **more: Any) -> TuningToJudge:
    issues = issues_of(before, 10.0, 0.05)
    proposed = ProposedSettings(issues=issues, candidates=CANDIDATES if issues else (), metric="gc_pause_p99_ms", sentence="")
    found = CollectorPreflight(runtime="python", version="CPython 3.11", live=False)
    return TuningToJudge(request=REQUEST, target="shop", preflight=found, before=before, proposed=proposed, artifact_prefix="x", **more)


def trial(end: str, **more: Any) -> TrialResult:
    change = Change(
        kind="command", title="", apply="env PERFWRIGHT_GC_SETTINGS=10000,10,10 python shop.py", undo="launched as before", risk="observe"
    )
    description = ChangeDescription(change=change, blast_radius="", cost="", survives_restart=True)
    held = [GuardJudgement(metric="rss_bytes", verdict="held", rounds=12, harm=0.0, harm_low=-0.01, harm_high=0.02)]
    evidence = TrialEvidence(phase="trial", rounds=12, guards=tuple(held), medians={"gc_pause_p99_ms": (120.0, 0.01)})
    given = {"title": "t", "end": end, "reason": "better, and kept", "description": description, "evidence": evidence}
    return TrialResult.model_validate(given | more)


def test_nothing_to_tune() -> None:
    """No finding, no advice, and the gates passed."""
    found = judged(known(CALM))
    assert (found.verdict, found.findings, found.recommendations) == ("passed", (), ())
    assert found.summary.startswith("No pause worth tuning") and {gate.outcome for gate in found.quality_gates} == {"passed"}


def test_kept() -> None:
    """Passed, with the document: before, after, how its owner writes it down, how it is taken back."""
    found = judged(known(sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("kept"), after=CALM))
    assert found.verdict == "passed" and "is kept" in found.summary
    for words in ("gc.set_threshold(10000, 10, 10)", "120.00 ms", "perfwright undo", "PERFWRIGHT_GC_SETTINGS"):
        assert words in found.configuration
    (advice,) = found.recommendations
    assert advice.expected_gain.value == pytest.approx(120.0, abs=0.1) and advice.finding_ids == ("gc-full-generation",)
    assert next(gate for gate in found.quality_gates if gate.metric == "rss_bytes").threshold == pytest.approx(0.0953, abs=1e-3)


def test_kept_and_still_missed() -> None:
    """A gain that does not reach the targets is kept, and the verdict says that they are missed."""
    found = judged(known(sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("kept"), after=SLOW))
    assert found.verdict == "failed" and found.configuration


@pytest.mark.parametrize(("outcome", "verdict"), [("rejected", "rejected"), ("approved", "inconclusive")])
def test_not_kept(outcome: Any, verdict: str) -> None:
    """A person's no is the verdict; what could not be shown is inconclusive. Nothing is recommended, nothing is written down."""
    decision = Decision(gate="keep", revision=1, digest="", outcome=outcome, by="grace", source="signal")
    found = judged(known(sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("undone", reason="not better", decisions=(decision,))))
    assert (found.verdict, found.recommendations, found.configuration) == (verdict, (), "") and "not better" in found.summary


def test_a_trial_that_the_budget_does_not_afford() -> None:
    """What the sweep chose is recommended all the same, as not proven, with the seconds that its trial needs; once a person has refused it,
    it is not."""
    noise = NoiseJudgement(verdict="too few", reason="2 rounds of 7.9 s each", rounds=2, seconds_needed=192.0)
    given = {"noise": TrialEvidence(phase="noise", noise=noise), "evidence": None, "reason": "2 rounds of 7.9 s each"}
    short = known(sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("not applied", **given))
    short = short.model_copy(update={"request": REQUEST.model_copy(update={"trial_budget_s": 60.0})})
    found = judged(short)
    [advice] = found.recommendations
    assert found.verdict == "inconclusive" and found.configuration == "" and advice.title.endswith("(swept, not proven)")
    assert SWEEP.reason in advice.derivation and "needs 192 s (trial_budget_s), and was given 60 s" in advice.derivation
    assert advice.derivation in found.summary
    refusal = Decision(gate="change", revision=1, digest="", outcome="rejected", by="grace", source="signal")
    assert judged(known(sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("not applied", decisions=(refusal,), **given))).recommendations == ()


def test_a_trial_is_as_long_as_the_sweep_shows_it_has_to_be() -> None:
    """Not less than the fewest rounds of a verdict take, longer where rounds differ more, and never more than was asked for."""
    calm = [sample(name, n, p99=p99 + n / 10) for n in range(5) for name, p99 in (("", 120.0), (CANDIDATES[0].name, 10.0))]
    wild = [one.model_copy(update={"pause_p99_ms": one.pause_p99_ms * (1 + one.round)}) for one in calm]
    took_s = {"": 5.0, CANDIDATES[0].name: 3.0}
    asked = REQUEST.model_copy(update={"trial_budget_s": None})
    needs = [trial_seconds(one, took_s, SWEEP, asked, "gc_pause_p99_ms") for one in (calm, wild, calm[:4])]
    assert needs[0] >= fewest_rounds("gc_pause_p99_ms") * 8.0 and needs[1] > needs[0] and needs[2] > needs[0]
    assert trial_seconds(calm, took_s, SWEEP.model_copy(update={"chosen": ""}), asked, "gc_pause_p99_ms") == 0.0
    sweep = SWEEP.model_copy(update={"trial_s": needs[0]})
    budgets = [
        trial_of(one, TARGET, CANDIDATES[0], SLOW, known().proposed, sweep, "x").budget_s
        for one in (asked, asked.model_copy(update={"trial_budget_s": 60.0}))
    ]
    assert budgets == [needs[0], 60.0]


def test_nothing_worth_trying() -> None:
    """Findings stand; the reason why nothing was tried is in the summary."""
    sweep = choose(score([sample("", n) for n in range(3)], 0.1, 0.05), 10.0, 0.05)
    found = judged(known(sweep=sweep))
    assert found.verdict == "failed" and sweep.reason in found.summary and found.findings[0].severity == "high"


def test_the_trial_that_is_asked_for() -> None:
    """A service by its pauses with four guards; a running process by its probe; what cannot be tried is an error."""
    issues = known().proposed
    asked = trial_of(REQUEST, TARGET, CANDIDATES[0], SLOW, issues, SWEEP, "x")
    assert asked.metric == "gc_pause_p99_ms" and [guard.metric for guard in asked.guards] == [guard.metric for guard in guards_of(REQUEST)]
    assert asked.wanted_effect == pytest.approx(0.5, abs=0.01) == wanted_effect(SWEEP, CANDIDATES[0].name, "gc_pause_p99_ms")
    live = python_candidates(CPYTHON, live=True, python_path="")[0]
    assert trial_of(REQUEST, TARGET, live, SLOW, issues, None, "x").measurement.kind == "switched"
    nowhere = TARGET.model_copy(update={"process": ProcessSelector(pid=1)})
    for request, target, candidate in (
        (REQUEST.model_copy(update={"probe": None}), TARGET, live),
        (REQUEST, nowhere, CANDIDATES[0]),
    ):
        with pytest.raises(ValueError, match="needs a"):
            trial_of(request, target, candidate, SLOW, issues, None, "x")


def test_the_trial_of_a_running_process() -> None:
    """Its memory is guarded, and what A against A said once holds for the next candidate."""
    live = python_candidates(CPYTHON, live=True, python_path="")[0]
    noise = TrialEvidence(phase="noise", rounds=9)
    asked = trial_of(REQUEST, TARGET, live, SLOW, known().proposed, None, "x", noise)
    assert [guard.metric for guard in asked.guards] == ["rss_bytes"] and asked.noise == noise
    assert asked.guards[0].margin == pytest.approx(0.0953, abs=1e-3)


BATCH = SLOW.model_copy(update={"batch": True})


@pytest.mark.parametrize(("runtime", "one_core"), [("python", True), ("jvm", False)])
def test_the_trial_of_a_command_that_ends_by_itself(runtime: str, one_core: bool) -> None:
    """By time or CPU, as its noise says, with guards on memory and both; a JVM keeps its cores, by which it chooses its collector."""
    before = BATCH.model_copy(update={"facts": CPYTHON.model_copy(update={"runtime": runtime})})
    sweep = choose(
        score(
            [sample(name, n, hz=hz, cpu_s=cpu) for n in range(3) for name, hz, cpu in (("", 1.0, 1.0), (CANDIDATES[0].name, 2.0, 0.6))],
            0.1,
            0.05,
        ),
        math.inf,
        0.05,
    )
    asked = trial_of(REQUEST.model_copy(update={"load": None}), TARGET, CANDIDATES[0], before, known().proposed, sweep, "x")
    assert asked.measurement.kind == "benchmark" and asked.measurement.one_core is one_core and not asked.metric
    assert [guard.metric for guard in asked.guards] == ["rss_bytes", "wall_s", "cpu_s"]
    assert asked.wanted_effect == pytest.approx(0.2), "half of the 40 % of CPU"


def test_a_command_that_ends_by_itself_has_no_longest_pause() -> None:
    """Unless one is given: nobody waits. The question, the gates and the document speak of its time."""
    request = REQUEST.model_copy(update={"load": None})
    assert request.pause_limit_ms(batch=True) == math.inf and request.pause_limit_ms(batch=False) == 10.0
    given = known(BATCH, sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("kept"), after=CALM).model_copy(update={"request": request})
    found = judged(given)
    assert [gate.metric for gate in found.quality_gates][:1] == ["gc_share"]
    assert "| time of a run |" in found.configuration
    question = " ".join(objective_question(request, BATCH, given.proposed).evidence)
    assert "To reach: pauses at most 5 % of the time." in question and "5 % of its time" in question


def test_a_running_jvm_is_given_advice() -> None:
    """Inconclusive, with the exact reason why nothing was tried and the flags for its next launch."""
    facts = G1.model_copy(update={"settable": ("MaxHeapFreeRatio=70",)})
    before = seen(facts, humongous_allocation=[30.0] * 60).model_copy(update={"live": True})
    issues = issues_of(before, 10.0, 0.05)
    advice = as_advice(jvm_candidates(("/usr/bin/java", "-Xmx64m"), "", facts, ("G1", "ZGC"), issues, 10.0, 16 << 30))
    proposed = ProposedSettings(issues=issues, candidates=advice, metric="", sentence="", collectors=("G1", "ZGC"), absent=("Shenandoah",))
    found = judged(known(before, chosen=advice[0]).model_copy(update={"proposed": proposed}))
    assert found.verdict == "inconclusive" and "at its launch alone" in found.summary and "MaxHeapFreeRatio=70" in found.summary
    assert found.recommendations[0].title == "Run it with G1 regions of 4 MiB"
    assert "-XX:G1HeapRegionSize=4m" in found.recommendations[0].brief and found.recommendations[0].risk == "restart"
    question = objective_question(REQUEST, before, proposed)
    assert "tries none" in question.consequence and "This java has G1, ZGC; not present: Shenandoah." in question.evidence


def test_none_of_several_was_kept() -> None:
    """All that was tried on a running process is counted."""
    tried = tuple(TriedCandidate(candidate=name, end="undone", reason="not better") for name in ("one", "two"))
    found = judged(
        known(SLOW.model_copy(update={"live": True}), chosen=CANDIDATES[1], trial=trial("undone", reason="not better"), tried=tried)
    )
    assert found.verdict == "inconclusive" and "None of 2 candidates was kept" in found.summary and not found.configuration


def test_the_question_says_what_is_paid() -> None:
    """Targets, limits, issues and candidates are on show, and that nothing is changed by it."""
    question = objective_question(REQUEST, SLOW, known().proposed)
    text = " ".join((question.question, question.consequence, *question.evidence))
    for words in ("10 ms", "10 % memory", "5 % throughput", "full generation", "thresholds 10000, 10, 10", "Nothing is changed"):
        assert words in text


def test_the_report_shows_front_and_table() -> None:
    """Pauses by cause, candidates with the choice; the picture has a dot for each and names it safely."""
    extras = report_extras(GcDetails(before=SLOW, sweep=SWEEP, chosen=CANDIDATES[0], trial=trial("kept"), after=CALM))
    assert [figure.title for figure in extras.figures] == [
        "Pauses by cause, as it is",
        "Candidates",
        "The trial: as it is (A) against with it (B)",
        "Pauses by cause, after",
    ]
    scores = [one.model_copy(update={"candidate": "<b>&"}) if one.candidate else one for one in SWEEP.scores]
    drawn = draw_front(scores, "<b>&", 10.0, 1.1)
    assert drawn.count("<title>") == 2 and "<b>" not in drawn and "&lt;b&gt;&amp;" in drawn


def test_names_that_a_reviewer_makes_up_are_told() -> None:
    """With those that there are; without any known, as in runs of an earlier release, nothing is told."""
    (told,) = unknown_names({"candidates": ["freeze", "frieze"]}, ("freeze", "Serial"))
    assert told == "candidates: there is no 'frieze'; there are: freeze, Serial"
    assert unknown_names({"candidates": ["frieze"]}, ()) == unknown_names({}, ("freeze",)) == []
