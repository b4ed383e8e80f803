"""Which process a selector means, tried on real processes."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities import finding_processes
from activities.finding_processes import describe, find_process, refuse_if_untouchable, still_there, through_wrappers
from activities.subprocesses import Tool, running
from perfwright.models.cpu_profiling import Runtime
from perfwright.models.target import ProcessSelector
from tests.needs import needs

SERVER = "import socket,sys,time; s=socket.create_server(('127.0.0.1',0)); print(s.getsockname()[1],flush=True); sys.stdin.read()"
MAPS = finding_processes._maps


@contextmanager
def program(*argv: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.send_signal(signal.SIGCONT)
            process.kill()


@pytest.fixture
def server() -> Iterator[tuple[subprocess.Popen[str], int]]:
    with program(sys.executable, "-c", SERVER) as process:
        assert process.stdout
        yield process, int(process.stdout.readline())


def kind_of(trouble: pytest.ExceptionInfo[ApplicationError]) -> str:
    return str(trouble.value.type)


def test_found_by_port_and_by_pid_file(server: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    """The process that listens on a port is found, and the one whose pid stands in a file."""
    process, port = server
    assert find_process(ProcessSelector(port=port)).pid == process.pid
    (tmp_path / "server.pid").write_text(f"{process.pid}\n")
    assert find_process(ProcessSelector(pid_file=str(tmp_path / "server.pid"))).pid == process.pid


def test_python_is_told_from_what_it_maps(server: tuple[subprocess.Popen[str], int]) -> None:
    """Runtime and version are known without running or stopping the target."""
    found = describe(psutil.Process(server[0].pid))
    assert found.runtime == "python"
    assert found.runtime_version == f"CPython {sys.version_info.major}.{sys.version_info.minor}"
    assert found.own_namespace


def test_a_free_port_is_told() -> None:
    """Nothing listening is TargetGone, naming field and port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        with pytest.raises(ApplicationError, match=f"process.port: nothing listens on port {port}") as trouble:
            find_process(ProcessSelector(port=port))
    assert kind_of(trouble) == "TargetGone"


def test_an_exited_pid_is_told() -> None:
    """A pid without a process is TargetGone."""
    with program(sys.executable, "-c", "") as process:
        process.wait()
    with pytest.raises(ApplicationError, match=f"process.pid: no process {process.pid}") as trouble:
        find_process(ProcessSelector(pid=process.pid))
    assert kind_of(trouble) == "TargetGone"


