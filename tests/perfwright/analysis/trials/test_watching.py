"""What of a live target is watched while a change stands on it, and what people are told of it."""

from typing import Any

import pytest

from perfwright.analysis.trials.watching import (
    LIVE_GUARDS,
    PROCESS_GUARDS,
    is_probed,
    is_watched_after,
    joined_watches,
    live_guards_of,
    told_watch,
    watched_by,
)
from perfwright.models.target import ProcessSelector, Target
from perfwright.models.trial import GuardJudgement
from perfwright.models.trial_run import TrialEvidence, TrialRequest

DATABASE = Target(name="shop-db", kind="postgresql", environment="lab", dsn_env="DSN")
RUNNING = Target(name="shop", kind="process", environment="lab", process=ProcessSelector(port=8700))
LAUNCHED = Target(name="job", kind="process", environment="lab", process=ProcessSelector(command=("job",)))
INDEX = {"kind": "sql", "create": "CREATE INDEX CONCURRENTLY i ON t (a)"}
SETTING = {"kind": "settings", "name": "work_mem", "value": "8MB"}
FILE = {"kind": "file", "path": "app.conf", "content": "x"}
COLLECTOR = {"kind": "interpreter", "gc_enabled": False}
PATCH = {"kind": "patch", "ref": "faster"}
LAUNCH = {"kind": "command", "append": ["--fast"]}
BENCHMARK = {"kind": "benchmark", "command": ["job"]}
PROBED = {"kind": "switched", "probe": ["probe"]}
GUARD = {"metric": "value", "margin": 0.1}


def request(target: Target, change: dict[str, Any], measurement: dict[str, Any] = BENCHMARK, **more: Any) -> TrialRequest:
    given = {"target": target, "title": "a try", "change": change, "measurement": measurement}
    return TrialRequest.model_validate(given | more)


@pytest.mark.parametrize(
    ("target", "change", "kind", "metrics"),
    [
        (DATABASE, INDEX, "counters", [one.metric for one in LIVE_GUARDS]),
        (DATABASE, SETTING, "counters", [one.metric for one in LIVE_GUARDS]),
        (DATABASE, SETTING | {"database": "shop"}, "counters", [one.metric for one in LIVE_GUARDS]),
        (DATABASE, SETTING | {"role": "app"}, "counters", ["live_blocks", "live_ms"]),
        (DATABASE, FILE, "counters", [one.metric for one in LIVE_GUARDS]),
        (RUNNING, FILE, "process", [one.metric for one in PROCESS_GUARDS]),
        (RUNNING, COLLECTOR, "process", [one.metric for one in PROCESS_GUARDS]),
        (LAUNCHED, FILE, "nothing", []),
        (RUNNING, PATCH, "nothing", []),
        (LAUNCHED, LAUNCH, "nothing", []),
    ],
)
def test_by_the_change_and_its_target(target: Target, change: dict[str, Any], kind: str, metrics: list[str]) -> None:
    """A database by its counters, of one role's setting without transactions; a running process from outside; what is not there by nothing."""
    asked = request(target, change)
    assert watched_by(asked.change, target) == kind and [one.metric for one in live_guards_of(asked)] == metrics


def test_a_request_has_the_last_word() -> None:
    """Its own guards, and none where it names none; a request of an earlier release that says nothing is read as the default."""
    own = {"metric": "live_threads", "margin": 1.0}
    assert [one.metric for one in live_guards_of(request(RUNNING, FILE, live_guards=[own]))] == ["live_threads"]
    assert live_guards_of(request(RUNNING, FILE, live_guards=[])) == ()
    assert request(RUNNING, FILE).live_guards is None
    assert TrialRequest.model_validate_json(request(RUNNING, FILE).model_dump_json()).live_guards is None


def told(asked: TrialRequest, *, live: bool) -> str:
    """As the trial puts it: with the guards that are its kind's."""
    return "\n".join(told_watch(asked.model_copy(update={"live_guards": live_guards_of(asked)}), live=live))


def test_people_are_told_what_is_watched_and_why_nothing_is() -> None:
    """By the probe, on the live target, or not at all: a patch until it is deployed, a command until its next launch."""
    both = told(request(RUNNING, FILE, PROBED, guards=[GUARD]), live=True)
    assert "by the probe until this is answered: value" in both and "from outside until this is answered: live_rss_bytes" in both
    assert "somebody deploys the branch" in told(request(RUNNING, PATCH), live=False)
    assert "every launch by Perfwright" in told(request(LAUNCHED, LAUNCH), live=False)
    assert "names no running process" in told(request(LAUNCHED, FILE), live=False)
    assert "could not be read" in told(request(DATABASE, INDEX), live=False)
    assert "has no guard" in told(request(DATABASE, INDEX, live_guards=[]), live=False)
    assert "Sessions that were open before" in told(request(DATABASE, SETTING | {"role": "app"}), live=True)
    assert "Sessions" not in told(request(DATABASE, SETTING), live=True)


def test_what_is_watched_once_it_is_kept() -> None:
    """The live target, by the probe, or both sides again; nothing where the live target was to be read and could not be."""
    benchmark, probed = request(RUNNING, PATCH, guards=[GUARD], watch_s=60), request(RUNNING, FILE, PROBED, guards=[GUARD], watch_s=60)
    blind = request(DATABASE, INDEX, guards=[GUARD], live_guards=LIVE_GUARDS, watch_s=60)
    assert is_watched_after(benchmark, live=False) and is_watched_after(probed, live=False) and is_watched_after(blind, live=True)
    assert not is_watched_after(blind, live=False) and not is_watched_after(request(RUNNING, PATCH, guards=[GUARD]), live=False)
    assert is_probed(probed) and not is_probed(benchmark) and not is_probed(request(RUNNING, FILE, PROBED))


def test_two_watches_are_one() -> None:
    """Guards, medians and warnings of both; one alone is left as it is."""
    probe = TrialEvidence(phase="watch", rounds=9, guards=(GuardJudgement(metric="value", verdict="held", rounds=9),), warnings=("a",))
    live = TrialEvidence(
        phase="watch", guards=(GuardJudgement(metric="live_ms", verdict="unclear", rounds=2),), medians={"live_ms": (1, 2)}
    )
    both = joined_watches([probe, live])
    assert [one.metric for one in both.guards] == ["value", "live_ms"] and both.rounds == 9
    assert both.medians == {"live_ms": (1, 2)} and both.warnings == ("a",) and joined_watches([live]) is live
