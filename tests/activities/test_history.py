"""What the history store keeps and finds, on real SQLite files and a real PostgreSQL server."""

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.exceptions import ApplicationError

from activities.history import History
from perfwright.models.artifact import ArtifactRef
from perfwright.models.history import CATALOG, PreviousProfileQuery, RecordedProfile, RunEnd, RunQuery
from tests.activities.history_stores import PROCESS, a_record, a_start, history, url
from tests.drawn_profiles import use
from tests.postgres import postgres

__all__ = ["history", "postgres", "url"]


async def test_runs_are_numbered(history: History) -> None:
    """Runs are numbered from 1 for each process and target, and asking twice gives the same name."""
    first, second, other_target, other_process = a_start(), a_start(), a_start("till"), a_start(process="MemoryLeakHunt")
    assert [await history.number_run(run) for run in (first, second, other_target, other_process)] == [
        "shop#1",
        "shop#2",
        "till#1",
        "shop#1",
    ]
    assert await history.number_run(first) == "shop#1"


async def test_many_workers_number_at_once(history: History, url: str) -> None:
    """Numbers stay unique and without holes when workers ask for them at the same moment."""
    other = await History.open(url)
    try:
        names = await asyncio.gather(*(store.number_run(a_start()) for _ in range(15) for store in (history, other)))
    finally:
        await other.close()
    assert sorted(int(name.removeprefix("shop#")) for name in names) == list(range(1, 31))


async def test_a_run_is_recorded_once(history: History) -> None:
    """A record that is sent twice is one run with one set of profiles and decisions; a later record replaces it."""
    start = a_start()
    await history.number_run(start)
    assert [await history.record_run(a_record(start)) for _ in range(2)] == ["shop#1", "shop#1"]
    [run] = await history.list_runs(RunQuery(target="shop"))
    assert (run.name, run.verdict, run.closed_at, run.run_id) == ("shop#1", "passed", "2026-03-01T10:05:00+00:00", start.run_id)
    assert run.report.html is not None and run.report.html.uri == "runs/a.json.gz"
    assert [decision.by for decision in await history.list_decisions(start.run_id)] == ["ann"]
    await history.record_run(a_record(start, "failed", decisions=()))
    [run] = await history.list_runs(RunQuery(target="shop"))
    assert run.verdict == "failed"
    assert await history.list_decisions(start.run_id) == []


async def test_a_run_that_was_never_numbered_is_recorded(history: History) -> None:
    """A run that ends before it asked for a number gets one with its record."""
    assert await history.record_run(a_record(a_start())) == "shop#1"


async def test_a_run_without_a_result_is_kept(history: History) -> None:
    """A cancelled run, and one that could not be carried out, are closed with their reason; a recorded result is not touched by it."""
    cancelled, failed, done = a_start(), a_start(), a_record(a_start())
    for run in (cancelled, failed):
        await history.number_run(run)
    await history.record_run(done)
    at = "2026-03-01T11:00:00+00:00"
    await history.end_run(RunEnd(run_id=cancelled.run_id, closed_at=at, verdict="cancelled", summary="cancelled"))
    await history.end_run(RunEnd(run_id=failed.run_id, closed_at=at, summary="process 4711 exited"))
    await history.end_run(RunEnd(run_id=done.run_id, closed_at=at, verdict="cancelled"))
    await history.end_run(RunEnd(run_id="never numbered", closed_at=at))
    kept = {run.run_id: (run.verdict, run.summary) for run in await history.list_runs(RunQuery())}
    assert kept == {
        cancelled.run_id: ("cancelled", "cancelled"),
        failed.run_id: (None, "process 4711 exited"),
        done.run_id: (done.verdict, done.summary),
    }
    (found,) = await history.list_runs(RunQuery(verdict="cancelled"))
    assert (found.run_id, found.closed_at) == (cancelled.run_id, at)


async def test_runs_are_listed_newest_first(history: History) -> None:
    """Lists are in the order of time and can be narrowed to a process, target, number, verdict or run."""
    starts = [a_start(started_at=f"2026-03-01T1{hour}:00:00+00:00") for hour in (0, 2, 1)]
    for start in starts:
        await history.number_run(start)
    await history.record_run(a_record(starts[1], "failed"))
    assert [run.name for run in await history.list_runs(RunQuery())] == ["shop#2", "shop#3", "shop#1"]
    assert [run.name for run in await history.list_runs(RunQuery(verdict="failed"))] == ["shop#2"]
    assert [run.name for run in await history.list_runs(RunQuery(number=3, target="shop", process=PROCESS))] == ["shop#3"]
    assert [run.name for run in await history.list_runs(RunQuery(run_id=starts[0].run_id))] == ["shop#1"]
    assert [run.name for run in await history.list_runs(RunQuery(limit=1))] == ["shop#2"]
    assert await history.list_runs(RunQuery(target="nobody")) == []


async def test_times_keep_their_zone(history: History) -> None:
    """Times written with any offset come back as the same moment in UTC."""
    await history.number_run(a_start(started_at="2026-03-01T10:00:00.5+02:00"))
    [run] = await history.list_runs(RunQuery())
    assert run.started_at == "2026-03-01T08:00:00.500000+00:00"


