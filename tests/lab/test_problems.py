import pytest

from lab.problems import NAMES, chosen, version


def test_all_none_and_names() -> None:
    """`LAB_PROBLEMS` takes all, none, or names with commas and blanks."""
    assert chosen("all") == set(NAMES)
    assert chosen("none") == set()
    assert chosen("report-dates, stock-merge") == {"report-dates", "stock-merge"}


@pytest.mark.parametrize("wanted", ["", "report-date", "all,report-dates", "none,all", "report-dates,"])
def test_unknown_names_are_refused(wanted: str) -> None:
    """What is not a problem's name is refused, and what is allowed is said."""
    with pytest.raises(ValueError, match=r"allowed are all, none, or any of discount-rules"):
        chosen(wanted)


def test_the_environment_picks_the_version(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the problems that the environment names are planted; without it all are."""
    monkeypatch.setenv("LAB_PROBLEMS", "stock-merge")
    assert version("stock-merge", planted="planted", sound="sound") == "planted"
    assert version("report-dates", planted="planted", sound="sound") == "sound"
    monkeypatch.delenv("LAB_PROBLEMS")
    assert version("report-dates", planted="planted", sound="sound") == "planted"
