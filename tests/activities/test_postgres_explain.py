"""Plans from real servers: what is executed and what only planned, with which values, and that nothing is left behind."""

import random
from pathlib import Path
from typing import Any

import pytest

from activities import postgres_explain_progress, postgres_explain_session
from activities.postgres_connection import connected
from activities.postgres_explain_session import PlanSession, Timeouts
from perfwright.analysis.explaining.plan_answers import execution_ms, has_placeholder
from perfwright.analysis.explaining.samples import Call
from perfwright.analysis.explaining.sql_texts import Execution, quoted_literal
from perfwright.models.statement import Safety, StatementSample
from tests.activities.explain_runs import Examined, sampled, shared_shop, statement
from tests.postgres import USER, PostgresServer, postgres  # noqa: F401
from tests.postgres18 import postgres18  # noqa: F401

BY_CUSTOMER = "SELECT * FROM orders WHERE customer_id = $1"
WRITES = [
    ("INSERT INTO audit (said) VALUES ($1)", "INSERT INTO audit (said) VALUES ('x')"),
    ("UPDATE orders SET note = $1 WHERE id = $2", sampled("UPDATE orders SET note = $1 WHERE id = $2", "x", "3")),
    ("DELETE FROM orders WHERE id < $1", "DELETE FROM orders WHERE id < 100"),
    (
        "WITH gone AS (DELETE FROM orders WHERE id < $1 RETURNING *) SELECT count(*) FROM gone",
        "WITH gone AS (DELETE FROM orders WHERE id < 100 RETURNING *) SELECT count(*) FROM gone",
    ),
]
FOR_UPDATE = ("SELECT * FROM orders WHERE id = $1 FOR UPDATE", "SELECT * FROM orders WHERE id = 3 FOR UPDATE")


@pytest.fixture(params=["postgres", "postgres18"])
def server(request: pytest.FixtureRequest) -> PostgresServer:
    found: PostgresServer = request.getfixturevalue(request.param)
    return found


@pytest.fixture
async def shop(server: PostgresServer, tmp_path: Path) -> Examined:
    return Examined(server, await shared_shop(server), tmp_path)


async def test_a_select_is_executed_and_its_plan_kept(shop: Examined) -> None:
    """A statement that only reads has an executed plan with node times and buffers, and a time taken without timing its nodes."""
    one = statement("SELECT count(*) FROM orders WHERE status = $1", "reads only", "SELECT count(*) FROM orders WHERE status = 'open'")
    result = await shop.explain(one)
    [outcome] = result.outcomes
    assert (outcome.mode, outcome.reason, outcome.plans) == ("analyzed", "", 1)
    plans = await shop.plans(result)
    [taken] = plans.statements[0].plans
    root: Any = taken.plan["Plan"]
    assert root["Actual Rows"] == 1 and root["Actual Total Time"] > 0 and root["Shared Hit Blocks"] > 0
    assert taken.execution_ms == outcome.execution_ms != execution_ms(taken.plan)
    assert ("Serialization" in taken.plan) == (plans.database.version_number >= 170000)
    assert result.warnings == (f'explained as role {USER} with search_path "$user", public',)
    assert shop.beats[0] | {"elapsed_s": 0.0} == {"statement": 1, "of": 1, "doing": "", "elapsed_s": 0.0}
    assert await shop.ours() == 0


async def test_outcomes_come_in_the_order_asked_for_and_none_is_lost(shop: Examined) -> None:
    """Whatever the server says to a statement, it has its outcome with a plain reason, and the next ones go on."""
    statements = [
        statement("SELECT count(*) FROM orders"),
        statement("SELECT * FROM not_there"),
        statement("SELECT nothing_such FROM orders"),
        statement("SELECT no_function(id) FROM orders"),
        statement("SELECT FROM WHERE", not_explainable=""),
        statement("SELECT * FROM orders WHERE note = 'cut o"),
        statement("SELECT id FROM orders WHERE status = $1 AND", "never"),
        statement("<insufficient privilege>", "never"),
        statement("VACUUM orders", "never", safety_reason="VACUUM: cannot be undone or is no query"),
        statement("SELECT 1; SELECT 2", "never", safety_reason="2 statements in one text"),
        statement("SELECT id / $1 FROM orders", "reads only", "SELECT id / 0 FROM orders"),
        statement("SELECT count(*) FROM customers"),
    ]
    result = await shop.explain(*statements)
    assert [one.fingerprint for one in result.outcomes] == [one.fingerprint for one in statements]
    told = [f"{one.mode}: {one.reason}" for one in result.outcomes]
    path = '(search_path "$user", public)'
    division = "planned: planned only, executing it failed: a value does not fit its type or operation (22012)"
    assert told == [
        "analyzed: ",
        f'not explained: missing relation: relation "not_there" does not exist {path}',
        'not explained: missing column: column "nothing_such" does not exist',
        f"not explained: missing function or operator: function no_function(integer) does not exist {path}",
        "not explained: syntax error at character 13",
        "not explained: its text is cut: the server keeps track_activity_query_size bytes of it",
        "not explained: its text is cut: the server keeps track_activity_query_size bytes of it",
        "not explained: its text is hidden from our role: grant it pg_read_all_stats",
        "not explained: VACUUM: cannot be undone or is no query",
        "not explained: syntax error",
        division,
        "analyzed: ",
    ]
    plans = await shop.plans(result)
    assert [one.outcome for one in plans.statements] == list(result.outcomes)


