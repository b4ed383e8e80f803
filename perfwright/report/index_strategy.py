"""What IndexStrategyOptimization adds to the report: what was changed, what it brought, what writers pay, what else there is."""

from collections.abc import Sequence

from perfwright.models.index_strategy import (
    ExistingIndexes,
    IndexStrategy,
    IndexStrategyDetails,
    IndexUse,
    QueryEffect,
    SearchFacts,
    TriedIndex,
    WriteEffect,
)
from perfwright.models.report import Column, Fact, Figure, ReportExtras, TableFigure
from perfwright.report.unverified_indexes import unverified_facts, unverified_figures, unverified_warnings
from perfwright.report.words import seconds, share, size


def report_extras(details: IndexStrategyDetails) -> ReportExtras:
    """Figures in the order a reader asks for them: what was done, to which queries it helps, what writers pay, what else there is."""
    figures: list[Figure] = []
    strategy = details.strategy
    if details.unverified:
        figures += unverified_figures(details.unverified)
    if details.tried:
        figures.append(_tried(details.tried))
    if strategy and strategy.effects:
        figures.append(_effects(strategy.effects))
    if strategy and strategy.writes:
        figures.append(_writes(strategy.writes))
    if details.use:
        figures.append(_use(details.use))
    if details.existing and details.existing.noted:
        figures.append(_existing(details.existing))
    if strategy and strategy.measured_dropped:
        figures.append(_let_go(strategy.measured_dropped))
    warnings = (*details.warnings, *(strategy.warnings if strategy else ()), *unverified_warnings(details.unverified))
    return ReportExtras(figures=tuple(figures), facts=tuple(_facts(details)), warnings=warnings)


def _tried(tried: Sequence[TriedIndex]) -> TableFigure:
    return TableFigure(
        title="Changes of indexes",
        caption="Each was carried out, measured on a clone with the index hidden and shown in turns, and then kept or undone.",
        columns=(
            Column(title="Change"),
            Column(title="End"),
            Column(title="Time of its queries", numeric=True),
            Column(title="Size", numeric=True),
            Column(title="Gain per MB", numeric=True),
            Column(title="Reason"),
            Column(title="Undo"),
        ),
        rows=tuple(
            (
                one.proposal.ddl,
                one.end,
                f"{one.ratio:.3f}x" if one.ratio is not None else "",
                size(one.proposal.bytes),
                f"{one.gain_per_mb:.3g}" if one.gain_per_mb is not None else "",
                one.reason,
                one.proposal.undo,
            )
            for one in tried
        ),
    )


def _effects(effects: Sequence[QueryEffect]) -> TableFigure:
    return TableFigure(
        title="Queries whose plan changes",
        caption="With all new indexes over without any, in pairs on a fresh clone. Blocks are shared blocks, found in the cache and read.",
        columns=(
            Column(title="Query"),
            Column(title="Time, of what it was", numeric=True),
            Column(title="Pairs", numeric=True),
            Column(title="Blocks before", numeric=True),
            Column(title="after", numeric=True),
        ),
        rows=tuple(
            (
                f"{one.text} [{one.fingerprint}]",
                f"{one.ratio:.3f}x" + (f" ({one.interval.low:.3f} to {one.interval.high:.3f})" if one.interval else ""),
                str(one.pairs),
                f"{one.blocks_before:,}",
                f"{one.blocks_after:,}",
            )
            for one in effects
        ),
    )


def _writes(writes: Sequence[WriteEffect]) -> TableFigure:
    return TableFigure(
        title="What writers pay",
        caption="WAL of one execution, rolled back; the same in every run. HOT: updated rows that no index had to be told of.",
        columns=(
            Column(title="Write"),
            Column(title="Calls", numeric=True),
            Column(title="WAL before", numeric=True),
            Column(title="after", numeric=True),
            Column(title="HOT before", numeric=True),
            Column(title="after", numeric=True),
            Column(title="Not measured because"),
        ),
        rows=tuple(
            (
                f"{one.text} [{one.fingerprint}]",
                f"{one.weight:,.0f}",
                *(
                    ("", "", "", "")
                    if one.note
                    else (f"{one.bytes_before:,}", f"{one.bytes_after:,}", _hot(one.hot_before, one), _hot(one.hot_after, one))
                ),
                one.note,
            )
            for one in writes
        ),
    )


