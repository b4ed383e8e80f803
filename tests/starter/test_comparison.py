import json
from typing import Any

import pytest

from perfwright.analysis.call_tree import encode_profile
from perfwright.models.cpu_profiling import CpuProfilingDetails, HotPaths, HotSpot
from perfwright.models.finding import Finding
from perfwright.models.measurement import EnvironmentFingerprint, Estimate, Interval
from perfwright.models.profile import Frames, Nodes, Profile, ProfilePass, ThreadRef
from perfwright.models.quality import QualityGate
from perfwright.models.result import ProcessResult
from perfwright.report.comparison import PICTURE_LIMIT_BYTES, render_comparison
from starter.comparison import compare_results, draw_difference_of
from starter.comparison import told as told_of
from starter.refusals import Refused

NAMES = ("shop#1", "shop#2")


def environment(kernel: str = "Linux 6.1") -> EnvironmentFingerprint:
    return EnvironmentFingerprint(host="local", kernel=kernel, cpu_model="any", cpu_count=2, memory_bytes=1)


def spot(function: str, share: float) -> HotSpot:
    interval = Interval(low=share - 0.02, high=share + 0.02)
    return HotSpot(
        function=function,
        file="/srv/a.py",
        origin="user",
        self_share=share,
        self_interval=interval,
        total_share=share,
        total_interval=interval,
        samples=9,
    )


def result(findings: dict[str, str], shares: dict[str, float], **fields: Any) -> ProcessResult[CpuProfilingDetails]:
    spots = tuple(spot(name, share) for name, share in shares.items())
    given: dict[str, Any] = {
        "process": "CpuProfilingInvestigation",
        "target": "shop",
        "environment": "lab",
        "workflow_id": "cpu-profiling-investigation/shop",
        "run_id": "r",
        "verdict": "passed",
        "summary": "s",
        "findings": tuple(Finding(id=key, title=title, severity="low", summary="s") for key, title in findings.items()),
        "quality_gates": (
            QualityGate(
                name="enough samples", metric="samples", comparison=">=", threshold=1, observed=9, unit="samples", outcome="passed"
            ),
        ),
        "request": {"target": "shop", "duration_s": 3},
        "details": CpuProfilingDetails(environment=environment(), hot_paths=HotPaths(samples=9, functions=spots, lines=())),
    }
    return ProcessResult[CpuProfilingDetails](**(given | fields))


def test_what_differs_is_named_first() -> None:
    """The summary names what differs, largest first; findings are told apart by their stable ids, not by their titles."""
    earlier = result({"hot:a": "a takes 10 %", "hot:b": "b takes 5 %"}, {"a": 0.10, "b": 0.50, "c": 0.20})
    later = result({"hot:a": "a takes 40 %", "hot:c": "c takes 20 %"}, {"a": 0.40, "b": 0.10, "c": 0.21})
    told = compare_results(earlier, later, NAMES)
    assert told.summary.startswith("b (a.py), self less: -40.0 % (-42.8 to -37.2 %); a (a.py), self more: +30.0 %")
    assert (told.new_findings, told.gone_findings) == (("c takes 20 %",), ("b takes 5 %",))
    assert told.cautions == ()
    assert {one.what: one.shown for one in told.numbers}["c (a.py), self"] == "no difference shown"


def test_equal_runs_do_not_differ() -> None:
    """Two runs with the same numbers are told so, and nothing is claimed."""
    one = result({}, {"a": 0.3})
    assert compare_results(one, one, NAMES).summary.startswith("No difference between shop#1 and shop#2 is shown")


def test_reasons_not_to_compare_are_told() -> None:
    """Other targets, settings, environments and verdicts are said beside the numbers; other processes are refused."""
    earlier = result({}, {}, target="stage")
    details = CpuProfilingDetails(environment=environment("Linux 6.8"))
    later = result({}, {}, verdict="inconclusive", request={"target": "shop", "duration_s": 9, "top": 5}, details=details)
    cautions = "\n".join(compare_results(earlier, later, NAMES).cautions)
    for told in ("stage and shop", "ended inconclusive", "settings: duration_s, top.", "environments: kernel differ."):
        assert told in cautions
    with pytest.raises(Refused, match="Only runs of one process"):
        compare_results(earlier, result({}, {}, process="Another"), NAMES)


def test_functions_of_one_name_are_not_mixed_up() -> None:
    """Two views have a function `get`: each is compared with itself, although the hotter one stands first and the order has changed."""
    shop, cart = ("get", "/srv/shop/views.py"), ("get", "/srv/cart/views.py")

    def run(*shares: tuple[tuple[str, str], float]) -> ProcessResult[CpuProfilingDetails]:
        spots = tuple(spot(function, share).model_copy(update={"file": file}) for (function, file), share in shares)
        return result({}, {}, details=CpuProfilingDetails(hot_paths=HotPaths(samples=9, functions=spots, lines=())))

    told = compare_results(run((shop, 0.30), (cart, 0.05)), run((cart, 0.50), (shop, 0.30)), NAMES)
    assert {one.what: one.shown for one in told.numbers if "get" in one.what} == {
        "get (cart/views.py), self": "more",
        "get (shop/views.py), self": "no difference shown",
    }
    overloaded = compare_results(run((shop, 0.30)), run((shop, 0.20), (shop, 0.15)), NAMES)
    (one,) = [one for one in overloaded.numbers if "get" in one.what]
    assert one.later is not None and (one.shown, one.later.value) == ("no interval", pytest.approx(0.35))


