"""A worker killed while advice is tried: nothing of its attempt stays on the server, and the next attempt goes on with what is left."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from activities.postgres_trying import PostgresTrying
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.query_advice import AdviceOnTrial, AdviceToTry, IndexCandidate, RewriteCandidate, TriedAdvice
from perfwright.models.statement import Statement
from tests import preloaded
from tests.activities.explain_runs import BULKY, PREFIX, SLOW, Examined, make_shop, sampled, statement
from tests.postgres import PostgresServer, needs_hypopg, postgres  # noqa: F401

COUNTED = "SELECT c.id, (SELECT count(*) FROM orders o WHERE o.customer_id = c.id) AS n FROM customers c WHERE c.id < $1"
JOINED = "SELECT c.id, count(o.id) AS n FROM customers c LEFT JOIN orders o ON o.customer_id = c.id WHERE c.id < $1 GROUP BY c.id"
BY_CUSTOMER = "SELECT * FROM orders WHERE customer_id = $1"
QUICK = statement(COUNTED, "reads only", sampled(COUNTED, "100"))
INDEXED = statement(BY_CUSTOMER, "reads only", sampled(BY_CUSTOMER, "3"))
ENDS_WHEN_EMPTY = statement(f"{BULKY} WHERE a.id > 0", "reads only", f"{BULKY} WHERE a.id > 0")
ENDLESS = statement(SLOW, "reads only", SLOW)


@pytest.fixture
async def shop(postgres: PostgresServer, tmp_path: Path) -> Examined:  # noqa: F811
    shop = Examined(postgres, await make_shop(postgres), tmp_path)
    async with shop.session() as session:
        await needs_hypopg(session)
        await session.execute("CREATE EXTENSION hypopg")
    shop.extensions = {"hypopg": "1.3.1"}
    return shop


def _rewrite(one: Statement, rewritten: str) -> RewriteCandidate:
    return RewriteCandidate(
        fingerprint=one.fingerprint, title="another way", original=one.samples[0].text, rewritten=rewritten, sample=one.samples[0]
    )


async def _request(shop: Examined, *rewrites: RewriteCandidate) -> AdviceOnTrial:
    index = IndexCandidate(
        ddl="CREATE INDEX ON orders (customer_id)",
        table="orders",
        columns=("customer_id",),
        fingerprint=INDEXED.fingerprint,
        hit_rule="R01",
    )
    advice = await shop.store.put("advice.json.gz", encode(AdviceToTry(indexes=(index,), rewrites=rewrites)), MEDIA_TYPE)
    return AdviceOnTrial(
        target=shop.target("analyze", "ddl"),
        database=await shop.facts(),
        table=await shop.table([QUICK, INDEXED, ENDS_WHEN_EMPTY, ENDLESS]),
        advice=advice,
        statement_timeout_s=60.0,
        lock_timeout_s=0.2,
        cost_ceiling=1e15,
        artifact_prefix=PREFIX,
    )


async def _start_and_kill(shop: Examined, request: AdviceOnTrial, word: str) -> None:
    file = shop.folder / "request.json"
    file.write_text(request.model_dump_json())
    words = ["try_advice", str(shop.folder), str(file)]
    with preloaded.killed("tests.activities.step_worker", words, os.environ | shop.environ):
        await _executing(shop, word)


async def _executing(shop: Examined, word: str) -> None:
    looked_for = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND application_name = 'perfwright' AND query LIKE $1"
    async with asyncio.timeout(60), shop.session() as session:
        while not await session.fetchval(looked_for, f"%{word}%"):
            await asyncio.sleep(0.02)


async def _tried(shop: Examined, request: AdviceOnTrial) -> TriedAdvice:
    done = await shop.environment.run(PostgresTrying(shop.store, shop.environ, shop.state).try_advice, request)
    return decode(TriedAdvice, await shop.store.get(done.tried))


async def test_the_next_attempt_goes_on(shop: Examined) -> None:
    """After kill -9 no session, transaction or hypothetical index of ours is left; what was tried is not tried again, what was not is."""
    request = await _request(shop, _rewrite(QUICK, JOINED), _rewrite(ENDS_WHEN_EMPTY, f"{BULKY} WHERE a.id > 0 AND true"))
    async with shop.bulk() as empty:
        await _start_and_kill(shop, request, "bulk c")
        await shop.gone(within_s=20)  # long before its statement_timeout
        await empty()
    assert await shop.value("SELECT count(*) FROM hypopg()") == 0
    assert await shop.value("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'") == 0
    [file] = shop.state.rglob("tried.jsonl")
    before = [json.loads(line) for line in file.read_text().splitlines()]
    assert [one["job"] for one in before] == ["index 0", "rewrite 0"]
    with file.open("a") as opened:
        opened.write('{"job": "rewrite 1", "verd')  # what a kill in the middle of a write leaves
    tried = await _tried(shop, request)
    assert tried.what_ifs[0].model_dump(mode="json") == before[0]["what_if"] and tried.what_ifs[0].used
    faster, other = tried.rewrites
    assert faster.outcome == "faster" and faster.ratio == before[1]["verdict"]["ratio"]
    assert other.outcome in ("not faster", "faster") and other.pairs
    assert not list(shop.state.rglob("tried.jsonl"))  # only the result stays
    again = await _tried(shop, request)
    assert again == tried


async def test_what_kills_its_worker_is_given_up(shop: Examined) -> None:
    """Twice in flight when the worker was killed, a rewrite is not tried a third time; the rest is."""
    request = await _request(shop, _rewrite(ENDLESS, f"{SLOW} AND true"), _rewrite(QUICK, JOINED))
    for _ in range(2):
        await _start_and_kill(shop, request, "orders c")
        await shop.gone(within_s=20)
    given_up, faster = (await _tried(shop, request)).rewrites
    assert (given_up.outcome, given_up.reason) == ("not tried", "its worker was killed again and again meanwhile: not tried any more")
    assert faster.outcome == "faster"