async def test_the_latest_believed_profile_is_found(history: History) -> None:
    """`latest` is the newest run with a profile that was neither rejected nor inconclusive, and never the run that asks."""
    query = PreviousProfileQuery(process=PROCESS, target="shop")
    assert await history.find_previous_profile(query) is None
    runs = [a_start() for _ in range(5)]
    for start, verdict, profile in zip(
        runs, ("passed", "passed", "rejected", "passed", "inconclusive"), ("a", "b", "c", None, "e"), strict=True
    ):
        await history.record_run(a_record(start, verdict, profile=profile))
    asking = a_start()
    await history.record_run(a_record(asking, profile="f"))
    found = await history.find_previous_profile(query.model_copy(update={"run_id": asking.run_id}))
    assert found is not None and (found.run, found.profile.uri, found.at) == ("shop#2", "runs/b.json.gz", "2026-03-01T10:05:00+00:00")
    assert await history.find_previous_profile(query.model_copy(update={"compare_with": "none"})) is None
    assert await history.find_previous_profile(query.model_copy(update={"kind": "memory"})) is None
    named = await history.find_previous_profile(query.model_copy(update={"compare_with": "shop#3"}))
    assert named is not None and named.profile.uri == "runs/c.json.gz"


async def test_like_is_compared_with_like(history: History) -> None:
    """`latest` is of the same tool and runtime where these are known, and what its threads used comes back with it."""
    used = use({"MainThread": 0.4, "pool-1": 0.1})
    for profile, tool, runtime in (("a", "py-spy", "python"), ("b", "perf", "native"), ("c", "perf", "python"), ("d", "", "")):
        artifact = ArtifactRef(uri=f"runs/{profile}.json.gz", sha256="0" * 64, size_bytes=3, media_type="application/json")
        digest = f"of {profile}" if tool else ""
        kept = RecordedProfile(
            kind="cpu", artifact=artifact, tool=tool, runtime=runtime, usage=used if tool else None, program_digest=digest
        )
        await history.record_run(a_record(a_start(), profiles=(kept,)))
    query = PreviousProfileQuery(process=PROCESS, target="shop")
    found = await history.find_previous_profile(query.model_copy(update={"tool": "py-spy", "runtime": "python"}))
    assert found is not None
    assert (found.profile.uri, found.tool, found.runtime, found.usage) == ("runs/a.json.gz", "py-spy", "python", used)
    other = await history.find_previous_profile(query.model_copy(update={"tool": "perf", "runtime": "native"}))
    assert other is not None and other.profile.uri == "runs/b.json.gz"
    assert await history.find_previous_profile(query.model_copy(update={"tool": "jfr", "runtime": "jvm"})) is None
    assert await history.find_previous_profile(query.model_copy(update={"program_digest": "another"})) is None
    same = await history.find_previous_profile(query.model_copy(update={"program_digest": "of b"}))
    assert same is not None and same.profile.uri == "runs/b.json.gz"
    anything = await history.find_previous_profile(query)
    assert anything is not None and (anything.profile.uri, anything.usage) == ("runs/d.json.gz", None)


@pytest.mark.parametrize(
    ("compare_with", "cause"),
    [
        ("shop#9", "no run shop#9"),
        ("shop#2", "kept no profile"),
        ("shop#3", "has not ended"),
        ("till#1", "no run of target shop"),
        ("x", "is no run"),
    ],
)
async def test_a_wrong_comparison_is_refused(history: History, compare_with: str, cause: str) -> None:
    """A run to compare with that does not exist or has no profile is refused, and those that have one are named."""
    await history.record_run(a_record(a_start()))
    await history.record_run(a_record(a_start(), profile=None))
    await history.number_run(a_start())
    with pytest.raises(ApplicationError, match=cause) as refused:
        await history.find_previous_profile(PreviousProfileQuery(process=PROCESS, target="shop", compare_with=compare_with))
    assert (refused.value.type, refused.value.non_retryable) == ("InvalidInput", True)
    assert "shop#1" in refused.value.message


async def test_odd_text_is_kept_or_refused(history: History) -> None:
    """Text with NUL characters or emoji is kept; a time that is none is refused and not tried again."""
    await history.record_run(a_record(a_start(request={"comment": "a\0b 🚀"}), summary="a\0b 🚀"))
    [run] = await history.list_runs(RunQuery())
    assert run.summary == "ab 🚀"
    with pytest.raises(ApplicationError, match="started_at") as refused:
        await history.number_run(a_start(started_at="yesterday"))
    assert refused.value.non_retryable


async def test_what_a_run_kept_is_found_by_when_it_had_closed(history: History) -> None:
    """Of whichever process: the latest that had closed by then; none of another target or kind, and none that still runs."""
    for name, process, closed_at in (
        ("early", PROCESS, "2026-01-01T00:00:00+00:00"),
        ("late", "IndexStrategyOptimization", "2026-02-01T00:00:00+00:00"),
    ):
        kept = ArtifactRef(uri=f"{name}.json.gz", sha256="0" * 64, size_bytes=3, media_type="application/json")
        profiles = (RecordedProfile(kind=CATALOG, artifact=kept),)
        await history.record_run(a_record(a_start(process=process), closed_at=closed_at, profiles=profiles))
    await history.number_run(a_start())
    found = {day: await history.find_kept("shop", CATALOG, datetime(2026, month, day, tzinfo=UTC)) for month, day in ((1, 31), (3, 1))}
    assert {day: one and (one.artifact.uri, one.at) for day, one in found.items()} == {
        31: ("early.json.gz", "2026-01-01T00:00:00+00:00"),
        1: ("late.json.gz", "2026-02-01T00:00:00+00:00"),
    }
    assert await history.find_kept("shop", CATALOG, datetime(2025, 12, 31, tzinfo=UTC)) is None
    assert await history.find_kept("till", CATALOG, datetime(2026, 3, 1, tzinfo=UTC)) is None
    assert await history.find_kept("shop", "cpu", datetime(2026, 3, 1, tzinfo=UTC)) is None