@pytest.mark.parametrize("text, sample", WRITES)
async def test_writes_are_rolled_back(shop: Examined, text: str, sample: str | StatementSample) -> None:
    """Where writes may be executed, the plan shows them happen and the tables are as they were."""
    before = await shop.value("SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o")
    result = await shop.explain(statement(text, "writes", sample))
    [taken] = (await shop.plans(result)).statements[0].plans
    assert taken.mode == "analyzed" and execution_ms(taken.plan) is not None
    assert result.outcomes[0].reason == "executed once and rolled back; its time includes the timing of single nodes"
    assert await shop.value("SELECT md5(string_agg(o::text, ',' ORDER BY id)) FROM orders o") == before
    assert await shop.value("SELECT count(*) FROM audit") == 0


@pytest.mark.parametrize(
    "allow, environment, inline, safety, mode",
    [
        ((), "lab", False, "reads only", "planned"),
        (("analyze",), "production", False, "reads only", "analyzed"),
        (("analyze",), "production", False, "locks", "planned"),
        (("analyze",), "production", False, "writes", "planned"),
        ((), "production", False, "reads only", "planned"),
        ((), "inline", True, "reads only", "analyzed"),
        ((), "inline", True, "writes", "planned"),
        (("analyze",), "lab", False, "locks", "analyzed"),
        (("analyze",), "lab", False, "volatile", "planned"),
        (("analyze",), "lab", False, "never", "planned"),
    ],
)
async def test_only_what_the_target_allows_is_executed(
    shop: Examined, allow: tuple[str, ...], environment: str, inline: bool, safety: Safety, mode: str
) -> None:
    """What is not allowed is planned, and its plan shows that it was not executed."""
    text, sample = FOR_UPDATE if safety == "locks" else WRITES[0] if safety == "writes" else (BY_CUSTOMER, BY_CUSTOMER.replace("$1", "3"))
    target = shop.target(*allow, environment=environment, inline=inline)
    result = await shop.explain(statement(text, safety, sample), target=target)
    [outcome] = result.outcomes
    [taken] = (await shop.plans(result)).statements[0].plans
    assert outcome.mode == taken.mode == mode
    assert (execution_ms(taken.plan) is not None) == (mode == "analyzed")
    assert bool(outcome.reason) == (mode != "analyzed" or safety == "locks")


async def test_functions_with_side_effects_are_never_called(shop: Examined) -> None:
    """Planning calls no function that may write; one that hides it behind IMMUTABLE is refused by the server."""
    called = statement("SELECT noisy(id) FROM orders WHERE noisy($1) > $2", "volatile", "SELECT noisy(id) FROM orders WHERE noisy(1) > 0")
    lies = statement("SELECT id FROM orders WHERE id = lying($1)", "reads only", "SELECT id FROM orders WHERE id = lying(4)")
    result = await shop.explain(called, lies)
    assert [one.mode for one in result.outcomes] == ["planned", "generic plan"]
    assert "the server does not support it" in result.outcomes[1].reason
    assert await shop.value("SELECT count(*) FROM audit") == 0
    assert await shop.value("SELECT is_called FROM tickets") is False


async def test_a_sample_of_another_shape_is_not_executed(shop: Examined) -> None:
    """What is known of a statement's safety holds for its shape: a text that is another statement is only planned."""
    one = statement(BY_CUSTOMER, "reads only", "SELECT noisy(id) FROM orders WHERE customer_id = 3")
    outcome = await shop.outcome(one)
    assert (outcome.mode, outcome.reason[:30]) == ("planned", "planned only: the sampled text")
    assert await shop.value("SELECT count(*) FROM audit") == 0


@pytest.mark.parametrize("tail", ["; DROP TABLE customers", ";DELETE FROM orders;", "); DROP TABLE customers --"])
async def test_a_second_statement_in_the_text_is_refused_by_the_server(shop: Examined, tail: str) -> None:
    """Even a text that was taken for a single harmless statement cannot bring another along."""
    for sample in (f"SELECT count(*) FROM orders{tail}", sampled(f"SELECT count(*) FROM orders WHERE id > $1{tail}", "1")):
        one = statement("SELECT count(*) FROM orders", "reads only", sample)
        outcome = await shop.outcome(one)
        assert outcome.mode == "planned" and outcome.reason.startswith("not planned with sampled values: syntax error")
    assert await shop.value("SELECT count(*) FROM customers") == 500
    assert await shop.value("SELECT count(*) FROM orders") == 5000


