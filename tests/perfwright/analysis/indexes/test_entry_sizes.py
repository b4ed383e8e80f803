"""Whether later writes may be refused because of an index: by what types allow, else by the longest values there are."""

import pytest

from perfwright.analysis.indexes.definitions import IndexDefinition
from perfwright.analysis.indexes.entry_sizes import ENTRY_BYTES, ValueSize, entry_risk
from perfwright.analysis.indexes.unverified_findings import unverified_findings
from perfwright.models.unverified_indexes import UnverifiedIndex, UnverifiedStrategy

SIZES = {
    ("public", "t", name): size
    for name, size in {
        "id": ValueSize(8),
        "code": ValueSize(804),
        "long_code": ValueSize(4_004, 300),
        "note": ValueSize(None, 120),
        "letter": ValueSize(None, 1_000),
        "unread": ValueSize(None),
        "(lower(note))": ValueSize(None, 120),
    }.items()
}


def index(*keys: str, include: tuple[str, ...] = (), **more: object) -> IndexDefinition:
    return IndexDefinition("public", "t", keys, include, **more)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("definition", "fits", "longest", "unbounded"),
    [
        (index("id", "code"), None, 0, ""),
        (index("code", include=("id",)), None, 0, ""),
        (index("letter", trigrams=True), None, 0, ""),
        (index("note"), True, 120, "note"),
        (index("id", include=("note", "long_code")), True, 428, "note long_code"),
        (index("(lower(note))", expression="(lower(note))"), True, 120, "(lower(note))"),
        (index("letter"), False, 1_000, "letter"),
        (index("note", include=("letter",)), False, 1_120, "note letter"),
        (index("id", include=("unread",)), False, None, "unread"),
        (index("elsewhere"), False, None, "elsewhere"),
    ],
)
def test_what_may_come_not_to_fit(definition: IndexDefinition, fits: bool | None, longest: int | None, unbounded: str) -> None:
    """Bounded by types: no risk. Else the longest values decide, with room for longer ones; what was not measured does not fit."""
    risk = entry_risk(definition, SIZES)
    if fits is None:
        assert risk is None
        return
    assert risk and (risk.fits, risk.longest_bytes, " ".join(risk.unbounded)) == (fits, longest, unbounded)
    assert f"{ENTRY_BYTES:,} bytes" in risk.told and (f"{longest:,}" if longest else "is not known") in risk.told


def test_columns_that_are_bounded_one_by_one_may_be_too_long_together() -> None:
    """Four of 804 bytes are more than a row takes; nobody measured them, so that nothing says that they fit."""
    sizes = {("public", "t", name): ValueSize(804) for name in "abcd"}
    assert entry_risk(index("a", "b", "c"), sizes) is None
    risk = entry_risk(index("a", "b", "c", "d"), sizes)
    assert risk and not risk.fits


def test_what_could_not_be_measured_is_told_with_its_risk() -> None:
    """A candidate that only the planner's costs speak for: nobody knows how long its values are."""
    index = UnverifiedIndex(title="t(note)", name="public.i", ddl="", undo="")
    plain, risky = (
        unverified_findings(UnverifiedStrategy(indexes=(one,)))[0].summary for one in (index, index.model_copy(update={"risk": "!"}))
    )
    assert "Risk" not in plain and risky == f"{plain}. Risk: !"