def _hot(count: int, one: WriteEffect) -> str:
    return f"{count} of {one.updated_rows}" if one.updated_rows else ""


def _use(use: Sequence[IndexUse]) -> TableFigure:
    return TableFigure(
        title="Use of kept indexes",
        caption="Scans on the target while they were watched.",
        columns=(Column(title="Index"), Column(title="Scans", numeric=True), Column(title="Watched", numeric=True), Column(title="Note")),
        rows=tuple((one.name, f"{one.scans:,}", seconds(one.watched_s), one.note) for one in use),
    )


def _existing(existing: ExistingIndexes) -> TableFigure:
    return TableFigure(
        title="Existing indexes that could go, or need care",
        caption="Told only where it is sure: operator classes, collations, predicates, uniqueness and constraints are compared.",
        columns=(
            Column(title="Index"),
            Column(title="What"),
            Column(title="Size", numeric=True),
            Column(title="Why"),
            Column(title="Definition"),
        ),
        rows=tuple((one.name, one.kind, size(one.bytes), one.reason, one.definition) for one in existing.noted),
    )


def _let_go(dropped: Sequence[str]) -> TableFigure:
    return TableFigure(
        title="Chosen by the search, and let go when verified",
        columns=(Column(title="Index"), Column(title="Why")),
        rows=tuple((title, why) for title, _, why in (one.rpartition(": ") for one in dropped)),
    )


def _facts(details: IndexStrategyDetails) -> list[Fact]:
    facts = []
    if details.search:
        facts += _search(details.search)
    if details.unverified:
        facts += unverified_facts(details.unverified)
    if details.strategy:
        facts += _verified(details.strategy)
    if details.existing:
        facts.append(Fact(label="Existing indexes", value=f"{details.existing.indexes:,} of {size(details.existing.bytes)} together"))
        if details.existing.not_judged:
            facts.append(Fact(label="Unused indexes", value=f"not judged: {details.existing.not_judged}"))
        if young := details.existing.of_unknown_age:
            told = f"too young, or of unknown age: {len(young)} that nobody scanned ({', '.join(young[:20])})"
            facts.append(Fact(label="Unused indexes", value=told))
        if keys := details.existing.foreign_keys_without_index:
            facts.append(Fact(label="Foreign keys without an index", value=", ".join(keys[:20])))
    facts += [Fact(label="Not seen", value=missing.sentence.removesuffix(".")) for missing in details.not_seen]
    return facts


def _search(search: SearchFacts) -> list[Fact]:
    ended = "finished" if search.finished else "ended by its time"
    facts = [
        Fact(
            label="Search",
            value=f"{search.candidates:,} candidates, {search.plans_asked:,} plans asked about ({search.method})"
            f" in {seconds(search.search_s)}",
        ),
        Fact(
            label="Measuring",
            value=f"{search.built} indexes built on a clone ({search.clone}), {search.plans_timed} plans timed in"
            f" {seconds(search.measuring_s)}, {ended}",
        ),
    ]
    facts += [Fact(label="Not looked at", value=reason) for reason in search.not_looked_at]
    return facts


def _verified(strategy: IndexStrategy) -> list[Fact]:
    growth = "no writes were seen" if strategy.write_growth_source == "no writes" else f"{share(strategy.write_growth)} more WAL"
    return [
        Fact(
            label="Verified",
            value=f"{strategy.queries} queries, {strategy.geomean_gain:.2f} times faster (geometric mean by weight),"
            f" {size(strategy.bytes)} of new indexes; {growth} ({strategy.write_growth_source}), in {seconds(strategy.seconds)}",
        )
    ]
