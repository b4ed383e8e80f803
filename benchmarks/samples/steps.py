"""The step of the sample processes: nothing but the engine costs anything."""

from temporalio import activity

from benchmarks.samples.models import GateRule, StepResult


@activity.defn
async def do_step(number: int) -> StepResult:
    return StepResult(number=number)


@activity.defn(name="read_gate_policy")
async def read_gate_rule(gate: str) -> GateRule:
    """What a process written with the SDK alone would ask instead of `Gates.read_gate_policy`."""
    return GateRule()
