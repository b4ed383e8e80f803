"""What may be done with a statement, by what it does and where."""

import itertools

import pytest

from perfwright.analysis.explaining.permission import permission
from perfwright.models.statement import Safety, Statement
from perfwright.models.target import Target

SAFETIES: tuple[Safety, ...] = ("reads only", "locks", "writes", "volatile", "never")


def statement(safety: Safety, **more: object) -> Statement:
    return Statement.model_validate({"fingerprint": "0" * 16, "text": "SELECT 1", "kind": "select", "safety": safety} | more)


def target(environment: str = "lab", *allow: str, inline: bool = False) -> Target:
    return Target.model_validate({"name": "shop-db", "kind": "postgresql", "environment": environment, "allow": allow, "inline": inline})


def test_who_may_execute_what() -> None:
    """Everything is planned; executed is only what the table in the module says, and nothing that is volatile or never to be executed."""
    executed = set()
    for safety, environment, allow, inline, standby in itertools.product(
        SAFETIES, ("lab", "staging", "production", "inline"), ((), ("analyze",), ("ddl",)), (False, True), (False, True)
    ):
        if inline != (environment == "inline") or (inline and allow):
            continue
        found = permission(statement(safety), target(environment, *allow, inline=inline), standby=standby, analyze=True)
        assert found.allowed != "nothing"
        assert bool(found.reason) == (found.allowed != "execute")
        assert found.writes == (found.allowed == "execute" and safety in ("locks", "writes"))
        if found.allowed == "execute":
            executed.add((safety, environment, allow, standby))
    assert executed == {
        *(
            ("reads only", environment, ("analyze",), standby)
            for environment in ("lab", "staging", "production")
            for standby in (False, True)
        ),
        *(("reads only", "inline", (), standby) for standby in (False, True)),
        *((safety, environment, ("analyze",), False) for safety in ("locks", "writes") for environment in ("lab", "staging")),
    }


@pytest.mark.parametrize("safety", SAFETIES)
def test_nothing_is_executed_that_nobody_asked_for(safety: Safety) -> None:
    """With `analyze` off all is planned only, whatever the target allows."""
    found = permission(statement(safety), target("lab", "analyze"), standby=False, analyze=False)
    assert (found.allowed, found.writes, found.reason) == ("plan", False, "planned only, as asked for")


@pytest.mark.parametrize(
    "more, reason",
    [
        ({"text": "<insufficient privilege>"}, "its text is hidden from our role: grant it pg_read_all_stats"),
        ({"not_explainable": "cut by the server"}, "cut by the server"),
        ({"text": "  "}, "its text is not known"),
        ({"kind": "utility"}, "the server has no plan for statements of this kind"),
        ({"kind": "utility", "safety_reason": "VACUUM: no query"}, "VACUUM: no query"),
    ],
)
def test_statements_without_a_plan(more: dict[str, str], reason: str) -> None:
    """What no plan can be asked of is left alone, with the reason."""
    found = permission(statement("never", **more), target("lab", "analyze"), standby=False, analyze=True)
    assert (found.allowed, found.reason) == ("nothing", reason)


def test_the_reason_of_safety_is_told() -> None:
    """Why a statement is not executed is told in the words of who judged it."""
    found = permission(
        statement("volatile", safety_reason="calls f, which is volatile"), target("lab", "analyze"), standby=False, analyze=True
    )
    assert found.reason == "never executed: calls f, which is volatile"
