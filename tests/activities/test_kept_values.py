"""Values stay on the host that saw them; elsewhere, or later, statements are planned without them."""

from pathlib import Path

import pytest

from activities.kept_values import KeptValues
from perfwright.analysis.masking.documents import masked_sample
from perfwright.models.statement import StatementSample
from tests.activities.explain_runs import Examined, shared_shop, statement
from tests.postgres import PostgresServer, postgres  # noqa: F401

TEXT = "SELECT count(*) FROM orders WHERE status = 'open'"
SHAPE = "SELECT count(*) FROM orders WHERE status = $1"
REAL = StatementSample(text=TEXT, source="log", kept_as="a/run/1/log:0")


def test_they_come_back_on_this_host_only(tmp_path: Path) -> None:
    """By the name that a sample has; only their owner may read them."""
    masked = masked_sample(REAL, "postgresql")
    assert (masked.text, masked.kept_as) == (SHAPE, REAL.kept_as)
    KeptValues(tmp_path).keep("a/run/1/log", [REAL])
    kept = KeptValues(tmp_path)
    assert kept.sample(masked) == REAL
    assert (tmp_path / "values").stat().st_mode & 0o777 == 0o700
    assert KeptValues(tmp_path / "another host").sample(masked) is None


@pytest.mark.parametrize("name", ["", "..:0", "../../etc:0", "a/run/1/log:1", "a/run/1/log", ":"])
def test_no_other_name_finds_anything(tmp_path: Path, name: str) -> None:
    """A name from an artifact is no path."""
    kept = KeptValues(tmp_path)
    kept.keep("a/run/1/log", [REAL])
    sample = REAL.model_copy(update={"kept_as": name, "text": SHAPE})
    assert kept.sample(sample) == (sample if not name else None)


async def test_lost_values(postgres: PostgresServer, tmp_path: Path) -> None:  # noqa: F811
    """With them a statement is executed and its plan masked; without them it has a generic plan, and the run says why."""
    shop = Examined(postgres, await shared_shop(postgres), tmp_path)
    one = statement(SHAPE, "reads only", masked_sample(REAL, "postgresql"))
    result = await shop.explain(one, mask_literals=True)
    assert result.outcomes[0].mode == "generic plan"
    assert "the values of 1 statements are not kept on this host (any more): they were planned without them" in result.warnings
    KeptValues(shop.state).keep("a/run/1/log", [REAL])
    again = await shop.explain(one, mask_literals=True, artifact_prefix="another")
    assert again.outcomes[0].mode == "analyzed"
    [taken] = (await shop.plans(again)).statements[0].plans
    assert taken.sample is not None and taken.sample.text == SHAPE
    assert "open" not in str(taken.plan) and "(status = '?'::text)" in str(taken.plan)
