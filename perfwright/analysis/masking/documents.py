"""What steps hand on without its values: counters, logs, catalogs and plans. Values that plans need stay on the host they were seen on."""

from collections.abc import Iterable, Iterator

from perfwright.analysis.masking.plans import masked_expression, masked_plan
from perfwright.analysis.masking.statement_texts import dialect_of, shown_statement
from perfwright.models.database import Catalog, DatabaseSystem, IndexFacts, TableFacts
from perfwright.models.query_steps import StatementPlans, TakenPlan
from perfwright.models.statement import LogDigest, LoggedStatement, ObservedWindow, StatementSample


def masked_window(window: ObservedWindow, system: DatabaseSystem) -> ObservedWindow:
    """Servers leave values in the texts of utility statements, and of statements whose entry was dropped while they ran."""
    statements = tuple(one.model_copy(update={"text": shown_statement(one.text, system)}) for one in window.statements)
    return window.model_copy(update={"statements": statements})


def masked_sample(sample: StatementSample, system: DatabaseSystem) -> StatementSample:
    return sample.model_copy(update={"text": shown_statement(sample.text, system), "parameters": ()})


def masked_digest(digest: LogDigest, system: DatabaseSystem, kept_in: str) -> tuple[LogDigest, tuple[StatementSample, ...]]:
    """The digest without values, and its samples with them, by the names that the digest has for them."""
    kept: list[StatementSample] = []
    statements = tuple(_logged(one, system, kept_in, kept) for one in digest.statements)
    return digest.model_copy(update={"statements": statements}), tuple(kept)


def masked_catalog(catalog: Catalog, system: DatabaseSystem) -> Catalog:
    """Predicates and expressions of indexes, and definitions of views, as plans have their conditions: comparable with those."""
    views = {name: masked_expression(text, dialect_of(system)) for name, text in catalog.views.items()}
    return catalog.model_copy(update={"views": views, "tables": tuple(_table(one) for one in catalog.tables)})


def masked_plans(plans: StatementPlans, system: DatabaseSystem) -> StatementPlans:
    """Of one statement."""
    return plans.model_copy(update={"plans": tuple(_taken(one, system) for one in plans.plans)})


def _taken(taken: TakenPlan, system: DatabaseSystem) -> TakenPlan:
    sample = masked_sample(taken.sample, system) if taken.sample else None
    return taken.model_copy(update={"sample": sample, "plan": masked_plan(taken.plan, dialect_of(system))})


def _logged(logged: LoggedStatement, system: DatabaseSystem, kept_in: str, kept: list[StatementSample]) -> LoggedStatement:
    samples = []
    for sample in logged.samples:
        named = sample.model_copy(update={"kept_as": f"{kept_in}:{len(kept)}"})
        kept.append(named)
        samples.append(masked_sample(named, system))
    plans = tuple(masked_plan(one, dialect_of(system)) for one in logged.plans)
    return logged.model_copy(update={"text": shown_statement(logged.text, system), "samples": tuple(samples), "plans": plans})


def _table(table: TableFacts) -> TableFacts:
    statistics = tuple(masked_expression(one, "postgresql") for one in table.extended_statistics)
    return table.model_copy(update={"indexes": tuple(_index(one) for one in table.indexes), "extended_statistics": statistics})


def _index(index: IndexFacts) -> IndexFacts:
    texts = {"definition": masked_expression(index.definition, "postgresql"), "predicate": masked_expression(index.predicate, "postgresql")}
    return index.model_copy(update=texts | {"keys": tuple(masked_expression(one, "postgresql") for one in index.keys)})


def given_samples(texts: Iterable[str], kept_in: str) -> Iterator[StatementSample]:
    """Statements of a file, each with the name it is kept by."""
    for number, text in enumerate(texts):
        yield StatementSample(text=text, source="given", kept_as=f"{kept_in}:{number}")
