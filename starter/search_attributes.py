"""What runs can be searched by. Registered, listed back, compared and waited for before a worker starts.

A start with an unknown search attribute is refused by the server, an upsert of one fails the workflow task until it is known, and
registering one again with another type is accepted in silence: so a worker that cannot rely on them does not start.
"""

import asyncio

from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from starter.failures import CannotStart

KEYWORD = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD
KEYWORD_LIST = IndexedValueType.INDEXED_VALUE_TYPE_KEYWORD_LIST

SEARCH_ATTRIBUTES: dict[str, IndexedValueType.ValueType] = {
    "PerfPendingGates": KEYWORD_LIST,
    "PerfTarget": KEYWORD,
    "PerfEnvironment": KEYWORD,
    "PerfPhase": KEYWORD,
    "PerfVerdict": KEYWORD,
    "PerfHost": KEYWORD,
}

USABLE_TIMEOUT_S = 30.0
"""PostgreSQL takes one to two seconds after registering; a busy cluster a little longer."""


async def ensure_search_attributes(client: Client, *, timeout_s: float = USABLE_TIMEOUT_S) -> None:
    """Make every search attribute usable. Raises `CannotStart` for a wrong type, missing permission, or after `timeout_s`."""
    present = await _listed(client)
    _compare_types(client, present)
    if missing := {name: kind for name, kind in SEARCH_ATTRIBUTES.items() if name not in present}:
        await _register(client, missing)
    deadline = asyncio.get_running_loop().time() + timeout_s
    while (why_not := await _not_usable(client)) is not None:
        if asyncio.get_running_loop().time() > deadline:
            raise CannotStart(
                f"the search attributes of namespace {client.namespace!r} are registered but not usable after {timeout_s:g} s ({why_not})",
                way_out="Look at the visibility store of the server, then start the worker again",
            )
        await asyncio.sleep(0.25)
    _compare_types(client, await _listed(client))  # another worker may have registered them meanwhile


async def _listed(client: Client) -> dict[str, IndexedValueType.ValueType]:
    try:
        answer = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace=client.namespace))
    except RPCError as error:
        raise CannotStart(
            f"the search attributes of namespace {client.namespace!r} cannot be listed ({error.status.name}: {error.message})",
            way_out="The worker's identity needs the permission to read them",
        ) from None
    return dict(answer.custom_attributes)


def _compare_types(client: Client, present: dict[str, IndexedValueType.ValueType]) -> None:
    wrong = {name: present[name] for name, kind in SEARCH_ATTRIBUTES.items() if name in present and present[name] != kind}
    if wrong:
        names = " ".join(f"--name {name}" for name in wrong)
        raise CannotStart(
            f"search attributes of namespace {client.namespace!r} have another type: "
            + ", ".join(f"{name} is {_spoken(found)}, {_spoken(SEARCH_ATTRIBUTES[name])} is needed" for name, found in wrong.items()),
            way_out=f"Remove them (`temporal operator search-attribute remove --namespace {client.namespace} {names}`) "
            "or use another namespace",
        )


async def _register(client: Client, missing: dict[str, IndexedValueType.ValueType]) -> None:
    try:
        await client.operator_service.add_search_attributes(
            AddSearchAttributesRequest(namespace=client.namespace, search_attributes=missing)
        )
    except RPCError as error:
        if error.status == RPCStatusCode.ALREADY_EXISTS:  # another worker was faster; its types are compared below
            return
        options = " ".join(f"--name {name} --type {_spoken(kind)}" for name, kind in missing.items())
        raise CannotStart(
            f"search attributes cannot be registered in namespace {client.namespace!r} ({error.status.name}: {error.message})",
            way_out=f"Have an administrator do it: `temporal operator search-attribute create --namespace {client.namespace} {options}`",
        ) from None


async def _not_usable(client: Client) -> str | None:
    """Ask the visibility store with each name: it refuses those that it does not know yet."""
    absent = SEARCH_ATTRIBUTES.keys() - (await _listed(client)).keys()
    if absent:
        return f"not listed: {', '.join(sorted(absent))}"
    try:
        await client.count_workflows(" AND ".join(f"{name} = 'none'" for name in SEARCH_ATTRIBUTES))
    except RPCError as error:
        return error.message[:200]
    return None


def _spoken(kind: "IndexedValueType.ValueType") -> str:
    """INDEXED_VALUE_TYPE_KEYWORD_LIST -> KeywordList, as the `temporal` CLI writes it."""
    return "".join(part.capitalize() for part in IndexedValueType.Name(kind).removeprefix("INDEXED_VALUE_TYPE_").split("_"))