def test_a_function_that_one_run_has_not_seen_has_a_share_below_what_it_could_see() -> None:
    """A function that a release brings, or takes away, differs from none at all where the other run would have seen it; one that a table
    was too short for, or too few samples to see, or that may only have moved, does not."""

    def run(samples: int, shares: dict[str, float], file: str = "/srv/a.py") -> ProcessResult[CpuProfilingDetails]:
        spots = tuple(spot(name, share).model_copy(update={"file": file}) for name, share in shares.items())
        return result({}, {}, details=CpuProfilingDetails(hot_paths=HotPaths(samples=samples, functions=spots, lines=())))

    def shown(before: ProcessResult[CpuProfilingDetails], now: ProcessResult[CpuProfilingDetails]) -> dict[str, str]:
        return {one.what.split()[0]: one.shown for one in compare_results(before, now, NAMES).numbers if "self" in one.what}

    told = compare_results(run(1_000, {"serve": 0.2, "old": 0.8}), run(1_000, {"serve": 0.2, "fresh": 0.8}), NAMES)
    assert told.summary.startswith("old (a.py), self less: -80.0 %") or told.summary.startswith("fresh (a.py), self more: +80.0 %")
    [fresh] = [one for one in told.numbers if one.what.startswith("fresh")]
    assert told_of(fresh.earlier) == "not seen (below 1.5 %)" and fresh.shown == "more"
    whole = {"serve": 0.9, "small": 0.1}
    assert shown(run(1_000, whole | {"serve": 0.87, "fresh": 0.03}), run(10, whole))["fresh"] == "no difference shown"
    assert shown(run(1_000, whole), run(1_000, whole | {"serve": 0.86, "fresh": 0.04}))["fresh"] == "more"
    assert (
        shown(run(1_000, {"serve": 0.8, "small": 0.1}), run(1_000, whole | {"serve": 0.86, "fresh": 0.04}))["fresh"]
        == "no difference shown"
    )
    assert shown(run(1_000, whole, "/srv/v1/a.py"), run(1_000, whole, "/srv/v2/a.py")).keys() == {"serve", "small"}
    moved = compare_results(run(1_000, whole, "/srv/v1/a.py"), run(1_000, whole, "/srv/v2/a.py"), NAMES)
    assert {one.shown for one in moved.numbers if "self" in one.what} == {"only earlier", "only later"}
    assert moved.summary.startswith("No difference") and "Only one of them has serve (" in moved.summary


def test_costs_are_compared_by_the_findings_ids() -> None:
    """Titles have numbers in them, and two findings may have one title: the cost of a finding is compared with that of the same finding."""

    def run(**costs: tuple[str, float]) -> ProcessResult[CpuProfilingDetails]:
        findings = tuple(
            Finding(id=key, title=title, severity="low", summary="s", cost=Estimate(value=value, unit="ms"))
            for key, (title, value) in costs.items()
        )
        return result({}, {}, process="Another", quality_gates=()).model_copy(update={"findings": findings})

    told = compare_results(run(a=("a takes 10", 10), b=("slow", 3)), run(a=("a takes 40", 40), b=("slow", 4), c=("slow", 9)), NAMES)
    assert {one.what: (one.earlier and one.earlier.value, one.later and one.later.value) for one in told.numbers} == {
        "a takes 40": (10, 40),
        "slow [b]": (3, 4),
        "slow [c]": (None, 9),
    }


def profile(samples: dict[str, int]) -> bytes:
    """main calls each function; one sample row for each."""
    names = ["main", *samples]
    count = len(names)
    one = ProfilePass(
        kind="on_cpu",
        rate_hz=100,
        seconds=1,
        block_seconds=[1.0],
        node=list(range(1, count)),
        thread=[0] * (count - 1),
        block=[0] * (count - 1),
        count=list(samples.values()),
    )
    frames = Frames(function=names, file=["/srv/a.py"] * count, line=[1] * count, origin=["user"] * count)
    nodes = Nodes(parent=[-1] + [0] * (count - 1), frame=list(range(count)))
    return encode_profile(Profile(tool="t", frames=frames, nodes=nodes, threads=[ThreadRef(pid=1, tid=1)], passes=[one]))


def test_the_difference_flame_graph() -> None:
    """
    earlier  main > a 50, b 50        later  main > a 75, b 25        a grew by 25 % of all samples, b shrank by as much
    """
    root = json.loads(draw_difference_of([profile({"a": 50, "b": 50}), profile({"a": 75, "b": 25})], "python", [None, None]))
    (main,) = root["children"]
    assert {box["name"]: (box["value"], box["delta"]) for box in main["children"]} == {"a": (75_000, 25_000), "b": (25_000, -25_000)}


def test_the_page_is_complete_in_itself() -> None:
    """Names, numbers and cautions are text and never markup, nothing is loaded, and a picture that is too large is left out."""
    one = result({}, {})

    def page(picture: bytes | None) -> str:
        return render_comparison(
            one,
            one,
            ("<b>shop#1</b>", "shop#2"),
            summary="</script><script>alert(1)",
            rows=[("f<T>", "1", "2", "+1", "more")],
            new_findings=["<i>new</i>"],
            gone_findings=[],
            cautions=["& so on"],
            picture=picture,
            picture_caption="red grew",
            repeat="perfwright compare",
        )

    html = page(b'{"name":"</script>","value":1}')
    assert "<b>shop#1</b>" not in html and "<i>new</i>" not in html and "alert(1)" in html and "<script>alert" not in html
    assert "f&lt;T&gt;" in html and "\\u003c/script>" in html and "http://" not in html.split("<main>")[1].split("</main>")[0]
    assert 'class="flame"' not in page(b"x" * (PICTURE_LIMIT_BYTES + 1)) and 'class="flame"' not in page(None)
