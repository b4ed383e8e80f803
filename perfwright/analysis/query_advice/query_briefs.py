"""What an engineer or an agent needs to act: the query, what was seen in its plan, what to run, how to check, how to undo. Markdown."""

from collections.abc import Iterable, Sequence

from perfwright.analysis.markdown_text import as_markdown
from perfwright.analysis.masking.plans import has_masked_values
from perfwright.analysis.query_advice.causes import Cause
from perfwright.analysis.query_advice.index_candidates import PlanViews
from perfwright.analysis.query_advice.shares import Loads
from perfwright.models.change import Change
from perfwright.models.query_performance import VerifiedRewrite

BRIEF_CHARACTERS = 6_000
QUERY_CHARACTERS = 1_200
QUERIES = 2
MASKED = "Values in it are masked (`'?'`): put in those of the query before it is run."
PLAN_LINES = 14
LINE_CHARACTERS = 160
_SHOWN = ("Index Cond", "Recheck Cond", "Filter", "Hash Cond", "Merge Cond", "Join Filter", "Sort Key", "Group Key")


def brief_of(
    cause: Cause,
    loads: Loads,
    views: PlanViews,
    *,
    title: str,
    derivation: str,
    try_: str,
    changes: Sequence[Change] = (),
    notes: Iterable[str] = (),
) -> str:
    """At most BRIEF_CHARACTERS; what to run is never cut, the query and the plan are."""
    parts = [f"## {as_markdown(title)}", f"**Measured**: {as_markdown(cause.hits[0].statement)}. {derivation}"]
    act = [f"**Try**: {try_}"]
    act += [f"```sql\n{change.apply}\n```" for change in changes]
    act += [f"**Undo**:\n\n```sql\n{change.undo}\n```" + (f"\n\n{change.undo_cost}." if change.undo_cost else "") for change in changes]
    act += [MASKED] if any(has_masked_values(change.apply) for change in changes) else []
    act += [note for note in notes if note]
    act.append(_check(cause))
    shown = [*_queries(cause, loads), *_plan(cause, views)]
    return fitted(parts, shown, act)


def fitted(head: Sequence[str], shown: Sequence[str], act: Sequence[str]) -> str:
    """Head, then as much of `shown` as there is room for, then what to do, which is never cut before the rest."""
    room = BRIEF_CHARACTERS - sum(len(part) + 2 for part in (*head, *act))
    kept = []
    for part in shown:
        if len(part) + 2 <= room:
            kept.append(part)
            room -= len(part) + 2
    return "\n\n".join([*head, *kept, *act])[:BRIEF_CHARACTERS]


def rewrite_brief(rewrite: VerifiedRewrite, title: str, derivation: str) -> str:
    blocks = ""
    if rewrite.blocks_before is not None and rewrite.blocks_after is not None:
        blocks = f" Blocks read: {rewrite.blocks_before:,} before, {rewrite.blocks_after:,} after."
    return fitted(
        [f"## {as_markdown(title)}", f"**Measured**: {derivation}{blocks}"],
        [f"**Now**:\n\n{fenced(rewrite.original, QUERY_CHARACTERS)}"],
        [
            f"**Instead**:\n\n{fenced(rewrite.rewritten, 3_000)}",
            "**Check**: it returned the same rows for the sampled values only. Run the tests of the code that sends it; compare rows for "
            "values at the edges (none found, NULL, ties), and the time of both, taken in turns.",
            "**Undo**: send the old text again.",
        ],
    )


def fenced(text: str, limit: int, language: str = "sql") -> str:
    """A code block that the text cannot end: a fence longer than any in it."""
    cut = text.strip() if len(text.strip()) <= limit else f"{text.strip()[:limit]}\n-- ... ({len(text):,} characters)"
    fence = "```"
    while fence in cut:
        fence += "`"
    return f"{fence}{language}\n{cut}\n{fence}"


def _queries(cause: Cause, loads: Loads) -> list[str]:
    found = []
    for name in cause.fingerprints[:QUERIES]:
        if (statement := loads.statement(name)) is not None:
            calls = f", {statement.calls:,} calls of {statement.mean_ms:,.1f} ms" if statement.calls else ""
            share = f"{loads.share(name):.1%} of the time{calls}"
            found.append(f"**Query** {name} ({share}):\n\n{fenced(statement.text, QUERY_CHARACTERS)}")
    return found


def _plan(cause: Cause, views: PlanViews) -> list[str]:
    """The node that was hit, with what is above and right below it."""
    hit = cause.hits[0]
    view = views.view(hit)
    node = view.node(hit.node) if view else None
    if view is None or node is None:
        return []
    above = list(reversed(list(view.ancestors(node))[:4]))
    around = [*above, *view.below(node)][:PLAN_LINES]
    lines = []
    least = min(one.depth for one in around)
    for one in around:
        indent = "  " * (one.depth - least)
        rows = f"{one.rows:,.0f} rows x {one.loops:,.0f}" if one.executed else "never executed" if view.tree.analyzed else "not executed"
        marker = "   <-- here" if one.id == node.id else ""
        lines.append(f"{indent}{one.title}  (planned {one.plan_rows:,.0f} rows; {rows}){marker}"[:LINE_CHARACTERS])
        lines += [f"{indent}    {key}: {', '.join(one.texts(key))}"[:LINE_CHARACTERS] for key in _SHOWN if one.texts(key)]
        if removed := one.number("Rows Removed by Filter"):
            lines.append(f"{indent}    Rows Removed by Filter: {removed:,.0f}")
    return [f"**Plan** (part):\n\n{fenced(chr(10).join(lines), 2_500, 'text')}"]


def _check(cause: Cause) -> str:
    nodes = sorted({hit.node_title[:80] for hit in cause.hits[:3]})
    return (
        "**Check**: `EXPLAIN (ANALYZE, BUFFERS)` of the query with the same values, before and after, several times in turns: "
        f"{' / '.join(nodes)} must be gone or small, the time must fall, and other statements on the table must not get slower. Then look "
        "at the mean time of the query in pg_stat_statements over a day."
    )
