"""Which statements are examined."""

from perfwright.analysis.statements.choosing import MOST_CHOSEN, SUMMARY_CHARACTERS, choose, summaries
from perfwright.models.query_performance import QueryPerformanceRequest
from perfwright.models.statement import Statement, StatementTable


def named(number: int) -> str:
    return f"{number:016x}"


def table(*statements: Statement, unreadable: tuple[Statement, ...] = ()) -> StatementTable:
    return StatementTable(statements=statements, total_ms=100.0, seconds=60.0, unreadable=unreadable)


def statement(number: int, share: float, **fields: object) -> Statement:
    return Statement.model_validate(
        {"fingerprint": named(number), "text": f"SELECT {number}", "kind": "select", "share": share, "total_ms": share * 100} | fields
    )


def request(**fields: object) -> QueryPerformanceRequest:
    return QueryPerformanceRequest.model_validate({"target": "shop-db"} | fields)


SEEN = table(
    statement(1, 0.5),
    statement(2, 0.3, kind="utility"),
    statement(3, 0.15),
    statement(4, 0.04, not_explainable="2 statements in one text"),
    statement(5, 0.001),
    statement(6, 0.0, sources=("given",)),
    unreadable=(statement(7, 0.009, not_explainable="cut"),),
)


def test_the_first_ones() -> None:
    """By share, at most `top`, none below `min_share`; transaction control takes no place; what has no plan is examined, to say so."""
    assert choose(SEEN, request()).fingerprints == (named(1), named(3), named(4), named(6))
    assert choose(SEEN, request(top=1)).fingerprints == (named(1), named(6))
    assert choose(SEEN, request(min_share=0.1)).fingerprints == (named(1), named(3), named(6))
    assert round(choose(SEEN, request()).share, 6) == 0.69


def test_what_a_person_asks_for() -> None:
    """Added ones are examined whatever they cost, dropped ones are not, and what was not seen is told."""
    choice = choose(SEEN, request(top=1, add_fingerprints=(named(2), named(5), named(7), named(99)), drop_fingerprints=(named(1),)))
    assert choice.fingerprints == (named(2), named(7), named(5), named(6))
    assert choice.unknown == (named(99),)


def test_given_ones_are_always_examined() -> None:
    """Given SQL is examined though nothing was observed, unless it is dropped."""
    given = table(statement(1, 0.0, sources=("given",)), unreadable=(statement(2, 0.0, sources=("given",)),))
    assert choose(given, request()).fingerprints == (named(1), named(2))
    assert choose(given, request(drop_fingerprints=(named(1),))).fingerprints == (named(2),)


def test_number_is_bounded() -> None:
    """However much is asked for, at most 500 statements are examined."""
    many = table(*(statement(number, 0.001) for number in range(1_000)))
    asked = request(top=500, min_share=0.0, add_fingerprints=tuple(named(number) for number in range(600, 1_000)))
    assert len(choose(many, asked).fingerprints) == MOST_CHOSEN


def test_summaries_are_bounded() -> None:
    """The first statements with short texts, however long they are and whatever they are written in."""
    many = table(*(statement(number, 0.02, text="ü\x01\\" * 20_000) for number in range(100)))
    found = summaries(many, most=40, most_bytes=100_000)
    assert len(found) == 40
    assert sum(len(one.model_dump_json().encode()) for one in found) <= 100_000
    assert all(len(one.text) <= SUMMARY_CHARACTERS for one in summaries(many, most=40, most_bytes=10_000_000))
    assert [one.fingerprint for one in summaries(SEEN, most=5, most_bytes=10**6)] == [named(1), named(2), named(3), named(4), named(7)]
