"""The index that a foreign key's own checks ask for."""

from perfwright.analysis.query_advice.existing_indexes import MIN_ROWS, Draft, NoDraft, covering
from perfwright.analysis.query_advice.plan_view import PlanView, Tables, rows_of
from perfwright.models.query_performance import PlanHit
from perfwright.models.statement import Statement


def foreign_key_draft(hit: PlanHit, plan: PlanView, tables: Tables, statement: Statement | None) -> list[Draft] | NoDraft:
    """The column that references: a DELETE or key change of the parent looks there for every row."""
    names = {trigger.constraint for trigger in plan.tree.triggers if trigger.constraint}
    hinted = tables.find(hit.relation, statement)
    for table in [hinted] if hinted and hit.columns else tables.catalog.tables:
        for key in table.foreign_keys:
            if hit.columns == key.columns if hit.columns else key.name in names:
                if rows_of(table) < MIN_ROWS:
                    return NoDraft(hit, "small table", f"{table.title} has fewer than {MIN_ROWS:,.0f} rows", table)
                draft = Draft(hit, table, key.columns)
                if covering(draft) is None:
                    return [draft]
                return NoDraft(hit, "index exists", "the referencing columns have an index", table)
    return NoDraft(hit, "no column", "it is no foreign key's trigger, or the catalog does not have the key", hinted)
