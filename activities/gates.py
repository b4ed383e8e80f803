"""What gates need from outside: the policy of the registry, who started the run, and the team's addresses."""

import asyncio
import logging
import os
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from temporalio import activity

from activities.errors import refuse
from activities.registry_file import RegistryFile
from perfwright.analysis.gate_policy import resolve_policy
from perfwright.models.errors import ErrorType
from perfwright.models.gate import GateNotification, GatePolicy, GatePolicyQuery, NotificationOutcome
from perfwright.models.registry import Registry, RegistryInvalid
from perfwright.report.gate_texts import notification

if TYPE_CHECKING:
    from apprise import NotifyBase

SEND_TIMEOUT_S = 10.0
MAX_ADDRESSES = 20
TALKATIVE = ("apprise", "urllib3.connectionpool")
"""Their loggers write addresses, which hold tokens, at several levels."""
MAX_HOPS = 5
"""Parents and continuations that are followed to the one who started it all."""


class Gates:
    """Reads policies and sends notifications. Addresses are secrets: they are never logged, told or recorded."""

    def __init__(
        self, registry_file: RegistryFile, *, environ: Mapping[str, str] = os.environ, send_timeout_s: float = SEND_TIMEOUT_S
    ) -> None:
        self._registry_file = registry_file
        self._environ = environ
        self._send_timeout_s = send_timeout_s

    @activity.defn
    async def read_gate_policy(self, query: GatePolicyQuery) -> GatePolicy:
        """The policy as the registry has it now; who started the run, where that decides who may approve.

        Errors: InvalidInput while there is no valid registry; repeated, because a gate would rather wait than end a run that has
        measured for hours.
        """
        policy = resolve_policy(self._registry(), query).model_copy(update={"essence": query.essence})
        if policy.self_approval or (query.kind == "review" and policy.policy != "ask"):
            return policy
        return policy.model_copy(update={"started_by": await _started_by()})

    @activity.defn
    async def send_notification(self, told: GateNotification) -> NotificationOutcome:
        """Send to every address, within a bounded time; what failed is an outcome and no error."""
        notify = self._registry().notify
        if notify.urls_env is None:
            return NotificationOutcome()
        addresses = [
            word for word in re.split(r"[\s,]+(?=[A-Za-z][A-Za-z0-9+.-]*://)", self._environ.get(notify.urls_env, "").strip()) if word
        ]
        if not addresses and notify.urls_env in self._environ:
            return NotificationOutcome()  # set and empty, as the deployments hand it on where a team wants none
        if not addresses:
            return NotificationOutcome(failed=1, note=f"the environment variable {notify.urls_env} is not set for this worker")
        title, body = notification(told, link=notify.link or "", namespace=activity.info().workflow_namespace or "default")
        sent = await asyncio.gather(*(self._send(address, title, body) for address in addresses[:MAX_ADDRESSES]))
        problems = [problem for problem in sent if problem]
        if len(addresses) > MAX_ADDRESSES:
            problems.append(f"{len(addresses) - MAX_ADDRESSES} addresses beyond the first {MAX_ADDRESSES} were left out")
        return NotificationOutcome(sent=sent.count(""), failed=len(problems), note="; ".join(problems)[:500])

    def _registry(self) -> Registry:
        try:
            return self._registry_file.latest_valid()
        except RegistryInvalid as invalid:
            raise refuse(
                ErrorType.INVALID_INPUT, str(invalid), way_out="The gate opens when the registry is valid", retryable=True
            ) from None

    async def _send(self, address: str, title: str, body: str) -> str:
        """Empty when it was sent, else what went wrong, without the address."""
        kind = address.partition("://")[0][:30] if "://" in address else "an address without a scheme"
        try:
            sender = await asyncio.to_thread(_sender, address)
            if sender is None:
                return f"{kind}: not an address that Apprise knows"
            async with asyncio.timeout(self._send_timeout_s):
                sent = await sender.async_notify(body=body, title=title, body_format="markdown")
        except TimeoutError:
            return f"{kind}: no answer within {self._send_timeout_s:g} s"
        except Exception as trouble:  # senders for a hundred services: whatever breaks, the gate is open
            return f"{kind}: {type(trouble).__name__}"
        return "" if sent else f"{kind}: not accepted"


def _sender(address: str) -> "NotifyBase | None":
    from apprise import Apprise  # half a second to import, and many teams never send anything

    for name in TALKATIVE:
        logging.getLogger(name).disabled = True
    sender: NotifyBase | None = Apprise.instantiate(address, suppress_exceptions=True)
    return sender


async def _started_by() -> tuple[str, ...]:
    """Names of the one who started the run, from the first event of its first run; a child's is its root's.

    A server that stamps principals gives a trusted name; else it is the identity that the client claimed.
    """
    info = activity.info()
    client = activity.client()
    workflow_id, run_id = info.workflow_id, info.workflow_run_id
    names: tuple[str, ...] = ()
    for _ in range(MAX_HOPS):
        if workflow_id is None:
            break
        handle = client.get_workflow_handle(workflow_id, run_id=run_id)
        event = await anext(aiter(handle.fetch_history_events(page_size=1)))
        started = event.workflow_execution_started_event_attributes
        names = names_of(event.principal.name, started.identity)
        root, first = started.root_workflow_execution, started.first_execution_run_id
        if root.workflow_id and (root.workflow_id, root.run_id) != (workflow_id, run_id):
            workflow_id, run_id = root.workflow_id, root.run_id
        elif first and first != run_id:
            run_id = first
        else:
            break
    return names


def names_of(principal: str, identity: str) -> tuple[str, ...]:
    """All names of one who started a run: the trusted one, the claimed identity, and the user in it.

    `ada@laptop`, and `temporal-cli:ada@laptop` of the `temporal` command, are `ada` as well.
    """
    before_host = identity.partition("@")[0]
    words = (principal, identity, before_host, before_host.rpartition(":")[2])
    return tuple(dict.fromkeys(word.strip()[:200] for word in words if word.strip()))
