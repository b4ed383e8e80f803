"""A trial as a picture: every round is there, and the sides are told apart."""

import math
from xml.etree import ElementTree

from perfwright.models.measurement import Estimate, Interval
from perfwright.models.trial import Judgement
from perfwright.report.trial_picture import draw_rounds, strip_of

JUDGED = Judgement(
    verdict="better", rounds=12, ratio=Estimate(value=0.9, unit="ratio", interval=Interval(low=0.88, high=0.93, level=0.99, method="Walsh"))
)
SVG = "{http://www.w3.org/2000/svg}"


def test_every_round_is_a_dot_on_its_side() -> None:
    """Cheaper rounds lie left of the line, costlier right of it; the estimate is one more dot, its interval a bar."""
    data = [-0.1, -0.12, 0.05, -0.08]
    root = ElementTree.fromstring(draw_rounds('<a> & "b"', data, JUDGED, 0.01))
    dots = [float(one.attrib["cx"]) for one in root.iter(f"{SVG}circle")]
    line, bar = (one.attrib for one in root.iter(f"{SVG}line"))
    assert len(dots) == len(data) + 1
    assert [dot < float(line["x1"]) for dot in dots[:-1]] == [one < 0 for one in data]
    assert float(bar["x1"]) < dots[-1] < float(bar["x2"])
    assert next(root.iter(f"{SVG}text")).text == '<a> & "b"'


def test_nothing_and_very_much_can_be_drawn() -> None:
    """No rounds and no judgement; a thousand rounds, of which the latest are shown."""
    ElementTree.fromstring(draw_rounds("", [], None, 0.01))
    root = ElementTree.fromstring(draw_rounds("", [math.log(2)] * 1_000, None, 0.01))
    assert sum(1 for _ in root.iter(f"{SVG}circle")) == 240


def test_the_strip_is_a_histogram_about_none() -> None:
    """One line: where rounds lie, and the bar at no difference."""
    assert strip_of([]) == ""
    faster = strip_of([-0.1] * 9 + [-0.05])
    assert faster.index("█") < faster.index("│") and faster.startswith("-9.5%")
    slower = strip_of([0.1] * 9)
    assert slower.index("│") < slower.index("█") and slower.endswith("+10.5%")
