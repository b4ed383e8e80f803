"""The one interceptor: guards what comes from outside, keeps cancellations, maps errors, counts and logs."""

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from temporalio import activity, workflow
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory, FailureError, is_cancelled_exception
from temporalio.worker import (
    ActivityInboundInterceptor,
    ExecuteActivityInput,
    ExecuteWorkflowInput,
    HandleQueryInput,
    HandleSignalInput,
    HandleUpdateInput,
    Interceptor,
    StartActivityInput,
    StartChildWorkflowInput,
    StartLocalActivityInput,
    WorkflowInboundInterceptor,
    WorkflowInterceptorClassInput,
    WorkflowOutboundInterceptor,
)

from perfwright.models.errors import ErrorType
from workflows.plugin import metrics
from workflows.plugin.activity_errors import as_application_error
from workflows.plugin.cancellation import watched_activity, watched_child
from workflows.plugin.converter import Unreadable
from workflows.plugin.mistakes import cut, one_line
from workflows.plugin.run_fields import activity_fields


class PerfwrightInterceptor(Interceptor):
    """For workers and replayers."""

    def intercept_activity(self, next: ActivityInboundInterceptor) -> ActivityInboundInterceptor:
        return ActivityInbound(next)

    def workflow_interceptor_class(self, input: WorkflowInterceptorClassInput) -> type[WorkflowInboundInterceptor]:
        return WorkflowInbound


class ActivityInbound(ActivityInboundInterceptor):
    """Every activity ends counted, logged with its run, and with an error type that users can match on."""

    async def execute_activity(self, input: ExecuteActivityInput) -> Any:
        info = activity.info()
        owner = getattr(input.fn, "__self__", None)
        tool = type(owner).__name__ if owner is not None else "none"
        outcome = "done"
        try:
            with activity_fields(info, input.args):
                return await self.next.execute_activity(input)
        except asyncio.CancelledError:
            outcome = "cancelled"
            raise
        except Exception as e:
            told = as_application_error(e)
            outcome = "cancelled" if is_cancelled_exception(e) else getattr(told, "type", None) or type(told).__name__
            if told is e:
                raise
            raise told from None
        finally:
            metrics.activity_ended(info.activity_type, tool, outcome)


def _arguments(function: Callable[..., Any], *, skip: int) -> tuple[list[str], int]:
    """Names of what a handler takes, and how many of them it needs."""
    if inspect.iscoroutinefunction(function) and function.__name__ == "with_object":  # the SDK's wrapper of an async handler
        function, skip = inspect.getclosurevars(function).nonlocals["fn"], skip + 1
    parameters = list(inspect.signature(function).parameters.values())[skip:]
    return [p.name for p in parameters], sum(1 for p in parameters if p.default is p.empty)


def _mistakes(function: Callable[..., Any], args: Sequence[Any], *, skip: int = 0) -> list[str]:
    """What is wrong with the arguments of a start, signal or update: their number first, then each one's content."""
    names, needed = _arguments(function, skip=skip)
    if not needed <= len(args) <= len(names):
        allowed = str(needed) if needed == len(names) else f"{needed} to {len(names)}"
        wanted = f" ({', '.join(names)})" if names else ""
        plural = "s" if allowed != "1" else ""
        return [f"{allowed} argument{plural}{wanted} needed, {len(args)} given"]
    return [mistake for arg in args if isinstance(arg, Unreadable) for mistake in arg.mistakes]


def _refuse(mistakes: Sequence[str]) -> NoReturn:
    raise ApplicationError(
        one_line(mistakes),
        type=ErrorType.INVALID_INPUT.value,
        non_retryable=True,
        category=ApplicationErrorCategory.BENIGN,
    )


class WorkflowInbound(WorkflowInboundInterceptor):
    """A bad start fails at once, a bad signal is noted, a bad update or query is refused; none fails a workflow task."""

    def init(self, outbound: WorkflowOutboundInterceptor) -> None:
        self.next.init(WorkflowOutbound(outbound))

    async def execute_workflow(self, input: ExecuteWorkflowInput) -> Any:
        if mistakes := _mistakes(input.run_fn, input.args, skip=1):
            _refuse(mistakes)
        metrics.process_started()
        try:
            result = await self.next.execute_workflow(input)
        except asyncio.CancelledError:
            metrics.process_closed("cancelled")
            raise
        except FailureError as e:
            metrics.process_closed("cancelled" if is_cancelled_exception(e) else "error")
            raise
        metrics.process_closed(str(getattr(result, "verdict", "done")))
        return result

    async def handle_signal(self, input: HandleSignalInput) -> None:
        handler = workflow.get_signal_handler(input.signal)
        if handler is None:  # the dynamic handler notes it
            return await self.next.handle_signal(input)
        reason = one_line(_mistakes(handler, input.args))
        if not reason:
            try:
                return await self.next.handle_signal(input)
            except workflow.NondeterminismError:
                raise
            except Exception as e:
                workflow.logger.exception("Signal %s could not be handled", input.signal)
                reason = f"it could not be handled ({type(e).__name__}: {cut(str(e), 200)})"
        self._note(input, reason)
        return None

    @staticmethod
    def _note(input: HandleSignalInput, reason: str) -> None:
        received = [arg for arg in input.args if not isinstance(arg, Unreadable)]
        note = getattr(workflow.instance(), "refuse_message", None)
        if note is not None:
            note(input.signal, reason, received[0] if len(received) == 1 else received)
        else:
            workflow.logger.warning("Signal %s refused: %s", input.signal, reason)

    async def handle_query(self, input: HandleQueryInput) -> Any:
        if mistakes := [mistake for arg in input.args if isinstance(arg, Unreadable) for mistake in arg.mistakes]:
            _refuse(mistakes)
        return await self.next.handle_query(input)

    def handle_update_validator(self, input: HandleUpdateInput) -> None:
        self._check_update(input)
        self.next.handle_update_validator(input)

    async def handle_update_handler(self, input: HandleUpdateInput) -> Any:
        self._check_update(input)  # an update without a validator of its own is accepted before anything is asked
        try:
            return await self.next.handle_update_handler(input)
        except workflow.NondeterminismError:
            raise
        except Exception as e:
            if isinstance(told := as_application_error(e), FailureError) and told is not e:
                workflow.logger.exception("Update %s could not be handled", input.update)
                raise told from None
            raise

    @staticmethod
    def _check_update(input: HandleUpdateInput) -> None:
        handler = workflow.get_update_handler(input.update)
        if handler is not None and (mistakes := _mistakes(handler, input.args)):
            _refuse(mistakes)


class WorkflowOutbound(WorkflowOutboundInterceptor):
    """Every step ends in `CancelledError` when the run was cancelled meanwhile."""

    def start_activity(self, input: StartActivityInput) -> workflow.ActivityHandle[Any]:
        return watched_activity(self.next.start_activity(input))

    def start_local_activity(self, input: StartLocalActivityInput) -> workflow.ActivityHandle[Any]:
        return watched_activity(self.next.start_local_activity(input))

    async def start_child_workflow(self, input: StartChildWorkflowInput) -> workflow.ChildWorkflowHandle[Any, Any]:
        return watched_child(await self.next.start_child_workflow(input))
