"""What QueryPerformanceAnalysis adds to the report: statements, plans, waits, what was tried, and how it was observed."""

from collections.abc import Sequence

from perfwright.models.database import DatabaseFacts
from perfwright.models.query_performance import (
    ExaminedStatement,
    QueryPerformanceDetails,
    StatementSummary,
    VerifiedRewrite,
    WaitShare,
    WhatIf,
    WindowFacts,
    plan_anchor,
)
from perfwright.models.report import Column, Fact, Figure, PlanFigure, ReportExtras, SeriesFigure, TableFigure
from perfwright.report.words import seconds, share, size

STATEMENTS_SHOWN = 25
TEXT_CHARACTERS = 400
SHOWN_SETTINGS = ("shared_buffers", "work_mem", "effective_cache_size", "random_page_cost", "max_parallel_workers_per_gather", "jit")


def report_extras(details: QueryPerformanceDetails) -> ReportExtras:
    """Figures in the order a reader asks for them: which statements, why each, what was tried, what sessions did meanwhile."""
    figures: list[Figure] = []
    if details.statements:
        figures.append(_statements(details.statements, details.examined))
    figures += [_plan(one) for one in details.examined if one.plan is not None]
    if details.what_ifs:
        figures.append(_what_ifs(details.what_ifs))
    if details.rewrites:
        figures.append(_rewrites(details.rewrites))
    if lost := [one for one in details.examined if one.outcome.mode == "not explained"]:
        figures.append(_not_explained(lost))
    if details.waits:
        figures.append(_waits(details.waits))
    if details.activity:
        figures.append(SeriesFigure(title="Sessions over time", data=details.activity, caption="Sessions by what they did when looked at."))
    return ReportExtras(figures=tuple(figures), facts=tuple(_facts(details)), warnings=details.warnings)


def _statements(statements: Sequence[StatementSummary], examined: Sequence[ExaminedStatement]) -> TableFigure:
    seen = {one.statement.fingerprint: one for one in examined}
    return TableFigure(
        title="Costliest statements",
        caption="By execution time in the window. Blocks are shared blocks, found in the cache and read; temporary blocks were written.",
        columns=(
            Column(title="Statement"),
            Column(title="Share", bar=True),
            Column(title="Calls", numeric=True),
            Column(title="Mean ms", numeric=True),
            Column(title="p99 ms", numeric=True),
            Column(title="Rows", numeric=True),
            Column(title="Blocks", numeric=True),
            Column(title="Temp", numeric=True),
            Column(title="Examined"),
        ),
        rows=tuple(
            (
                f"{_short(one.text)} [{one.fingerprint}]",
                min(1.0, one.share),
                f"{one.calls:,}",
                f"{one.mean_ms:,.3g}",
                f"{one.p99_ms:,.3g}" if one.p99_ms is not None else "",
                f"{one.rows:,}",
                f"{one.blocks:,}",
                f"{one.temp_written_blocks:,}",
                _examined(one, seen.get(one.fingerprint)),
            )
            for one in statements[:STATEMENTS_SHOWN]
        ),
    )


def _examined(one: StatementSummary, examined: ExaminedStatement | None) -> str:
    if examined is None:
        return f"no: {one.not_explainable}" if one.not_explainable else "no"
    if examined.outcome.mode == "not explained":
        return f"no plan: {examined.outcome.reason}"
    return examined.outcome.mode


def _plan(one: ExaminedStatement) -> PlanFigure:
    assert one.plan is not None, "only statements with a picture are drawn"
    found = f" {len(one.hits)} rules fired." if len(one.hits) > 1 else " One rule fired." if one.hits else ""
    reason = f" {one.outcome.reason}" if one.outcome.reason else ""
    return PlanFigure(
        title=f"Plan of {_short(one.statement.text, 120)}",
        caption=f"{one.statement.share:.1%} of the time in the window.{found}{reason}",
        data=one.plan,
        anchor=plan_anchor(one.statement.fingerprint),
    )


def _what_ifs(tried: Sequence[WhatIf]) -> TableFigure:
    return TableFigure(
        title="Indexes that the planner was asked about",
        caption="Hypothetical: nothing was built. Costs are the planner's own, and rank only; time decides.",
        columns=(
            Column(title="Index"),
            Column(title="Statement"),
            Column(title="Cost before", numeric=True),
            Column(title="Cost after", numeric=True),
            Column(title="Used"),
            Column(title="Size", numeric=True),
        ),
        rows=tuple(
            (one.ddl, one.fingerprint, f"{one.cost_before:,.0f}", f"{one.cost_after:,.0f}", "yes" if one.used else "no", size(one.bytes))
            for one in tried
        ),
    )