def test_a_target_that_has_just_exited_is_no_kernel_thread(server: tuple[subprocess.Popen[str], int]) -> None:
    """A process that ended after it was found, reaped or not, has no program either: it is told that it exited."""
    found = describe(psutil.Process(server[0].pid))
    server[0].kill()
    while psutil.Process(found.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    for _ in range(2):
        with pytest.raises(ApplicationError, match=f"process {found.pid} .* exited while it was looked at") as trouble:
            refuse_if_untouchable(found)
        assert kind_of(trouble) == "TargetGone"
        server[0].wait()


@pytest.mark.parametrize("content", ["", "abc", "-5", "12 34"])
def test_a_pid_file_without_a_pid_is_told(content: str, tmp_path: Path) -> None:
    """Garbage in the file is InvalidInput, naming the file."""
    (tmp_path / "x.pid").write_text(content)
    with pytest.raises(ApplicationError, match=r"x\.pid does not hold a process id") as trouble:
        find_process(ProcessSelector(pid_file=str(tmp_path / "x.pid")))
    assert kind_of(trouble) == "InvalidInput"


def test_an_ambiguous_name_lists_the_candidates() -> None:
    """A name that fits unrelated processes is refused with their pids and what each runs."""
    marker = f"marker-{os.getpid()}"
    code = f"import sys; sys.stdin.read()  # {marker}"
    with program(sys.executable, "-c", code) as one, program(sys.executable, "-c", code) as two:
        with pytest.raises(ApplicationError, match="fits 2 unrelated processes") as trouble:
            find_process(ProcessSelector(name=marker))
        assert f"{one.pid} (python" in str(trouble.value) and f"{two.pid} (python" in str(trouble.value)
        assert "-c import sys" in str(trouble.value)


def test_a_server_with_workers_is_its_parent() -> None:
    """Of a process and the children it forked, the parent is meant."""
    marker = f"family-{os.getpid()}"
    code = f"import os,sys\nfor _ in range(2):\n  if not os.fork(): sys.stdin.read(); os._exit(0)\nprint('up',flush=True); sys.stdin.read()  # {marker}"
    with program(sys.executable, "-c", code) as parent:
        assert parent.stdout
        parent.stdout.readline()
        assert find_process(ProcessSelector(name=marker)).pid == parent.pid


def test_a_wrapper_is_looked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """`timeout 60 python ...` means the Python program; what each of them maps, megabytes of a large program, is read once."""
    read: list[int] = []

    def counted(pid: int) -> str | None:
        read.append(pid)
        return MAPS(pid)

    with program("timeout", "60", sys.executable, "-c", SERVER) as wrapper:
        assert wrapper.stdout
        wrapper.stdout.readline()
        with monkeypatch.context() as patch:
            patch.setattr(finding_processes, "_maps", counted)
            inner, note = through_wrappers(psutil.Process(wrapper.pid))
        assert sorted(read) == sorted({wrapper.pid, inner.pid})
        assert inner.pid != wrapper.pid
        assert describe(inner).runtime == "python"
        assert str(wrapper.pid) in note


def test_a_loop_is_no_wrapper(monkeypatch: pytest.MonkeyPatch) -> None:
    """A shell that starts one program after another is examined itself, whatever it runs just then, also when that ends meanwhile; one whose
    last program has run for most of its life is a wrapper of it, as an entry point script is."""
    turn = f"{sys.executable} -c 'print(0, flush=True); input()'"
    with program("sh", "-c", f"while true; do {turn}; done") as loop, monkeypatch.context() as patch:
        assert loop.stdout and loop.stdin
        patch.setattr(finding_processes, "MOMENT_S", 3_600.0)
        loop.stdout.readline()
        print(file=loop.stdin, flush=True)
        loop.stdout.readline()
        shell = psutil.Process(loop.pid)
        [child] = shell.children()
        inner, note = through_wrappers(shell)
        assert inner.pid == loop.pid and "starts programs, python" in note
        patch.setattr(finding_processes, "MOMENT_S", 0.0)
        patch.setattr(finding_processes, "MOST_OF_ITS_LIFE", 0.0)
        assert through_wrappers(shell)[0].pid == child.pid

        def ended(process: psutil.Process) -> tuple[Runtime, str]:
            if process.pid != loop.pid:
                raise psutil.NoSuchProcess(process.pid)
            return "native", ""

        patch.setattr(finding_processes, "runtime_of", ended)
        assert through_wrappers(shell) == (shell, "")


def test_a_stopped_target_is_refused_with_the_way_out(server: tuple[subprocess.Popen[str], int]) -> None:
    """Nothing attaches to a stopped process: attaching could continue or kill it."""
    process = server[0]
    process.send_signal(signal.SIGSTOP)
    while psutil.Process(process.pid).status() != psutil.STATUS_STOPPED:
        pass
    with pytest.raises(ApplicationError, match=f"kill -CONT {process.pid}") as trouble:
        refuse_if_untouchable(describe(psutil.Process(process.pid)))
    assert kind_of(trouble) == "TargetStopped"


def test_a_reused_pid_is_not_the_target(server: tuple[subprocess.Popen[str], int]) -> None:
    """A process that began at another time is another process, even with the same pid."""
    found = describe(psutil.Process(server[0].pid))
    assert still_there(found) is not None
    assert still_there(found.model_copy(update={"create_time_s": found.create_time_s - 5})) is None


async def test_our_own_tools_are_not_meant() -> None:
    """A load whose arguments have the target's name, its supervisor and what it starts are never taken for the target."""
    marker = f"shop-{os.getpid()}"
    load = Tool(
        [sys.executable, "-c", f"import os, time; os.fork(); time.sleep(60)  # {marker}"], limit_s=60, way_out="", title=f"load of {marker}"
    )
    with program(sys.executable, "-c", f"import sys; sys.stdin.read()  # {marker}") as target:
        async with running(load) as child:
            while not psutil.Process(child.pid).children():
                await asyncio.sleep(0.01)
            assert find_process(ProcessSelector(name=marker)).pid == target.pid
            target.kill()
            target.wait()
            with pytest.raises(ApplicationError, match="no process named") as trouble:
                find_process(ProcessSelector(name=marker))
    assert kind_of(trouble) == "TargetGone"


def test_who_follows_a_run_is_not_meant(tmp_path: Path) -> None:
    """`perfwright watch shop` in another terminal has the target's name in its command line as well."""
    marker = f"followed-{os.getpid()}"
    command = tmp_path / "perfwright"
    command.write_text("import sys; sys.stdin.read()")
    with (
        program(sys.executable, "-c", f"import sys; sys.stdin.read()  # {marker}") as target,
        program(sys.executable, str(command), "watch", marker),
    ):
        assert find_process(ProcessSelector(name=marker)).pid == target.pid


def test_a_stale_pid_file_is_told(server: tuple[subprocess.Popen[str], int], tmp_path: Path) -> None:
    """A program writes its pid after its start: one that began an hour later has only inherited the number."""
    process, _ = server
    file = tmp_path / "server.pid"
    file.write_text(f"{process.pid}\n")
    began_s = psutil.Process(process.pid).create_time()
    os.utime(file, (began_s - 3_600, began_s - 3_600))
    with pytest.raises(ApplicationError, match=f"was written 3600 s before process {process.pid} ") as trouble:
        find_process(ProcessSelector(pid_file=str(file)))
    assert kind_of(trouble) == "TargetGone"


@needs("perl")
def test_an_interpreter_behind_a_wrapper_is_told_by_its_name() -> None:
    """`timeout 60 perl ...` means the Perl program, and it is called so."""
    with program("timeout", "60", "perl", "-e", "$| = 1; print qq(ready\\n); <STDIN>;") as wrapper:
        assert wrapper.stdout
        wrapper.stdout.readline()
        inner, note = through_wrappers(psutil.Process(wrapper.pid))
        found = describe(inner)
    assert (found.runtime, found.runtime_version) == ("native", "Perl")
    assert inner.pid != wrapper.pid and "only wraps" in note
