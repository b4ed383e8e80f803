"""One line, with the way out, for each way in which a connection cannot be had."""

import os
from pathlib import Path

import pytest

from starter.connection import connect, load_connection
from starter.failures import CannotStart
from starter.up_state import UpState, own_start_s, remove_state, running_up, with_running_up, write_state


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"TEMPORAL_ADDRESS": "127.0.0.1:1"}, "no Temporal server answers at 127.0.0.1:1"),
        ({"TEMPORAL_ADDRESS": "not an address"}, "not an address"),
    ],
)
async def test_a_server_that_is_not_there(environ: dict[str, str], told: str) -> None:
    """The address is named, and how to start a server or choose another."""
    with pytest.raises(CannotStart, match=told) as refused:
        await connect(config=load_connection(environ))
    assert "perfwright up" in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("environ", "text", "told"),
    [
        ({"TEMPORAL_CONFIG_FILE": "{file}"}, None, "is not there"),
        ({"TEMPORAL_CONFIG_FILE": "{file}"}, "[profile.default\n", "cannot be read"),
        ({"TEMPORAL_CONFIG_FILE": "{file}", "TEMPORAL_PROFILE": "staging"}, "[profile.default]\n", "'staging' not found"),
    ],
)
def test_settings_that_cannot_be_read(tmp_path: Path, environ: dict[str, str], text: str | None, told: str) -> None:
    """A file that is missing, broken, or lacks the profile is an error, not silently the default server."""
    file = tmp_path / "temporal.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(CannotStart, match=told):
        load_connection({name: value.format(file=file) for name, value in environ.items()})


async def test_a_namespace_that_is_not_there(temporal_server: str) -> None:
    """The namespace is named with the command that makes it."""
    with pytest.raises(CannotStart, match=r"'elsewhere' is not there.*namespace create --namespace elsewhere"):
        await connect(config=load_connection({"TEMPORAL_ADDRESS": temporal_server, "TEMPORAL_NAMESPACE": "elsewhere"}))


async def test_a_profile_is_followed(temporal_server: str, tmp_path: Path) -> None:
    """The same file and variables that the `temporal` CLI reads lead to the server."""
    file = tmp_path / "temporal.toml"
    file.write_text(f'[profile.here]\naddress = "{temporal_server}"\n')
    client = await connect(config=load_connection({"TEMPORAL_CONFIG_FILE": str(file), "TEMPORAL_PROFILE": "here"}))
    assert client.namespace == "default"


def test_what_is_up_here_is_found(tmp_path: Path) -> None:
    """Where nothing else is chosen, commands use the server that `perfwright up` runs in this folder; a dead one is not used."""
    state = UpState(pid=os.getpid(), started_s=own_start_s(), address="127.0.0.1:4711", ui="http://127.0.0.1:4712", worker_pid=1)
    write_state(state, tmp_path)
    assert running_up(tmp_path) == state
    assert load_connection(with_running_up({}, tmp_path))["target_host"] == "127.0.0.1:4711"
    assert with_running_up({"TEMPORAL_ADDRESS": "db:7233"}, tmp_path) == {"TEMPORAL_ADDRESS": "db:7233"}

    write_state(state.model_copy(update={"started_s": 0.0}), tmp_path)
    assert running_up(tmp_path) is None and with_running_up({}, tmp_path) == {}
    remove_state(tmp_path)
    assert list(tmp_path.iterdir()) == []
