"""A worker starts only where its search attributes can be relied on."""

import asyncio
from collections.abc import Iterator

import pytest
from temporalio.api.operatorservice.v1 import AddSearchAttributesRequest, ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.common import SearchAttributeKey, SearchAttributePair, TypedSearchAttributes

from starter.dev_server import start_dev_server
from starter.failures import CannotStart
from starter.search_attributes import KEYWORD, SEARCH_ATTRIBUTES, ensure_search_attributes
from tests.needs import needs, temporal_cli

pytestmark = needs("temporal")


@pytest.fixture
def bare_server() -> Iterator[str]:
    """A server where nothing is registered yet."""
    with start_dev_server(temporal_cli(), db=None, port=None, ui_port=None, ui=False) as server:
        yield server.address


async def test_they_are_registered_and_usable(bare_server: str) -> None:
    """After the check a run can be started with every one of them; checking again, and by two at once, changes nothing."""
    client = await Client.connect(bare_server)
    await asyncio.gather(ensure_search_attributes(client), ensure_search_attributes(client))
    await ensure_search_attributes(client)
    listed = await client.operator_service.list_search_attributes(ListSearchAttributesRequest(namespace="default"))
    assert {name: kind for name, kind in listed.custom_attributes.items() if name.startswith("Perf")} == SEARCH_ATTRIBUTES

    pairs = [
        SearchAttributePair(SearchAttributeKey.for_keyword(name), "x")
        if kind == KEYWORD
        else SearchAttributePair(SearchAttributeKey.for_keyword_list(name), ["x", "y"])
        for name, kind in SEARCH_ATTRIBUTES.items()
    ]
    await client.start_workflow("Anything", id="one", task_queue="nobody", search_attributes=TypedSearchAttributes(pairs))


async def test_another_type_is_refused(bare_server: str) -> None:
    """One that exists with another type is named with both types and the command that removes it, and is not overwritten."""
    client = await Client.connect(bare_server)
    await client.operator_service.add_search_attributes(
        AddSearchAttributesRequest(namespace="default", search_attributes={"PerfTarget": SEARCH_ATTRIBUTES["PerfPendingGates"]})
    )
    with pytest.raises(CannotStart, match=r"PerfTarget is KeywordList, Keyword is needed.*search-attribute remove .*--name PerfTarget"):
        await ensure_search_attributes(client)


async def test_a_namespace_that_is_not_there_is_told(bare_server: str) -> None:
    """The refusal names the namespace."""
    client = await Client.connect(bare_server, namespace="elsewhere")
    with pytest.raises(CannotStart, match="'elsewhere'"):
        await ensure_search_attributes(client, timeout_s=1)


async def test_each_namespace_has_its_own(bare_server: str) -> None:
    """A second namespace on the same server gets them as well."""
    client = await Client.connect(bare_server)
    request = RegisterNamespaceRequest(namespace="second")
    request.workflow_execution_retention_period.FromSeconds(86_400)
    await client.workflow_service.register_namespace(request)
    second = await Client.connect(bare_server, namespace="second")
    await ensure_search_attributes(second)