async def test_hostile_values_stay_values(shop: Examined) -> None:
    """A value reaches the server as it is, whatever quotes and backslashes it has and whichever way the server reads them."""
    chance = random.Random(4)
    made = ["".join(chance.choice("'\"\\$;-/*Enu0 {}%\n\t\u20ac\U0001f600") for _ in range(chance.randrange(12))) for _ in range(150)]
    values = ["'; DROP TABLE orders; --", "\\'; DROP TABLE orders; --", "E'\\x27'", "$1", "$$", "''", "\\", "\u2028", *made]
    async with shop.session() as session:
        for standard in ("on", "off"):
            await session.execute(f"SET standard_conforming_strings = {standard}; SET escape_string_warning = off")
            for value in values:
                assert await session.fetchval(f"SELECT {quoted_literal(value)}::text") == value
    text = "SELECT count(*) FROM orders WHERE note = $1 OR status = $2"
    for value in values[:8]:
        outcome = await shop.outcome(statement(text, "reads only", sampled(text, value, None)))
        assert (outcome.mode, outcome.reason) == ("analyzed", "")


async def test_parameters_are_cast_by_the_server(shop: Examined) -> None:
    """Values are passed as text and take the types that the statement gives them; the plan is for these values."""
    text = "SELECT * FROM orders WHERE customer_id = $1 AND total > $2 AND status = ANY ($3)"
    result = await shop.explain(statement(text, "reads only", sampled(text, "77", "3.5", '{open,"done"}')))
    [taken] = (await shop.plans(result)).statements[0].plans
    assert taken.mode == "analyzed" and not has_placeholder(taken.plan)
    assert taken.sample is not None and taken.sample.parameters == ("77", "3.5", '{open,"done"}')


async def test_values_that_differ_are_explained_one_by_one(shop: Examined) -> None:
    """Where durations or planned costs of samples differ four times all are explained, else the median alone; never more than asked for."""
    text = "SELECT count(*) FROM orders a JOIN orders b ON b.customer_id = a.customer_id WHERE a.id < $1"
    alike = statement(BY_CUSTOMER, "reads only", *(sampled(BY_CUSTOMER, str(n), ms=n) for n in (3, 4, 5)))
    slow = statement(BY_CUSTOMER, "reads only", *(sampled(BY_CUSTOMER, str(n), ms=n) for n in (3, 4, 12)))
    costly = statement(text, "reads only", *(sampled(text, n) for n in ("2", "3", "600")))
    for one, sets, values in (
        (alike, 3, ["4"]),
        (slow, 3, ["3", "4", "12"]),
        (slow, 2, ["4", "12"]),
        (slow, 1, ["4"]),
        (costly, 3, ["2", "3", "600"]),
    ):
        result = await shop.explain(one, parameter_sets=sets)
        taken = (await shop.plans(result)).statements[0].plans
        assert [plan.sample.parameters[0] for plan in taken if plan.sample] == values
        assert result.outcomes[0].plans == len(values)
        median = next(
            plan for plan in taken if plan.sample and plan.sample.parameters[0] in ("4", "3"[: len(values) == 3 and one is costly])
        )
        assert result.outcomes[0].execution_ms == median.execution_ms


async def test_text_without_values_gets_a_generic_plan(shop: Examined) -> None:
    """Known only as the server normalized it, a statement has a plan that shows its placeholders, and is not executed."""
    statements = [
        statement(BY_CUSTOMER),
        statement("SELECT * FROM orders ORDER BY id LIMIT $1"),
        statement("SELECT id FROM orders WHERE $1 < interval $2"),
        statement("INSERT INTO audit (said) VALUES ($1)", "writes"),
    ]
    result = await shop.explain(*statements)
    assert [one.mode for one in result.outcomes] == ["generic plan"] * 4
    assert "not executed" in result.outcomes[0].reason and "types were added" in result.outcomes[2].reason
    plans = [one.plans[0].plan for one in (await shop.plans(result)).statements]
    assert has_placeholder(plans[0]) and not any("Execution Time" in plan for plan in plans)
    assert await shop.value("SELECT count(*) FROM audit") == 0


async def test_values_that_do_not_fit_fall_back_to_a_generic_plan(shop: Examined) -> None:
    """A value of the wrong type costs the statement its execution, not its plan; the value is in no reason."""
    outcome = await shop.outcome(statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "my secret")))
    assert outcome.mode == "generic plan"
    assert outcome.reason.startswith("not planned with sampled values: a value does not fit its type or operation (22P02)")
    assert "secret" not in outcome.reason


