"""What registry and policy make of the gates of real runs: deadlines, notes, automatic answers, approvers, notifications."""

from pathlib import Path
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities.gates import Gates
from activities.registry_file import RegistryFile
from perfwright.models.gate import GateNotification, GatePolicy, GatePolicyQuery, NotificationOutcome
from tests.workflows.gate_runs import REGISTRY, asking, details_of, open_gate, pending_attribute, refusals, registry, says, until
from tests.workflows.gate_samples import Asked, AskingSample
from workflows.plugin.run_fields import RunFields

__all__ = ["asking", "registry"]


@pytest.mark.parametrize(("kind", "outcome"), [("review", "unreviewed"), ("keep", "rejected")])
async def test_nobody_answers(asking: Any, kind: str, outcome: str) -> None:
    """At the deadline a review is unreviewed, and a keep is rejected."""
    async with asking(kind=kind, deadline_s=1.0) as run:
        (decision,) = (await run.result()).decisions
        assert (decision.outcome, decision.source) == (outcome, "deadline")
        assert not await pending_attribute(run)


async def test_policy_notify_goes_on_and_lists_objections(asking: Any) -> None:
    """Where policy notes reviews the run does not wait, and a rejection before its end is an objection in its result."""
    async with asking(environment="noting", wait_at_end=True) as run:

        async def noted() -> Any:
            return (await run.query(AskingSample.progress)).noted_gates

        (gate,) = await until(noted)
        assert await run.query(AskingSample.pending_gates) == []
        await run.signal("reject", says(gate, comment="the wrong process"))
        await run.signal("go")
        result: Asked = await run.result()
        assert [decision.outcome for decision in result.decisions] == ["noted"]
        assert [(objection.by, objection.comment) for objection in result.objections] == [("ada", "the wrong process")]


async def test_policy_auto_answers_what_passed_and_asks_otherwise(asking: Any) -> None:
    """Policy auto approves a change whose quality gates passed and records itself; without that it asks, and says why."""
    async with asking(environment="automatic", kind="change", quality_passed=True) as run:
        (decision,) = (await run.result()).decisions
        assert (decision.outcome, decision.by, decision.source) == ("approved", "policy", "policy")
    async with asking(environment="automatic", kind="change", quality_passed=False) as run:
        gate = await open_gate(run)
        assert "the quality gates behind it did not pass" in gate.policy.reason
        await run.signal("reject", says(gate, comment="no"))
        assert (await run.result()).applied.outcome == "rejected"


async def test_production_asks_an_approver_who_did_not_start_it(asking: Any, temporal_server: str) -> None:
    """In production only named approvers count, and not for a run they started themselves, as by `temporal workflow start`."""
    from workflows.plugin.plugin import PerfwrightPlugin

    starter = await Client.connect(temporal_server, plugins=[PerfwrightPlugin()], identity="temporal-cli:starter@laptop")
    async with asking(by=starter, environment="production", kind="change") as run:
        gate = await open_gate(run)
        await run.signal("approve", says(gate, by="eve"))
        assert "not an approver" in (await refusals(run))[0].reason
        await run.signal("approve", says(gate, by="starter"))
        assert "started this run" in (await refusals(run, 2))[1].reason
        await run.signal("approve", says(gate, by="ada"))
        assert (await run.result()).applied.by == "ada"


async def test_lines_of_a_run_name_its_target_and_what_it_does(asking: Any, caplog: pytest.LogCaptureFixture) -> None:
    """What a process itself logs, as a decision that is refused, can be searched by target and step."""
    caplog.handler.addFilter(fields := RunFields())
    try:
        async with asking() as run:
            gate = await open_gate(run)
            await run.signal("approve", says(gate, digest="00000000"))
            await refusals(run)
            await run.signal("approve", says(gate))
            await run.result()
    finally:
        caplog.handler.removeFilter(fields)
    (record,) = [record for record in caplog.records if "approve refused" in record.getMessage()]
    assert (record.workflow_type, record.target, record.step) == ("AskingSample", "shop", "Working")  # type: ignore[attr-defined]


async def test_a_registry_that_cannot_be_read_holds_the_gate_and_not_the_run(asking: Any, registry: Path) -> None:
    """While the policy cannot be read the gate does not open; when it can, the run goes on."""
    attempts = 0
    real = Gates(RegistryFile(registry))

    @activity.defn(name="read_gate_policy")
    async def failing_twice(query: GatePolicyQuery) -> GatePolicy:
        nonlocal attempts
        attempts += 1
        if attempts <= 2:
            raise ConnectionError("no registry")
        return await real.read_gate_policy(query)

    async with asking(activities=[failing_twice]) as run:
        gate = await open_gate(run)
        assert attempts == 3
        await run.signal("approve", says(gate))
        assert (await run.result()).decisions[0].outcome == "approved"


async def test_trouble_with_notifying_is_told_and_stops_nothing(asking: Any, client: Client, registry: Path) -> None:
    """The team hears of a gate and is reminded; when an address does not answer the details say so and the gate is open."""
    registry.write_text(REGISTRY + '[notify]\nurls_env = "TEAM"\n')
    sent: list[GateNotification] = []

    @activity.defn(name="send_notification")
    async def failing(told: GateNotification) -> NotificationOutcome:
        sent.append(told)
        if told.reminder:
            raise ApplicationError("broken")
        return NotificationOutcome(failed=1, note="json: ConnectionError")

    gates = Gates(RegistryFile(registry))
    async with asking(activities=[gates.read_gate_policy, failing], environment="reminding", deadline_s=6.0) as run:
        gate = await open_gate(run)

        async def reminded() -> bool:
            return any(told.reminder for told in sent) and "broken" in await details_of(client, run)

        await until(reminded)
        told = await details_of(client, run)
        assert "Not everybody was notified of findings_review: json: ConnectionError" in told
        assert (sent[0].digest, sent[0].reminder, sent[0].target) == (gate.digest, 0, "shop")
        await run.signal("approve", says(gate))
        assert (await run.result()).decisions[0].outcome == "approved"
