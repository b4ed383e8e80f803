"""Which hypothetical indexes are asked about, and where."""

import pytest

from perfwright.analysis.explaining.what_if import relations_of, unavailable, unsuited
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_advice import IndexCandidate
from perfwright.models.target import Target


def facts(version_number: int = 150000, **more: object) -> DatabaseFacts:
    given = {
        "system": "postgresql",
        "version": "x",
        "version_number": version_number,
        "database": "shop",
        "extensions": {"hypopg": "1.4.1"},
    }
    return DatabaseFacts.model_validate(given | more)


def candidate(ddl: str, *, expression: bool = False) -> IndexCandidate:
    return IndexCandidate(ddl=ddl, table="t", columns=("a",), fingerprint="0" * 16, hit_rule="R01", expression=expression)


@pytest.mark.parametrize("environment, allow, usable", [("lab", ("analyze",), True), ("lab", ("ddl",), False), ("lab", (), False)])
@pytest.mark.parametrize("more, there", [({}, True), ({"extensions": {}}, False), ({"pooler": "pgbouncer"}, False)])
def test_where_it_is_used(environment: str, allow: tuple[str, ...], usable: bool, more: dict[str, object], there: bool) -> None:
    """Only installed, in a direct session, and where the target allows it."""
    target = Target.model_validate({"name": "shop-db", "kind": "postgresql", "environment": environment, "allow": allow})
    assert (unavailable(target, facts(**more)) == "") == (usable and there)


def test_in_production_it_needs_more() -> None:
    """A failure of it ends every session: the target must allow DDL as well."""
    for allow, usable in ((("analyze",), False), (("analyze", "ddl"), True)):
        target = Target.model_validate({"name": "shop-db", "kind": "postgresql", "environment": "production", "allow": allow})
        assert (unavailable(target, facts()) == "") == usable


@pytest.mark.parametrize(
    "ddl, version, reason",
    [
        ("CREATE INDEX CONCURRENTLY t_a_idx ON public.t (a, b DESC)", 180000, ""),
        ("CREATE INDEX ON t USING brin (a)", 150000, ""),
        ("CREATE INDEX ON t (a) INCLUDE (b)", 160000, ""),
        ("CREATE INDEX ON t (a) INCLUDE (b)", 170000, "INCLUDE"),
        ("CREATE INDEX ON t USING gist (a)", 150000, "gist"),
        ("CREATE INDEX ON t (a) WHERE b = 1", 150000, "partial"),
        ("CREATE INDEX ON t ((a + 1))", 150000, "plain columns"),
        ("CREATE INDEX ON t (a text_pattern_ops)", 150000, "plain columns"),
        ("ALTER TABLE t ADD PRIMARY KEY (a)", 150000, "no CREATE INDEX"),
        ("CREATE INDEX ON t (a); SELECT 1", 150000, "several statements"),
        ("CREATE INDEX ON", 150000, "cannot be read"),
    ],
)
def test_which_indexes_are_asked_about(ddl: str, version: int, reason: str) -> None:
    """Plain columns of a kind that it knows; everything else has its reason."""
    told = unsuited(candidate(ddl), facts(version))
    assert (reason in told) if reason else told == ""


def test_candidates_marked_as_expressions() -> None:
    """Whoever made the candidate may know better than its DDL shows."""
    assert "plain columns" in unsuited(candidate("CREATE INDEX ON t (a)", expression=True), facts())


def test_relations_of_a_statement() -> None:
    """All that it reads, with schemas as written."""
    assert relations_of('SELECT * FROM a JOIN s."B" x ON true WHERE EXISTS (SELECT FROM a, c)') == (("", "a"), ("s", "B"), ("", "c"))