async def test_costly_statements_wait_for_approval(shop: Examined) -> None:
    """Over the cost ceiling a statement is planned and listed with its cost; approved, it is executed."""
    one, cheap = statement("SELECT count(*) FROM orders a, customers b"), statement("SELECT count(*) FROM customers")
    result = await shop.explain(one, cheap, cost_ceiling=10_000)
    [costly] = result.costly
    assert (costly.fingerprint, costly.text) == (one.fingerprint, one.text) and costly.cost > 10_000
    assert [outcome.mode for outcome in result.outcomes] == ["planned", "analyzed"]
    assert "over the ceiling of 10,000" in result.outcomes[0].reason
    approved = await shop.explain(one, cheap, cost_ceiling=1_000, costly_approved=(one.fingerprint,), statement_timeout_s=60)
    assert approved.costly == () and approved.outcomes[0].mode == "analyzed"


async def test_planning_alone_is_enough_when_asked_for(shop: Examined) -> None:
    """Without `analyze` nothing is executed."""
    result = await shop.explain(statement("SELECT count(*) FROM orders"), statement(BY_CUSTOMER), analyze=False)
    assert [one.mode for one in result.outcomes] == ["planned", "generic plan"]


async def test_plans_that_are_too_large_are_told(shop: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan beyond the bound, or one for which the run has no room left, is dropped with the reason."""
    numbers = ",".join(map(str, range(900)))
    small, large = statement("SELECT 1"), statement(f"SELECT * FROM orders WHERE id IN ({numbers})")
    monkeypatch.setattr(postgres_explain_session, "PLAN_BYTES_AT_MOST", 3_000)
    result = await shop.explain(small, large)
    assert [one.mode for one in result.outcomes] == ["analyzed", "not explained"]
    assert "its plan has 0.0 MB" in result.outcomes[1].reason
    monkeypatch.setattr(postgres_explain_session, "PLAN_BYTES_AT_MOST", 2_000_000)
    monkeypatch.setattr(postgres_explain_progress, "PLAN_SET_BYTES_AT_MOST", 4_000)
    result = await shop.explain(small, large, lock_timeout_s=0.3)
    assert [one.mode for one in result.outcomes] == ["analyzed", "not explained"]
    assert "its plans are not kept" in result.outcomes[1].reason
    assert [len(one.plans) for one in (await shop.plans(result)).statements] == [1, 0]


async def test_large_runs_are_put_together_beside_the_worker(shop: Examined, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large tables and plan sets go through a process of their own and come out the same."""
    statements = [statement("SELECT count(*) FROM orders"), statement(BY_CUSTOMER)]
    inline = await shop.plans(await shop.explain(*statements, analyze=False))
    monkeypatch.setattr(postgres_explain_progress, "INLINE_TABLE_BYTES", 10)
    monkeypatch.setattr(postgres_explain_progress, "INLINE_PLAN_BYTES", 10)
    beside = await shop.plans(await shop.explain(*statements, analyze=False, lock_timeout_s=0.3))
    assert [one.outcome.mode for one in beside.statements] == [one.outcome.mode for one in inline.statements] == ["planned", "generic plan"]


async def test_an_answer_that_got_lost_is_given_again(shop: Examined) -> None:
    """The same request after its end is answered from what it ended with; only that is left on the host."""
    request = await shop.request([statement(*WRITES[0][:1], "writes", WRITES[0][1])])
    moved = await shop.value("SELECT last_value FROM audit_id_seq")
    first = await shop.run(request)
    shop.new_environment()
    assert await shop.run(request) == first
    assert await shop.value("SELECT last_value FROM audit_id_seq") <= moved + 1
    assert [file.name for file in shop.state.rglob("*") if file.is_file()] == ["result.jsonl"]


async def test_unknown_and_repeated_fingerprints(shop: Examined) -> None:
    """A fingerprint that is not in the table is listed; one that is asked for twice has one outcome."""
    one = statement("SELECT 1")
    request = await shop.request([one])
    result = await shop.run(request.model_copy(update={"fingerprints": (one.fingerprint, "0" * 16, one.fingerprint)}))
    assert [(outcome.mode, outcome.reason) for outcome in result.outcomes] == [
        ("analyzed", ""),
        ("not explained", "it is not among the statements that were seen"),
    ]


async def test_a_generic_plan_is_never_executed(shop: Examined) -> None:
    """Nothing in the code can ask for it."""
    async with connected(shop.target("analyze"), shop.environ) as connection:
        session = await PlanSession(connection, await shop.facts(), Timeouts(5, 1)).open()
        with pytest.raises(ValueError, match="never executed"):
            await session.explain(Call(BY_CUSTOMER), execution=Execution(), generic=True)
