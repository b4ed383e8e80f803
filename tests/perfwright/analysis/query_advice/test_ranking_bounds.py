"""Whatever the rules say: a ranking has its advice, fits into a history, and cannot be broken by a query's text."""

import json

from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.query_advice.query_briefs import BRIEF_CHARACTERS, fenced
from perfwright.analysis.query_advice.ranking import MAX_FINDINGS, MAX_RECOMMENDATIONS
from perfwright.analysis.query_advice.rule_advice import MORE_SPECIFIC, RULES
from perfwright.models.database import Catalog
from perfwright.models.finding import SEVERITIES
from perfwright.models.query_performance import PlanHit
from tests.perfwright.analysis.query_advice.drawn import SHOP, Run, hit, node, ranked, whole_orders


def test_the_result_fits_into_a_history() -> None:
    """A hundred statements with every rule and long texts: bounded, and every recommendation has its finding."""
    run = Run()
    hits = []
    for number in range(100):
        name = run.add(whole_orders(f"(customer_id = {number})"), text="SELECT '" + "€" * 3_000, share=0.02)
        hits += [hit(rule, fingerprint=name, statement="x" * 900, columns=(f"c{number}",)) for rule in RULES]
    found = ranked(run, tuple(hits))
    assert len(found.findings) <= MAX_FINDINGS and len(found.recommendations) <= MAX_RECOMMENDATIONS
    assert len(found.model_dump_json().encode()) < 130 * 1024
    ids = {one.id for one in found.findings}
    assert all(set(one.finding_ids) <= ids for one in found.recommendations)
    assert all(len(one.brief) <= BRIEF_CHARACTERS for one in found.recommendations)


def test_every_rule_has_its_advice() -> None:
    """R01 to R30, each with a promise in order."""
    assert sorted(RULES) == [f"R{number:02}" for number in range(1, 31)]
    for rule in RULES.values():
        assert 0 <= rule.won[0] <= rule.won[1] <= rule.won[2] <= 1 and rule.title.format(table="t", columns="c")
    assert set(MORE_SPECIFIC) <= set(RULES)


HITS = st.builds(
    PlanHit,
    rule=st.sampled_from([*RULES, "R77"]),
    fingerprint=st.sampled_from(["00000000000000aa", "00000000000000ab", "00000000000000ff"]),
    sample=st.integers(-1, 2),
    node=st.integers(-1, 5),
    node_title=st.sampled_from(["Seq Scan on orders", "`*<b>"]),
    relation=st.sampled_from(["orders", "public.customers", "nowhere", ""]),
    statement=st.text(max_size=30),
    share=st.floats(0, 1),
    columns=st.lists(st.sampled_from(["customer_id", "status", "nope"]), max_size=2).map(tuple),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(HITS, max_size=12), st.booleans())
def test_whatever_rules_say_the_ranking_is_sound(hits: list[PlanHit], known: bool) -> None:
    """Never an error; ordered; ids unique; gains within the share of their statement; equal input, equal result."""
    run = Run(SHOP if known else Catalog(database="shop"))
    run.add(
        node(
            "Nested Loop",
            node("Seq Scan", on="customers c", rows=9_000, planned=2),
            whole_orders("(customer_id = c.id)", loops=9_000),
            ms=9e5,
        ),
        share=0.7,
    )
    run.add(
        node(
            "Limit",
            node("Sort", node("Seq Scan", on="orders", rows=9), sort=["orders.total"], sort_space_type="Disk", sort_space_used=9_000),
            rows=1,
        ),
        share=0.2,
    )
    found = ranked(run, tuple(hits))
    assert found == ranked(run, tuple(hits))
    ids = [one.id for one in found.findings]
    assert len(ids) == len(set(ids)) and len({one.id for one in found.recommendations}) == len(found.recommendations)
    order = [(SEVERITIES.index(one.severity), -(one.cost.value if one.cost else 0)) for one in found.findings]
    assert order == sorted(order)
    scores = [one.score for one in found.recommendations]
    assert scores == sorted(scores, reverse=True)
    for name, gain in found.gains.items():
        assert 0 < gain.value <= {"00000000000000aa": 0.7, "00000000000000ab": 0.2}[name] + 1e-6
    assert all(0 <= one.expected_gain.value <= 1 for one in found.recommendations)
    json.loads(found.model_dump_json())


@given(st.text(alphabet="`\n a", max_size=40))
def test_a_query_cannot_end_its_code_block(text: str) -> None:
    """The fence is longer than any run of backticks in it."""
    block = fenced(text, 1_000)
    fence = block.split("sql")[0]
    assert block.endswith(f"\n{fence}") and fence not in text.strip()
