"""Which candidate is chosen, and which are not even candidates."""

import pytest

from perfwright.analysis.gc.front import choose, score
from perfwright.models.gc_tuning import GcSample, GcSweep
from tests.perfwright.analysis.gc.tuning_samples import sample


def swept(*samples: GcSample, memory: float = 0.1, throughput: float = 0.05) -> GcSweep:
    return choose(score(samples, memory, throughput), 10.0, 0.05)


def rounds(candidate: str, **more: float) -> list[GcSample]:
    return [sample(candidate, number, **more) for number in range(3)]


def test_the_one_that_meets_the_targets_is_chosen() -> None:
    """Of two that do, the one with more throughput."""
    found = swept(*rounds(""), *rounds("rare", p99=2, share=0.01, hz=150), *rounds("frozen", p99=1, share=0.02, hz=120))
    assert found.chosen == "rare" and "meets both targets" in found.reason
    assert {one.candidate for one in found.scores if one.on_front} == {"rare", "frozen"}


def test_doubled_memory_is_not_paid() -> None:
    """A candidate without any pause, in twice the memory, is not allowed; with the limit raised it is."""
    given = [*rounds(""), *rounds("off", p99=0, share=0, mib=200, hz=200)]
    found = swept(*given)
    assert found.chosen == "" and "memory x2.00" in found.scores[-1].note
    assert swept(*given, memory=1.0).chosen == "off"


@pytest.mark.parametrize(("more", "word"), [({"hz": 90.0}, "throughput x0.90"), ({"errors_share": 0.01}, "errors 1.00 %")])
def test_throughput_and_errors_are_guards(more: dict[str, float], word: str) -> None:
    """What costs a tenth of the throughput, or answers one request in a hundred with an error, is not allowed."""
    found = swept(*rounds(""), *rounds("quick", p99=1, share=0.0, **more))
    assert found.chosen == "" and word in found.scores[-1].note


def test_what_is_hardly_ahead_is_not_worth_a_trial() -> None:
    """A tenth off the p99 pause changes nothing."""
    assert swept(*rounds(""), *rounds("little", p99=90, share=0.38)).chosen == ""


def test_the_dominated_are_dropped() -> None:
    """Worse in one thing and better in none: named with what dominates it."""
    found = swept(*rounds(""), *rounds("good", p99=2, share=0.01), *rounds("worse", p99=3, share=0.02, mib=105))
    (worse,) = (one for one in found.scores if one.candidate == "worse")
    assert not worse.on_front and worse.note == "dominated by good"


def test_ratios_are_taken_within_a_round() -> None:
    """A machine that gets slower by half from round to round does not make a candidate slower than what is."""
    drift = [sample(name, number, hz=100 / 2**number, p99=50 if name else 100) for number in range(3) for name in ("", "b")]
    (b,) = (one for one in score(drift, 0.1, 0.05) if one.candidate == "b")
    assert b.throughput_ratio == pytest.approx(1.0) and b.allowed


def test_one_that_does_not_start_is_told() -> None:
    """With the reason, and is not chosen."""
    found = swept(*rounds(""), *[sample("broken", n, p99=0, share=0, hz=0, trouble="ended: Multiple GCs selected") for n in range(3)])
    assert found.chosen == "" and found.scores[-1].note.startswith("ended: Multiple")
    with pytest.raises(ValueError, match="as it is"):
        score([sample("broken")], 0.1, 0.05)


def test_of_equals_the_simpler_is_chosen() -> None:
    """Pauses that nobody can notice, and throughput that differs by less than noise, make no setting better than the first one."""
    given = [*rounds(""), *rounds("both", p99=0.3, share=0.001, hz=216), *rounds("one", p99=0.4, share=0.004, hz=200)]
    found = choose(score(given, 0.1, 0.05), 10.0, 0.05, ("one", "both"))
    assert found.chosen == "one" and {one.candidate for one in found.scores if one.on_front} == {"one", "both"}
