"""Gates of real runs, and how people answer them."""

import asyncio
import json
import os
import shlex
import uuid
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client, WorkflowFailureError, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from tests.needs import temporal_cli
from tests.workflows.gate_runs import asking, details_of, gate_activities, open_gate, pending_attribute, refusals, registry, says, until
from tests.workflows.gate_samples import Asked, Asking, AskingSample, ContinuingSample

__all__ = ["asking", "registry"]


async def test_an_approval_lets_the_run_go_on(asking: Any, client: Client) -> None:
    """At an open gate the run is found by the inbox search, its details say how to answer, and an approval ends the waiting."""
    async with asking() as run:
        gate = await open_gate(run)
        assert await pending_attribute(run) == ["findings_review"]
        told = await details_of(client, run)
        for words in ("Is this measurement good enough?", "The findings are believed.", "recorded for **30 s**", gate.digest, "unreviewed"):
            assert words in told
        assert f"perfwright approve {run.id} findings_review" in told
        assert len(told.encode()) < 20_000
        await run.signal("approve", says(gate, comment="fine"))
        result: Asked = await run.result()
        (decision,) = result.decisions
        assert (decision.outcome, decision.by, decision.source) == ("approved", "ada", "signal")
        assert not await pending_attribute(run)
        assert [(step.name, step.outcome, step.note) for step in result.steps] == [("Measure", "done", "for 30 s")]
        attributes = (await run.describe()).search_attributes
        assert (attributes["PerfTarget"], attributes["PerfEnvironment"], attributes["PerfVerdict"]) == (["shop"], ["lab"], ["passed"])


