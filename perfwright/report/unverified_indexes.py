"""What IndexStrategyOptimization adds to the report where nothing could be measured: candidates, and what the planner expects of them."""

from perfwright.models.report import Column, Fact, Figure, TableFigure
from perfwright.models.unverified_indexes import UnverifiedStrategy
from perfwright.report.words import seconds, share, size


def unverified_figures(strategy: UnverifiedStrategy) -> list[Figure]:
    """Candidates, the statements whose costs change, and what was chosen and is not listed."""
    figures: list[Figure] = []
    if strategy.indexes:
        figures.append(_candidates(strategy))
    if strategy.effects:
        figures.append(_effects(strategy))
    if strategy.not_listed:
        figures.append(
            TableFigure(
                title="Chosen by the search, and not listed",
                columns=(Column(title="Index"), Column(title="Why")),
                rows=tuple((title, why) for title, _, why in (one.rpartition(": ") for one in strategy.not_listed)),
            )
        )
    return figures


def unverified_facts(strategy: UnverifiedStrategy) -> list[Fact]:
    """How it came about, and what it was made of."""
    copied = strategy.statistics
    facts = [
        Fact(label="Nothing was measured", value=f"{strategy.why}. {strategy.way_out}".strip(". ")),
        Fact(
            label="Asked",
            value=f"{strategy.candidates:,} candidates, {strategy.plans_asked:,} plans asked about (hypothetical indexes on a clone of"
            f" statistics, PostgreSQL {copied.version}) in {seconds(strategy.seconds)}; {strategy.queries} queries, costs"
            f" {strategy.cost_gain:.2f} times lower (geometric mean by weight)",
        ),
        Fact(
            label="Copied",
            value=f"statistics of {copied.columns:,} columns, sizes of {copied.relations:,} tables and indexes, heights of"
            f" {copied.heights:,} B-trees, no row; in {seconds(copied.seconds)}",
        ),
    ]
    return facts + [Fact(label="Not looked at", value=reason) for reason in strategy.not_looked_at]


def unverified_warnings(strategy: UnverifiedStrategy | None) -> tuple[str, ...]:
    """In what the planner's view differs from that on the target."""
    return strategy.statistics.warnings if strategy else ()


def _candidates(strategy: UnverifiedStrategy) -> TableFigure:
    return TableFigure(
        title="Indexes that are worth verifying",
        caption="By the planner's costs alone: nothing was measured, and nothing is proposed. Sizes and WAL are estimates. Costs rank, time"
        " decides.",
        columns=(
            Column(title="Index"),
            Column(title="Statements that would read it", numeric=True),
            Column(title="Saves, if costs were times", numeric=True),
            Column(title="Size, estimated", numeric=True),
            Column(title="More WAL, estimated", numeric=True),
            Column(title="To try"),
        ),
        rows=tuple(
            (one.title, f"{one.queries:,}", share(one.saved_share), size(one.bytes), share(one.write_growth), one.ddl)
            for one in strategy.indexes
        ),
    )


def _effects(strategy: UnverifiedStrategy) -> TableFigure:
    return TableFigure(
        title="Statements whose cost changes, by the planner",
        caption="With all of these indexes over without any; the unit is a page read in sequence. None was executed.",
        columns=(
            Column(title="Statement"),
            Column(title="Cost before", numeric=True),
            Column(title="after", numeric=True),
            Column(title="Of what it was", numeric=True),
        ),
        rows=tuple(
            (f"{one.text} [{one.fingerprint}]", f"{one.cost_before:,.0f}", f"{one.cost_after:,.0f}", f"{one.ratio:.3f}x")
            for one in strategy.effects
        ),
    )
