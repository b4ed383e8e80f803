"""What the planner would do with an index that does not exist: HypoPG, one index at a time, forgotten again at once."""

from collections.abc import Sequence
from typing import Any

from activities.postgres_explain_session import PlanSession, Refused, ServerLost
from activities.slice_recorder import carried_out
from perfwright.analysis.explaining.plan_answers import Plan, index_names, total_cost
from perfwright.analysis.explaining.samples import Call, calls_of, median_index
from perfwright.analysis.explaining.sql_texts import UnsendableText, placeholders_in, quoted_identifier, sendable
from perfwright.analysis.explaining.what_if import EXTENSION, relations_of
from perfwright.analysis.statements.parsing import Unreadable
from perfwright.models.query_advice import IndexCandidate
from perfwright.models.query_performance import WhatIf
from perfwright.models.statement import Statement


class HypotheticalIndexes:
    """On one direct session: they live in it, and a pooler would leave them to somebody else."""

    def __init__(self, session: PlanSession, schema: str) -> None:
        self._session, self._schema = session, quoted_identifier(schema)

    @classmethod
    async def find(cls, session: PlanSession) -> "HypotheticalIndexes":
        """Raises Refused where the extension is not there (any more)."""
        async with session.transaction():
            found = await session.fetch(
                "SELECT n.nspname::text FROM pg_catalog.pg_extension e"
                " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace WHERE e.extname = $1",
                EXTENSION,
            )
        if not found:
            raise Refused(f"{EXTENSION} is not installed in this database")
        return cls(session, found[0][0])

    async def what_if(self, candidate: IndexCandidate, statement: Statement) -> WhatIf:
        """The statement's plan without and with the index. Raises Refused with the reason where that cannot be told, ServerLost."""
        call, generic = self._call(statement)
        await self.refuse_views(call.text)
        call, before = await self._session.plan(call, generic=generic)
        try:
            name, size = await self._create(candidate.ddl)
            after: Plan = await self._session.explain(call, generic=generic)
        finally:
            await carried_out(self.forget())
        return WhatIf(
            fingerprint=candidate.fingerprint,
            ddl=candidate.ddl,
            cost_before=total_cost(before),
            cost_after=total_cost(after),
            used=name in index_names(after),
            bytes=size,
            note="generic plan: the values are not known" if generic else "",
        )

    async def forget(self) -> None:
        """Forget all hypothetical indexes of the session; with a connection that cannot do it they end too."""
        try:
            async with self._session.transaction():
                await self._session.fetch(f"SELECT {self._schema}.hypopg_reset()")
        except (Refused, ServerLost):
            self._session.drop()

    async def create(self, ddls: Sequence[str]) -> list[Any]:
        """Make many at once within the open transaction: oid and name of each, in order. Raises Refused, ServerLost."""
        made = "SELECT made.indexrelid, made.indexname FROM unnest($1::text[]) WITH ORDINALITY AS d (ddl, place)"
        made += f", LATERAL {self._schema}.hypopg_create_index(d.ddl) AS made ORDER BY d.place"
        return await self._session.fetch(made, [sendable(ddl) for ddl in ddls])

    async def drop(self, oids: Sequence[int]) -> None:
        """Forget these within the open transaction. Raises Refused, ServerLost."""
        await self._session.fetch(f"SELECT {self._schema}.hypopg_drop_index(o) FROM unnest($1::oid[]) AS o", list(oids))  # noqa: S608  # quoted

    async def _create(self, ddl: str) -> tuple[str, int]:
        """Name and size in bytes."""
        try:
            async with self._session.transaction():
                [made] = await self._session.fetch(
                    f"SELECT indexrelid, indexname FROM {self._schema}.hypopg_create_index($1)",  # noqa: S608  # quoted
                    sendable(ddl),
                )
                [size] = await self._session.fetch(f"SELECT {self._schema}.hypopg_relation_size($1)", made[0])
        except (Refused, ValueError) as refused:
            raise Refused(f"{EXTENSION} does not take it: {refused}") from None
        return str(made[1]), int(size[0])

    def _call(self, statement: Statement) -> tuple[Call, bool]:
        calls = calls_of(statement, standard_strings=self._session.standard_strings)
        if calls:
            return calls[median_index(len(calls))], False
        return Call(statement.text), placeholders_in(statement.text) > 0

    async def refuse_views(self, text: str) -> None:
        try:
            names = [".".join(quoted_identifier(part) for part in relation if part) for relation in relations_of(text)]
        except (Unreadable, UnsendableText) as unreadable:
            raise Refused(f"its text cannot be read: {unreadable}") from None
        async with self._session.transaction():
            views = await self._session.fetch(
                "SELECT c.relname::text FROM pg_catalog.unnest($1::text[]) AS named (name)"
                " JOIN pg_catalog.pg_class c ON c.oid = pg_catalog.to_regclass(named.name) WHERE c.relkind = 'v'",
                names,
            )
        if views:
            raise Refused(f"it reads the view {views[0][0]}: hypothetical indexes and views have ended servers")
