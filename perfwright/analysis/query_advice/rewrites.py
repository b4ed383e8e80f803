"""Other ways to write a statement that are believed equal, to be tried beside the original.

Belief has reasons (each rule says them), and still every candidate is executed next to its original and offered only if it returned the
same rows and was faster. Keyset paging instead of OFFSET is not among them: it returns other rows by design, so it is told as a proposal.
"""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from perfwright.analysis.query_advice.plan_view import Tables
from perfwright.analysis.query_advice.rewrite_conditions import column_alone, half_open_ranges, inlined_ctes
from perfwright.analysis.query_advice.rewrite_or import union_instead_of_or
from perfwright.analysis.query_advice.rewrite_subqueries import aggregate_once, exists_instead_of_count, not_exists_instead_of_not_in
from perfwright.analysis.query_advice.sql_reading import NotRewritable, Scopes, read_sql, write_sql
from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.models.database import Catalog
from perfwright.models.query_advice import RewriteCandidate
from perfwright.models.query_performance import PlanHit
from perfwright.models.query_steps import PlanSet
from perfwright.models.statement import Statement, StatementSample, StatementTable

if TYPE_CHECKING:
    from sqlglot import exp

MAX_REWRITES = 20
MAX_PER_STATEMENT = 3
MAX_REWRITTEN_CHARACTERS = 30_000
_Rule = Callable[["exp.Select", Scopes], str]
_RULES: tuple[tuple[_Rule, frozenset[str]], ...] = (
    (aggregate_once, frozenset({"R01", "R02", "R03", "R11"})),
    (exists_instead_of_count, frozenset({"R01", "R02", "R03", "R11"})),
    (not_exists_instead_of_not_in, frozenset({"R01", "R02", "R11", "R24"})),
    (half_open_ranges, frozenset({"R01", "R03", "R09", "R12", "R13"})),
    (column_alone, frozenset({"R01", "R03", "R09", "R12", "R13"})),
    (union_instead_of_or, frozenset({"R15"})),
)
"""Each with the rules of which one must have fired: a rewrite without a problem is a risk without a gain."""
_CTE_RULES = frozenset({"R23"})


def rewrite_candidates(hits: Sequence[PlanHit], table: StatementTable, plans: PlanSet, catalog: Catalog) -> tuple[RewriteCandidate, ...]:
    """At most MAX_PER_STATEMENT for a statement that only reads and was hit, in the order of time spent."""
    scopes = Scopes(Tables(catalog))
    fired: dict[str, set[str]] = {}
    for hit in hits:
        fired.setdefault(hit.fingerprint, set()).add(hit.rule)
    explained = {one.fingerprint: one.plans for one in plans.statements}
    found: list[RewriteCandidate] = []
    for statement in sorted(table.statements, key=lambda one: (-one.total_ms, one.fingerprint)):
        if statement.kind != "select" or statement.safety != "reads only" or statement.fingerprint not in fired:
            continue
        sample = _sample(statement, [one.sample for one in explained.get(statement.fingerprint, ()) if one.sample is not None])
        if sample is not None:
            found += _of_statement(statement.fingerprint, sample, fired[statement.fingerprint], scopes, catalog)
    return tuple(found[:MAX_REWRITES])


def _sample(statement: Statement, explained: Sequence[StatementSample]) -> StatementSample | None:
    """The middle one, as plans have it, else as the table has it: neither the cheapest nor the worst case decides."""
    samples = list(explained) or list(statement.samples)
    return samples[len(samples) // 2] if samples else None


def _of_statement(fingerprint: str, sample: StatementSample, fired: set[str], scopes: Scopes, catalog: Catalog) -> list[RewriteCandidate]:
    try:
        tree = read_sql(sample.text)
    except NotRewritable:
        return []
    rules = [(rule, rule.__name__) for rule, wanted in _RULES if wanted & fired]
    made: list[RewriteCandidate] = []
    for rule, name in rules:
        _try(made, tree, lambda copy, rule=rule: rule(copy, scopes), name, fingerprint, sample)  # type: ignore[misc]
    if _CTE_RULES & fired:
        _try(made, tree, lambda copy: inlined_ctes(copy, catalog), inlined_ctes.__name__, fingerprint, sample)
    return made[:MAX_PER_STATEMENT]


def _try(
    made: list[RewriteCandidate],
    tree: "exp.Select",
    rule: "Callable[[exp.Select], str]",
    name: str,
    fingerprint: str,
    sample: StatementSample,
) -> None:
    copy = tree.copy()
    title = rule(copy)
    if not title:
        return
    text = write_sql(copy)
    if len(text) > MAX_REWRITTEN_CHARACTERS or not _readable(text):
        return
    made.append(
        RewriteCandidate(
            fingerprint=fingerprint,
            title=title[0].upper() + title[1:],
            original=sample.text,
            rewritten=text,
            sample=sample,
            rule=name.replace("_", "-"),
        )
    )


def _readable(text: str) -> bool:
    """The server's own grammar takes it."""
    try:
        syntax_tree(text)
    except Unreadable:
        return False
    return True
