"""The sandbox as we run it: what is passed through, and no trip into it for every payload."""

import dataclasses
from typing import TYPE_CHECKING, Any

from temporalio import workflow
from temporalio.converter import DataConverter, SerializationContext, StorageDriverStoreContext
from temporalio.worker import WorkflowInstance, WorkflowInstanceDetails, WorkflowRunner
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

if TYPE_CHECKING:
    from temporalio.bridge.proto.workflow_activation import WorkflowActivation
    from temporalio.bridge.proto.workflow_completion import WorkflowActivationCompletion

PASSED_THROUGH = (
    "perfwright",  # pure by rule and by test: no clock, no I/O, no unseeded randomness; pydantic models must keep their identity
    "activities",  # workflows only name its methods; what runs in them never runs in the sandbox
    "workflows.plugin",  # this: no state between runs, no clock but Temporal's
    "workflows.shared",  # saves 3 ms of the 5 ms that the start of a run cost
)
"""Not imported again for every run.

The sandbox does not look into them: a clock, a random number, a file or an environment variable used there would make replays differ,
unnoticed. So tests/workflows/test_plugin.py refuses such imports and calls in `workflows/shared` and `workflows/plugin`.
Never pass through `workflows` as a whole: with it `datetime.now()` in a process ran unnoticed.
"""


class _OutsideContext(WorkflowInstance):
    """A sandboxed run that answers by itself in which context a payload stands.

    The SDK asks for every payload of a task, three times, and its sandbox enters and leaves itself to answer: two thirds of the CPU
    of a workflow task. Only a codec or an external storage uses the answer; without them there is none to give.
    """

    def __init__(self, inside: WorkflowInstance) -> None:
        self._inside = inside

    def activate(self, act: "WorkflowActivation") -> "WorkflowActivationCompletion":
        return self._inside.activate(act)

    def get_serialization_context(self, command_info: Any) -> SerializationContext | None:
        return None

    def get_external_store_context(self, command_info: Any) -> StorageDriverStoreContext:
        return StorageDriverStoreContext(target=None)

    def get_info(self) -> workflow.Info:
        return self._inside.get_info()

    def get_thread_id(self) -> int | None:
        return self._inside.get_thread_id()


@dataclasses.dataclass(frozen=True)
class LeanSandbox(SandboxedWorkflowRunner):
    """The SDK's sandbox without the trips for payload contexts; for data converters without codec and external storage."""

    def create_instance(self, det: WorkflowInstanceDetails) -> WorkflowInstance:
        return _OutsideContext(super().create_instance(det))


def sandbox(existing: WorkflowRunner | None, converter: DataConverter | None) -> WorkflowRunner:
    """The runner to use: any other than the SDK's own sandbox (a debugger's, for example) is left alone."""
    if existing is not None and type(existing) is not SandboxedWorkflowRunner:
        return existing
    restrictions = (existing or SandboxedWorkflowRunner()).restrictions.with_passthrough_modules(*PASSED_THROUGH)
    plain = converter is not None and converter.payload_codec is None and converter.external_storage is None
    return (LeanSandbox if plain else SandboxedWorkflowRunner)(restrictions=restrictions)
