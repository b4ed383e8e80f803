import socket
import sys
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from perfwright.models.registry import parse_registry
from starter.discovery import FoundContainer, FoundProcess, listening_processes
from starter.registry_draft import draft_registry
from tests.starter.conftest import Command

LISTENER = (
    "import socket,sys; s=socket.socket(); s.bind(('127.0.0.1',0)); s.listen(); print(s.getsockname()[1],flush=True); sys.stdin.read()"
)

processes = st.builds(
    FoundProcess,
    pid=st.integers(1, 99_999),
    program=st.text(max_size=30),
    ports=st.lists(st.integers(1, 65_535), min_size=1, max_size=4, unique=True).map(tuple),
    command=st.text(st.characters(exclude_categories=("Cc", "Cs", "Zl", "Zp")), max_size=60),
    kind=st.sampled_from(["process", "postgresql", "mysql", "cache"]),
    scheme=st.sampled_from(["redis", "memcached"]),
    folder=st.text(st.characters(exclude_categories=("Cs",)), max_size=60),
)
containers = st.builds(FoundContainer, name=st.text(max_size=20), image=st.text(max_size=20), ports=st.just((80,)))


@given(st.lists(processes, max_size=6), st.lists(containers, max_size=3))
def test_every_draft_is_a_valid_registry(found: list[FoundProcess], beside: list[FoundContainer]) -> None:
    """Whatever programs are called and wherever they run, what init writes is read without a mistake, one target for each."""
    usable = [one for one in found if one.folder == "" or len(one.folder) <= 4_096]
    assert len(parse_registry(draft_registry(usable, beside)).targets) == len(usable)


async def test_init_finds_what_listens_and_never_overwrites(command: Command, folder: Path) -> None:
    """A program that listens becomes a target by its port; a registry that is there stays unless it is asked for."""
    import asyncio

    program = await asyncio.create_subprocess_exec(
        sys.executable, "-c", LISTENER, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, cwd=folder
    )
    assert program.stdout is not None and program.stdin is not None
    try:
        port = int(await program.stdout.readline())
        printed = await command("init", "--stdout")
        assert not (folder / "perfwright.toml").exists()
        written = await command("init")
        assert written.code == 0, written.err
        text = (folder / "perfwright.toml").read_text()
        (target,) = [one for one in parse_registry(text).targets.values() if one.process and one.process.port == port]
        assert target.environment == "lab" and f"port = {port}" in printed.out
        again = await command("init")
        assert again.code == 2 and "is there already" in again.err
        assert (await command("init", "--force")).code == 0
    finally:
        program.stdin.close()
        await program.wait()


def test_only_listeners_are_found() -> None:
    """A connected or closed port is no target, and neither are we."""
    with socket.socket() as ours:
        ours.bind(("127.0.0.1", 0))
        ours.listen()
        assert ours.getsockname()[1] not in [port for one in listening_processes() for port in one.ports]
