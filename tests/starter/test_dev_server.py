"""The development server: its ports, its file, its end."""

import os
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from temporalio.client import Client

from starter.dev_server import DevServer, start_dev_server
from starter.failures import CannotStart
from starter.ports import free_ports
from tests.needs import needs, temporal_cli

pytestmark = needs("temporal")

Start = Callable[..., DevServer]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start servers on free ports and stop them after the test."""
    servers: list[DevServer] = []

    def start(**options: object) -> DevServer:
        defaults = {"db": tmp_path / "temporal.db", "port": None, "ui_port": None, "ui": False}
        servers.append(start_dev_server(temporal_cli(), **(defaults | options)))
        return servers[-1]

    yield start
    for server in servers:
        server.stop()


async def test_a_kill_keeps_every_run(start: Start, tmp_path: Path) -> None:
    """kill -9 of the server and a start on the same file: what was started before is still there."""
    first = start()
    client = await Client.connect(first.address)
    await client.start_workflow("Anything", id="kept", task_queue="nobody")
    os.kill(first.pid, signal.SIGKILL)
    assert first.child.wait_ended(30)
    first.stop()

    second = start()
    client = await Client.connect(second.address)
    assert (await client.get_workflow_handle("kept").describe()).id == "kept"


def test_two_servers_run_side_by_side_but_never_on_one_file(start: Start, tmp_path: Path) -> None:
    """A second server on the same database file is refused with the option that changes it; on another file it starts."""
    one = start()
    with pytest.raises(CannotStart, match=r"temporal\.db is in use by another server.*--db"):
        start()
    other = start(db=tmp_path / "other.db")
    assert one.address != other.address


def test_a_taken_port_is_named_with_its_holder_and_option(start: Start) -> None:
    """Who holds a port is told, for every taken port at once, with the option that changes it."""
    with socket.socket() as one, socket.socket() as two:
        for taken in (one, two):
            taken.bind(("127.0.0.1", 0))
            taken.listen()
        port, ui_port = one.getsockname()[1], two.getsockname()[1]
        with pytest.raises(CannotStart) as refused:
            start(port=port, ui_port=ui_port, ui=True)
    text = str(refused.value)
    for part in (f"port {port} (Temporal server)", f"port {ui_port} (Temporal UI)", f"pid {os.getpid()}", "--port", "--ui-port"):
        assert part in text


def test_one_port_for_both_is_refused(start: Start) -> None:
    """The same port for server and UI is a mistake that is told before anything starts."""
    port = free_ports(1)[0]
    with pytest.raises(CannotStart, match="asked for twice"):
        start(port=port, ui_port=port, ui=True)


def test_a_file_that_cannot_be_written_is_told(start: Start, tmp_path: Path) -> None:
    """A database below something that is no folder is refused with the option that changes it."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match=r"cannot be written.*--db"):
        start(db=tmp_path / "file" / "temporal.db")


def test_a_file_that_is_no_database_is_told(start: Start, tmp_path: Path) -> None:
    """A server that ends at once is quoted instead of waited for."""
    (tmp_path / "temporal.db").write_text("this is not a database, and it is long enough to be one" * 100)
    with pytest.raises(CannotStart, match=r"Temporal server ended with exit code 1; its last lines:\n.*not a database"):
        start()