async def test_the_line_in_the_details_answers_the_gate(asking: Any, client: Client, temporal_server: str) -> None:
    """The `temporal workflow signal` line in the details works when pasted."""
    async with asking(kind="keep") as run:
        await open_gate(run)
        told = await details_of(client, run)
        line = next(line for line in told.splitlines() if line.startswith("temporal workflow signal") and "--name approve" in line)
        words = [str(temporal_cli()), *shlex.split(line)[1:], "--address", temporal_server]
        process = await asyncio.create_subprocess_exec(
            *words, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=os.environ | {"TEMPORAL_NAMESPACE": "default"}
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output.decode()
        (decision,) = (await run.result()).decisions
        assert (decision.outcome, decision.by) == ("approved", "YOUR NAME")


async def test_a_rejection_needs_a_comment(asking: Any) -> None:
    """A rejection without a comment is refused and listed; with one it is the decision."""
    async with asking() as run:
        gate = await open_gate(run)
        await run.signal("reject", says(gate))
        (refused,) = await refusals(run)
        assert (refused.message, refused.gate, refused.by) == ("reject", "findings_review", "ada")
        assert "comment: missing" in refused.reason
        await run.signal("reject", says(gate, comment="wrong load"))
        (decision,) = (await run.result()).decisions
        assert (decision.outcome, decision.comment) == ("rejected", "wrong load")


async def test_requested_changes_repeat_the_work_at_most_max_revisions_times(asking: Any) -> None:
    """Overrides are checked when they come, the work is repeated with them, and one request too many is a rejection."""
    async with asking(max_revisions=2) as run:
        gate = await open_gate(run)
        await run.signal("request_changes", says(gate, comment="longer", overrides={"duration_s": -1}))
        assert "overrides.duration_s: must be a positive number" in (await refusals(run))[0].reason
        await run.signal("request_changes", says(gate, comment="longer", overrides={"duration_s": 60}))
        second = await open_gate(run, 2)
        assert (second.revisions_left, second.digest != gate.digest) == (1, True)
        await run.signal("approve", says(gate))
        assert "earlier revision" in (await refusals(run, 2))[1].reason
        await run.signal("request_changes", says(second, comment="longer still", overrides={"duration_s": 90}))
        third = await open_gate(run, 3)
        await run.signal("request_changes", says(third, comment="again"))
        result: Asked = await run.result()
        assert [decision.outcome for decision in result.decisions] == ["changes_requested", "changes_requested", "rejected"]
        assert result.durations_s == (30, 60, 90)
        assert "changes 2 times at most" in result.decisions[-1].comment


async def test_decide_answers_at_once(asking: Any, client: Client) -> None:
    """The update says at once why a decision does not count, returns the one that does, and a repetition returns the same."""
    async with asking(kind="keep", wait_at_end=True) as run:
        gate = await open_gate(run)
        for bad, words in (
            (says(gate, action="approve", digest="00000000"), "digest 00000000 is not of what is on show"),
            (says(gate, action="aprove"), "action: one of approve, reject, request_changes"),
            (says(gate, action="reject"), "comment: missing"),
            ("approve", "one JSON object is needed"),
        ):
            with pytest.raises(WorkflowUpdateFailedError) as refused:
                await run.execute_update("decide", bad)
            assert isinstance(refused.value.cause, ApplicationError)
            assert words in refused.value.cause.message
        good = says(gate, action="approve", decision_id="d1")
        decision = await run.execute_update(AskingSample.decide, good)
        assert (decision.outcome, decision.source) == ("approved", "update")
        assert await run.execute_update(AskingSample.decide, good) == decision
        with pytest.raises(WorkflowUpdateFailedError):
            await run.execute_update("decide", says(gate, action="approve", by="bob"))
        assert await run.query(AskingSample.decisions) == [decision]
        await run.signal("go")
        assert (await run.result()).decisions == (decision,)


async def test_early_late_twice_and_nonsense(asking: Any, client: Client) -> None:
    """Decisions that come before or after their time, and messages that are none, are listed with their reasons; twice counts once."""
    async with asking(kind="keep", wait_at_end=True) as run:
        gate = await open_gate(run)
        await run.signal("approve", says(gate, gate="later_review"))
        await run.signal("approve", says(gate, gate="finding_review"))
        await run.signal("approve", "yes")
        await run.signal("approve", args=[])
        await run.signal("approve", args=[says(gate), says(gate)])
        await run.signal("aprove", says(gate))
        listed = await refusals(run, 6)
        reasons = [entry.reason for entry in listed]
        for words in ("not open yet", "nearest: findings_review", "a string came", "0 given", "2 given", "no such signal"):
            assert any(words in reason for reason in reasons), (words, reasons)
        await run.signal("approve", says(gate))
        await run.signal("approve", says(gate))
        await run.signal("reject", says(gate, by="bob", comment="too late"))
        assert "was decided already: approved by ada" in (await refusals(run, 7))[6].reason
        told = await details_of(client, run)
        assert "Not taken (7)" in told
        await run.signal("go")
        result = await run.result()
        assert len(result.decisions) == 1


async def test_until_apply_begins_a_rejection_wins(asking: Any) -> None:
    """An approved change can be stopped until it is applied; afterwards the rejection is refused."""
    for reject_in_time in (True, False):
        async with asking(kind="change", exact_change="CREATE INDEX", wait_before_apply=True, wait_at_end=True) as run:
            gate = await open_gate(run)
            await run.execute_update("decide", says(gate, action="approve"))
            rejection = says(gate, by="bob", comment="freeze")
            if reject_in_time:
                await run.execute_update("decide", rejection | {"action": "reject"})
            await run.signal("go")
            await run.query(AskingSample.progress)  # the answer tells that the signal was handled
            await run.signal("reject", rejection | {"comment": "too late"})
            assert "was decided already" in (await refusals(run))[0].reason
            await run.signal("go")
            result: Asked = await run.result()
            assert result.decisions[0].outcome == "approved"
            assert result.applied is not None
            assert (result.applied.outcome, result.applied.by) == (("rejected", "bob") if reject_in_time else ("approved", "ada"))


async def test_everything_again_without_a_cache(asking: Any) -> None:
    """A worker that replays the run for every message comes to the same decisions, refusals and details."""
    async with asking(kind="change", max_revisions=1, worker={"max_cached_workflows": 0}) as run:
        gate = await open_gate(run)
        await run.signal("approve", says(gate, digest="00000000"))
        await refusals(run)
        await run.signal("request_changes", says(gate, comment="longer", overrides={"duration_s": 60}))
        second = await open_gate(run, 2)

        # Without a cache a query replays events that no workflow task has worked on yet, and so may see a gate before it is open for messages.
        async def opened() -> bool:
            return await pending_attribute(run) == [second.name]

        await until(opened)
        await run.execute_update("decide", says(second, action="approve"))
        result: Asked = await run.result()
        assert [decision.outcome for decision in result.decisions] == ["changes_requested", "approved"]
        assert result.durations_s == (30, 60)


async def test_twenty_five_gates_in_a_row(asking: Any) -> None:
    """A long process with many gates answers each of them."""
    async with asking(gate="review", gates=25) as run:
        for number in range(25):

            async def next_gate(name: str = f"review_{number}") -> Any:
                return [gate for gate in await run.query(AskingSample.pending_gates) if gate.name == name]

            (gate,) = await until(next_gate)
            await run.signal("approve", says(gate))
        result: Asked = await run.result()
        assert len(result.decisions) == 25
        assert {decision.outcome for decision in result.decisions} == {"approved"}


async def test_a_cancelled_run_withdraws_its_gate(asking: Any) -> None:
    """A run that is cancelled at a gate ends cancelled and is no longer found by the inbox search."""
    async with asking() as run:
        await open_gate(run)
        await run.cancel()
        with pytest.raises(WorkflowFailureError):
            await run.result()
        assert not await pending_attribute(run)
        assert await run.query(AskingSample.pending_gates) == []


async def test_a_gate_stays_open_over_continue_as_new(client: Client, running_worker: Any, task_queue: str, registry: Path) -> None:
    """A decision counts when it is sent before or after the run continued as new, and deadline and digest stay."""
    async with running_worker(workflows=[ContinuingSample], activities=gate_activities(registry)):
        run = await client.start_workflow(
            ContinuingSample.run, Asking(environment="lab"), id=f"continuing/{uuid.uuid4()}", task_queue=task_queue
        )
        latest = client.get_workflow_handle(run.id)
        gate = await open_gate(latest)
        await latest.signal("approve", {"gate": "keep_it", "by": "x", "digest": "00000000"})
        await latest.signal("continue_now")
        await latest.signal("approve", {"gate": "keep_it", "by": "ada", "digest": gate.digest})
        decision = await run.result()
        assert (decision.outcome, decision.digest, decision.revision) == ("approved", gate.digest, 1)
        assert len(await client.get_workflow_handle(run.id).query(AskingSample.rejected_decisions)) == 1


async def test_details_stay_below_the_limit(asking: Any, client: Client) -> None:
    """Even a huge change and a flood of nonsense leave the details below the server's 20 kB, with how to answer in them."""
    async with asking(kind="change", exact_change="ü`" * 20_000, wait_at_end=True) as run:
        gate = await open_gate(run)
        await asyncio.gather(*(run.signal("approve", json.dumps({"é": "ü" * 2_000, "n": number})) for number in range(120)))

        async def all_came() -> bool:
            return (await run.query(AskingSample.progress)).refused_decisions == 120

        await until(all_came)
        told = await details_of(client, run)
        assert len(told.encode()) < 20_000
        assert f"perfwright approve {run.id} findings_review" in told
        listed = await run.query(AskingSample.rejected_decisions)
        assert "Not taken (120)" in told
        assert "20 earlier ones" in listed[0].reason
        assert len(gate.question.exact_change) < 21_000
        await run.cancel()
