"""Messages that were not taken, and why: listed, bounded, never lost silently. Every workflow has this."""

from collections.abc import Sequence
from typing import Any

from temporalio import workflow
from temporalio.common import RawValue

from perfwright.models.gate import RefusedDecision
from workflows.plugin.mistakes import cut

KEPT_MESSAGES = 200
RECEIVED_CHARACTERS = 300
REASON_CHARACTERS = 1_000
NAME_CHARACTERS = 100


class RefusedMessages:
    """Mixin: `refuse_message(...)` notes a message, the query `rejected_decisions` lists them, unknown signals are noted.

    Its state is made in `__init__` without arguments, because `@workflow.init` wedges on a wrong argument count before the
    interceptor sees it (temporal.md, 5).
    """

    def __init__(self) -> None:
        super().__init__()
        self._refused_messages: list[RefusedDecision] = []
        self._refused_messages_dropped = 0

    @property
    def refused_messages(self) -> tuple[RefusedDecision, ...]:
        """The first 200, oldest first; then one entry that tells how many more came."""
        kept = tuple(self._refused_messages)
        if not self._refused_messages_dropped:
            return kept
        more = RefusedDecision(message="", reason=f"{self._refused_messages_dropped} more were refused and are not kept")
        return (*kept, more)

    def refuse_message(self, message: str, reason: str, received: Any = "", gate: str = "", by: str = "") -> None:
        """Note a message that is not taken: its name, why, and what came (cut to 300 characters)."""
        if len(self._refused_messages) >= KEPT_MESSAGES:
            self._refused_messages_dropped += 1
            return
        refused = RefusedDecision(
            message=cut(message, NAME_CHARACTERS),
            reason=cut(reason, REASON_CHARACTERS),
            gate=cut(gate, NAME_CHARACTERS),
            by=cut(by, NAME_CHARACTERS),
            at=workflow.now().isoformat(timespec="seconds"),
            received=cut(received, RECEIVED_CHARACTERS),
        )
        self._refused_messages.append(refused)
        workflow.logger.warning("%s refused: %s", refused.message, refused.reason)

    @workflow.query(description="Messages that were not taken, and why")
    def rejected_decisions(self) -> list[RefusedDecision]:
        return list(self.refused_messages)

    @workflow.signal(dynamic=True)
    def unknown_signal(self, name: str, payloads: Sequence[RawValue]) -> None:
        """Any signal that this process does not have."""
        known = [word for word in dir(type(self)) if workflow.get_signal_handler(word) is not None]
        told = f"; known: {', '.join(known)}" if known else ""
        received = payloads[0].payload.data[: RECEIVED_CHARACTERS * 2].decode("utf-8", "replace") if payloads else ""
        self.refuse_message(name, f"there is no such signal here{told}", received)
