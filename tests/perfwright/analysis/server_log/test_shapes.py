"""Shapes of statements: what is kept of each, and the bound on all of them."""

from perfwright.analysis.server_log.fingerprints import Fingerprints
from perfwright.analysis.server_log.shapes import TEXT_CHARACTERS, Shape, ShapeTable


def called(shape: Shape, *calls: tuple[str, float], parameters: str = "") -> Shape:
    for text, duration_ms in calls:
        if shape.add(duration_ms):
            shape.offer_sample(text, parameters, duration_ms, "log")
    return shape


def test_samples_are_the_cheapest_the_middle_and_the_costliest() -> None:
    """Of many calls, different ones, whatever the order they came in."""
    durations = [float(n) for n in range(1, 200)]
    for ordered in (durations, durations[::-1], durations[::2] + durations[1::2]):
        samples = called(Shape("f", "x"), *((f"SELECT {n:g}", n) for n in ordered)).as_statement().samples
        assert [samples[0].duration_ms, samples[-1].duration_ms] == [1.0, 199.0]
        assert 30 < (samples[1].duration_ms or 0) < 170


def test_what_cannot_be_run_again_is_no_sample() -> None:
    """Parameters that are missing, cut or not from the first on, and texts that are too long to keep, give no sample; the call counts."""
    for parameters in ("", "$2 = 'a'", "$1 = 'abc...'", "$1 = 'a', rest"):
        shape = called(Shape("f", "x"), ("SELECT $1", 5.0), parameters=parameters)
        assert (shape.as_statement().calls, shape.as_statement().samples) == (1, ())
    assert called(Shape("f", "x"), ("SELECT '" + "x" * TEXT_CHARACTERS + "'", 5.0)).as_statement().samples == ()
    assert called(Shape("f", "x"), ("SELECT $1", 5.0), parameters="$1 = NULL").as_statement().samples[0].parameters == (None,)


def test_large_plans_are_not_kept() -> None:
    """A plan that no person could read is left out."""
    shape = Shape("f", "")
    assert shape.offer_plan("{" + " " * 500_000 + "}", 5.0) == 0
    assert shape.offer_plan('{"Plan": {}}', 5.0) == 48


def table_of(number: int, **bounds: int) -> tuple[ShapeTable, Fingerprints]:
    table = ShapeTable(**bounds)
    fingerprints = Fingerprints(table)
    for n in range(number):
        text = f"SELECT a{n} FROM t WHERE b = {n}"
        shape = fingerprints.shape_of(text)
        shape.total_ms += number - n
        table.weight += shape.offer_sample(text, "", 1.0, "log")
        if table.is_full():
            fingerprints.make_room()
    return table, fingerprints


def test_the_costliest_shapes_stay() -> None:
    """Beyond the bound the cheapest are dropped and counted; one that was dropped is a new shape when it comes again."""
    table, fingerprints = table_of(1000, most_shapes=100)
    assert len(table.shapes) <= 100
    assert abs(table.left_out() + len(table.shapes) - 1000) <= 5
    assert table.by_cost()[0].text == "SELECT a0 FROM t WHERE b = 0"
    assert {shape.text for shape in table.by_cost()[:70]} == {f"SELECT a{n} FROM t WHERE b = {n}" for n in range(70)}
    again = fingerprints.shape_of("SELECT a999 FROM t WHERE b = 7")
    assert table.shapes[again.fingerprint] is again
    assert abs(table.left_out() + len(table.shapes) - 1000) <= 5


def test_texts_are_bounded_too() -> None:
    """What all texts, samples and plans take together stays below its bound, and what is counted is what is there."""
    table, _ = table_of(1000, weight_limit_bytes=20_000)
    assert table.weight <= 20_000 and table.left_out() > 500
    assert table.weight == sum(shape.weight for shape in table.shapes.values())
    for shape in table.shapes.values():
        assert shape.weigh() == 0


def test_plans_of_cheap_statements_go_first() -> None:
    """When plans are too many, no shape is dropped for them: the costliest statements keep theirs."""
    table = ShapeTable(weight_limit_bytes=100_000)
    fingerprints = Fingerprints(table)
    for n in range(200):
        shape = fingerprints.shape_of(f"SELECT a{n} FROM t")
        shape.total_ms = 1000.0 + n * 37 % 200
        table.weight += shape.offer_plan('{"Plan": "' + "x" * 1000 + '"}', 5.0)
        if table.is_full():
            fingerprints.make_room()
    assert len(table.shapes) == 200 and table.left_out() == 0
    assert sum(shape.weight for shape in table.shapes.values()) == table.weight <= 100_000
    with_plan = [bool(shape.plans) for shape in table.by_cost()]
    assert sum(with_plan[:20]) > 10 > sum(with_plan[-20:])
