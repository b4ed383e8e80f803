"""Real calls to explain: cheap, median and worst; values from statistics where there are none."""

from perfwright.analysis.statements.durations import quantile_of
from perfwright.analysis.statements.parsing import parse_statement
from perfwright.analysis.statements.samples import FROM_STATISTICS, MAX_PARAMETERS, choose_samples, fill_from_statistics, runnable
from perfwright.models.statement import LoggedStatement, Statement, StatementSample

VALUES = {
    ("orders", "state"): ("open", "paid", "lost"),
    ("public.orders", "total"): ("10", "9", "2000"),
    ("customers", "state"): ("NY", "CA", "WY"),
    ("customers", "id"): ("1", "2", "3"),
    ("orders", "id"): ("7", "8", "9"),
}


def sample(text: str, duration_ms: float | None = None, *parameters: str) -> StatementSample:
    return StatementSample(text=text, duration_ms=duration_ms, parameters=parameters, source="log")


def filled(text: str) -> list[tuple[str | None, ...]]:
    statement = Statement(fingerprint="a" * 16, text=text, sources=("pg_stat_statements",))
    found = fill_from_statistics(statement, parse_statement(text), VALUES)
    assert all((one.text, one.source, one.note) == (text, "pg_stat_statements", FROM_STATISTICS) for one in found)
    return [one.parameters for one in found]


def test_cheap_median_and_worst() -> None:
    """Three of many by duration, cheapest first; each call once; one without a duration only where there are too few others."""
    many = [sample(f"SELECT {number}", float(number)) for number in (5, 1, 4, 2, 3, 3, 9)]
    assert [one.duration_ms for one in choose_samples(many)] == [1.0, 3.0, 9.0]
    assert choose_samples([sample("SELECT 1", 1.0), sample("SELECT 1", 8.0)]) == (sample("SELECT 1", 8.0),)
    assert [one.text for one in choose_samples([sample("SELECT 2"), sample("SELECT 1", 1.0)])] == ["SELECT 1", "SELECT 2"]
    assert choose_samples([]) == ()


def test_runnable() -> None:
    """Every `$n` needs a value, and no value is left over."""
    assert runnable(sample("SELECT 1"))
    assert runnable(sample("SELECT $2, $1, '$3'", None, "a", "b"))
    assert not runnable(sample("SELECT $1"))
    assert not runnable(sample("SELECT $1, $2", None, "a"))
    assert not runnable(sample("SELECT '$1'", None, "a"))
    assert not runnable(sample("SELECT 1", None, *["a"] * (MAX_PARAMETERS + 1)))
    assert not runnable(sample("SELECT $1", None, "x" * 100_000))


def test_values_from_statistics() -> None:
    """A placeholder gets a common, a middling and a rare value of the column it is compared with."""
    assert filled("SELECT * FROM orders WHERE state = $1") == [("open",), ("paid",), ("lost",)]
    assert filled("SELECT * FROM orders o JOIN customers c ON true WHERE c.state = $1 AND o.state <> $2::text AND $3 < o.total") == [
        ("NY", "open", "10"),
        ("CA", "paid", "9"),
        ("WY", "lost", "2000"),
    ]
    assert filled("SELECT * FROM orders WHERE state IN ($1, $2) OR state = ANY (ARRAY[$3])") == [
        ("open", "paid", "open"),
        ("paid", "lost", "paid"),
        ("lost", "open", "lost"),
    ]
    assert filled("SELECT * FROM orders WHERE total BETWEEN $1 AND $2") == [("9", "10"), ("10", "2000"), ("9", "2000")]
    assert filled("UPDATE orders SET note = note WHERE id = $1") == [("7",), ("8",), ("9",)]


def test_no_values_where_one_is_not_known() -> None:
    """A placeholder beside no column with values, or a column that two tables have, gives no sample at all: nothing is invented."""
    assert filled("SELECT * FROM orders WHERE state = $1 LIMIT $2") == []
    assert filled("SELECT * FROM orders WHERE note = $1") == []
    assert filled("SELECT * FROM orders, customers WHERE state = $1") == []
    assert filled("SELECT * FROM orders WHERE total + $1 > 5") == []
    assert filled("SELECT * FROM orders") == []


def test_quantiles_of_a_log() -> None:
    """Few calls are there one by one, many as quantiles; entries of one statement count by their calls."""
    few = LoggedStatement(fingerprint="a" * 16, text="x", calls=4, total_ms=10.0, durations_ms=(1.0, 2.0, 3.0, 4.0))
    assert quantile_of([few], 0.5) == 2.0
    assert quantile_of([few], 0.99) == 4.0
    points = tuple(float(number) for number in range(100)) + (99.9, 100.0)
    many = LoggedStatement(fingerprint="a" * 16, text="x", calls=100_000, total_ms=5e6, durations_ms=points)
    assert quantile_of([many], 0.5) == 50.0
    assert quantile_of([many], 0.99) == 99.0
    assert quantile_of([many], 1.0) == 100.0
    assert quantile_of([few, many], 0.5) == 49.0
    assert quantile_of([few, many], 0.0) == 0.0
    assert quantile_of([], 0.5) is None