def _rewrites(tried: Sequence[VerifiedRewrite]) -> TableFigure:
    return TableFigure(
        title="Rewrites that were tried",
        caption="Beside the original, in turns, on the sampled values. Offered only when rows are equal and it is faster.",
        columns=(
            Column(title="Rewrite"),
            Column(title="Outcome"),
            Column(title="Time, of the original's", numeric=True),
            Column(title="Blocks before", numeric=True),
            Column(title="after", numeric=True),
            Column(title="Rewritten"),
        ),
        rows=tuple(
            (
                f"{one.title} [{one.fingerprint}]",
                f"{one.outcome}{': ' + one.reason if one.reason else ''}",
                _ratio(one),
                f"{one.blocks_before:,}" if one.blocks_before is not None else "",
                f"{one.blocks_after:,}" if one.blocks_after is not None else "",
                _short(one.rewritten, 600),
            )
            for one in tried
        ),
    )


def _ratio(one: VerifiedRewrite) -> str:
    if one.ratio is None:
        return ""
    within = f" ({one.interval.low:.2f} to {one.interval.high:.2f})" if one.interval else ""
    return f"{one.ratio:.2f}x{within}"


def _not_explained(lost: Sequence[ExaminedStatement]) -> TableFigure:
    return TableFigure(
        title="Statements without a plan",
        caption="None is left out in silence.",
        columns=(Column(title="Statement"), Column(title="Share", bar=True), Column(title="Reason")),
        rows=tuple(
            (f"{_short(one.statement.text)} [{one.statement.fingerprint}]", one.statement.share, one.outcome.reason) for one in lost
        ),
    )


def _waits(waits: Sequence[WaitShare]) -> TableFigure:
    return TableFigure(
        title="What sessions did",
        caption="Shares of all looks at sessions in a transaction.",
        columns=(Column(title="State"), Column(title="Share", bar=True), Column(title="Sessions", numeric=True), Column(title="Mostly in")),
        rows=tuple((one.state, min(1.0, one.share), f"{one.sessions:.2f}", _short(one.statement, 160)) for one in waits),
    )


def _facts(details: QueryPerformanceDetails) -> list[Fact]:
    facts: list[Fact] = []
    if details.database:
        facts += _server(details.database)
    facts += _window(details.window)
    facts += [Fact(label="Not seen", value=missing.sentence.removesuffix(".")) for missing in details.not_seen]
    return facts


def _server(database: DatabaseFacts) -> list[Fact]:
    standby = ", standby" if database.standby else ""
    rights = "superuser" if database.superuser else "reads all statistics" if database.reads_all_stats else "own statements only"
    facts = [
        Fact(
            label="Server",
            value=f"{database.system} {database.version}{standby}, database {database.database} of {size(database.size_bytes)}",
        ),
        Fact(label="Our role", value=f"{database.role} ({rights})" + (f", through {database.pooler}" if database.pooler else "")),
    ]
    if database.extensions:
        facts.append(
            Fact(label="Extensions", value=", ".join(f"{name} {version}" for name, version in sorted(database.extensions.items())))
        )
    known = {one.name: f"{one.name} {one.value}{one.unit}" for one in database.settings}
    if settings := ", ".join(known[name] for name in SHOWN_SETTINGS if name in known):
        facts.append(Fact(label="Settings", value=settings))
    return facts


def _window(window: WindowFacts) -> list[Fact]:
    sources = ", ".join(window.sources) or "none"
    text = f"{seconds(window.seconds)}; {window.statements:,} statements used {seconds(window.total_ms / 1_000)}; sources: {sources}"
    facts = [Fact(label="Window", value=text), Fact(label="Examined", value=f"{share(window.examined_share)} of the time in the window")]
    if window.reset:
        facts.append(Fact(label="Counters", value="were reset within the window: it begins there"))
    if window.evicted:
        facts.append(Fact(label="Counters", value=f"{window.evicted:,} entries were dropped by the server: rare statements may be missing"))
    if window.log_bytes:
        gaps = "; ".join(window.log_gaps)
        facts.append(Fact(label="Log", value=f"{size(window.log_bytes)}, {window.log_lines:,} lines" + (f"; {gaps}" if gaps else "")))
    if window.own_share is not None:
        facts.append(Fact(label="Our own cost", value=f"{share(window.own_share)} of the server's execution time in the window"))
    return facts


def _short(text: str, characters: int = TEXT_CHARACTERS) -> str:
    line = " ".join(text.split())
    return line if len(line) <= characters else f"{line[: characters - 1]}…"
