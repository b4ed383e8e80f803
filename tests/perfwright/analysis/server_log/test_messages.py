"""Parts of messages: parameters, plans, times."""

from hypothesis import given
from hypothesis import strategies as st

from perfwright.analysis.server_log.messages import in_other_language, millisecond_of_day, parameter_values, parameters_in_detail, plan_of


@given(st.lists(st.none() | st.text(max_size=20).filter(lambda text: not text.endswith("...")), max_size=6))
def test_parameters_come_back(values: list[str | None]) -> None:
    """Whatever text a parameter holds, it is read as it was before the server wrote it."""
    told = ", ".join(f"${n} = " + ("NULL" if one is None else "'" + one.replace("'", "''") + "'") for n, one in enumerate(values, 1))
    assert parameter_values(told) == tuple(values)


def test_details_of_both_spellings() -> None:
    """`parameters:` until version 15, `Parameters:` since; other details are none."""
    assert parameters_in_detail("parameters: $1 = '1'") == parameters_in_detail("Parameters: $1 = '1'") == "$1 = '1'"
    assert parameters_in_detail("prepare: PREPARE x AS SELECT 1") == parameters_in_detail("") == ""


def test_plans_that_are_none() -> None:
    """Documents that were cut, or have no plan or text, are not plans."""
    for body in (
        "",
        "{",
        '{"Query Text": "SELECT 1"}',
        '{"Query Text": "SELECT 1", "Plan": []}',
        '{"Plan": {}}',
        "Query Text: SELECT 1",
        "<explain>",
    ):
        assert plan_of(body) is None


def test_time_of_day() -> None:
    """With and without fractions; None where there is none."""
    assert millisecond_of_day("2024-05-17 10:00:01.250 UTC") == 36_001_250
    assert millisecond_of_day("2024-05-17 10:00:01 UTC") is None or millisecond_of_day("2024-05-17 10:00:01 UTC") == 36_001_000
    assert millisecond_of_day("") is None


def test_other_languages() -> None:
    """Durations in other languages look like durations; English ones and other messages do not."""
    assert in_other_language("Dauer: 1.234 ms  Anweisung: SELECT 1") and in_other_language("durée : 1.234 ms, instruction : SELECT 1")
    assert not in_other_language("connection received: host=10.0.0.1")
