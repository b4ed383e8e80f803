"""The subprocess kit with real processes: what a run gives, and what is refused before or during it."""

import asyncio
import os
import signal
from pathlib import Path

import psutil
import pytest
from temporalio.exceptions import ApplicationError

from activities.subprocesses import Tool, bundled, run, running
from perfwright.models.errors import ErrorType
from tests.activities.tool_programs import STUBBORN, children, gone, python, refused_as, soon


class TestResult:
    async def test_streams_exit_code_and_usage(self) -> None:
        """Output, exit code, CPU time, peak memory and wall time are those of the tool."""
        code = "import sys, time; x = b'x' * 60_000_000; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass\n"
        result = await run(python(code + "print('out'); print('err', file=sys.stderr); sys.exit(3)"))
        assert (result.stdout, result.stderr, result.returncode, result.signal) == ("out\n", "err\n", 3, None)
        assert 0.2 <= result.cpu_s < 30
        assert 60_000_000 < result.peak_rss_bytes < 300_000_000
        assert result.wall_s > 0.15
        assert not (result.timed_out or result.stopped or result.left_over)

    async def test_cpu_of_descendants_counts(self) -> None:
        """Work done by a child that nobody waited for is counted as well."""
        burn = "import os, time\nif os.fork() == 0:\n    while time.process_time() < 0.3: pass\n    os._exit(0)\ntime.sleep(0.05)"
        result = await run(python(burn, stop_grace_s=20))
        assert result.left_over == 1
        assert result.cpu_s > 0.02

    async def test_signal_is_told(self) -> None:
        """A tool that is killed by a signal is told as such, and is no success."""
        result = await run(python("import os; os.kill(os.getpid(), 11)"))
        assert (result.returncode, result.signal) == (-11, 11)
        with pytest.raises(ApplicationError, match="Segmentation") as error:
            result.require_success()
        assert refused_as(error) == ErrorType.TOOL_FAILED

    async def test_failure_quotes_stderr(self) -> None:
        """The error of a failed tool holds the end of what it said, and its exit code."""
        result = await run(python("import sys; print('no such pid', file=sys.stderr); sys.exit(7)"))
        with pytest.raises(ApplicationError, match=r"exit code 7: no such pid\. ask again"):
            result.require_success(way_out="ask again")
        assert result.require_success(codes=(0, 7)) is result

    async def test_standard_input(self) -> None:
        """Bytes given as standard input are read to their end, also more than a pipe holds."""
        result = await run(python("import sys; print(len(sys.stdin.buffer.read()))", stdin=b"x" * 300_000))
        assert result.stdout == "300000\n"
        assert (await run(python("import sys; print(sys.stdin.read() == '')"))).stdout == "True\n"

    async def test_starts_with_default_signals_and_only_three_files(self) -> None:
        """The tool inherits neither ignored or blocked signals nor open files of the worker."""
        result = await run(Tool(["sh", "-c", "grep -E 'Sig(Blk|Ign)' /proc/self/status; ls /proc/self/fd"], limit_s=20, way_out=""))
        lines = result.stdout.split()
        of_libc = 0b11 << 31  # 32 and 33: no program may set them, so they stay as whoever started us left them
        assert [lines[0], lines[2]] == ["SigBlk:", "SigIgn:"]
        assert [int(mask, 16) & ~of_libc for mask in (lines[1], lines[3])] == [0, 0]
        assert lines[4:] == ["0", "1", "2", "3"]  # 3 is the folder that ls itself reads


class TestStart:
    @pytest.mark.parametrize("name", ["no-such-tool-anywhere", "/no/such/tool", "./here/not"])
    async def test_missing_tool_names_what_installs_it(self, name: str) -> None:
        """A tool that is not installed is refused with the package that brings it."""
        with pytest.raises(ApplicationError, match="pip install it") as error:
            await run(Tool([name], limit_s=5, way_out="pip install it"))
        assert refused_as(error) == ErrorType.TOOL_MISSING
        assert error.value.non_retryable

    async def test_not_executable(self, tmp_path: Path) -> None:
        """A file without execute permission and a file that is no program are refused, not handed to a shell."""
        plain = tmp_path / "plain"
        plain.write_text("echo run by a shell")
        with pytest.raises(ApplicationError, match="may not be executed"):
            await run(Tool([str(plain)], limit_s=5, way_out=""))
        plain.chmod(0o755)
        with pytest.raises(ApplicationError, match="Exec format error") as error:
            await run(Tool([str(plain)], limit_s=5, way_out=""))
        assert refused_as(error) == ErrorType.TOOL_MISSING

    async def test_directory(self, tmp_path: Path) -> None:
        """The tool starts in its directory, relative programs are found there, and a missing directory is named."""
        assert (await run(Tool(["pwd"], limit_s=5, way_out="", directory=tmp_path))).stdout.strip() == str(tmp_path)
        (tmp_path / "here").symlink_to("/bin/pwd")
        assert (await run(Tool(["./here"], limit_s=5, way_out="", directory=tmp_path))).returncode == 0
        with pytest.raises(ApplicationError, match="absent") as error:
            await run(Tool(["true"], limit_s=5, way_out="", directory=tmp_path / "absent"))
        assert refused_as(error) == ErrorType.INVALID_INPUT

    @pytest.mark.parametrize("argument", ["a\0b", "x" * 200_000])
    async def test_impossible_arguments(self, argument: str) -> None:
        """Arguments that the kernel cannot pass are bad input."""
        with pytest.raises(ApplicationError) as error:
            await run(Tool(["true", argument], limit_s=5, way_out=""))
        assert refused_as(error) == ErrorType.INVALID_INPUT

    async def test_no_shell(self) -> None:
        """Arguments reach the tool as they are."""
        nasty = ["$(id)", "; id", "*", "`id`", "a b", "", "naïve \udcff"]
        result = await run(python("import sys; print([a.encode(errors='surrogateescape') for a in sys.argv[1:]])", *nasty))
        assert result.stdout.strip() == str([word.encode(errors="surrogateescape") for word in nasty])

    async def test_environment_is_clean(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """No variable of the worker reaches a tool unless it is allowed or passed."""
        for name in ("PERFWRIGHT_STORE", "SHOP_DSN", "TEMPORAL_API_KEY", "AWS_SECRET_ACCESS_KEY", "PGPASSWORD", "PYTHONPATH", "LD_PRELOAD"):
            monkeypatch.setenv(name, "secret")
        monkeypatch.setenv("LC_TIME", "C")
        result = await run(Tool(["env"], limit_s=5, way_out="", environment={"LD_BIND_NOW": "1", "GREETING": "hello\nyou"}))
        assert "secret" not in result.stdout
        assert "GREETING=hello\nyou\n" in result.stdout
        assert "LC_TIME=C\n" in result.stdout
        assert "secret" not in repr(Tool(["env"], limit_s=5, way_out="", environment={"A": "secret"}))

    async def test_bundled(self) -> None:
        """A tool installed with the worker is found although its folder is not on PATH."""
        assert Path(bundled("py-spy")).is_absolute()
        assert bundled("no-such-tool") == "no-such-tool"


class TestOutput:
    async def test_huge_output_is_dropped_in_the_middle(self) -> None:
        """Two hundred megabytes of output are drained without being held in memory; head and tail are kept, the loss is told."""
        me, largest = psutil.Process(), 0

        def watch(elapsed_s: float, progress: object) -> None:
            nonlocal largest
            largest = max(largest, me.memory_info().rss)

        before = me.memory_info().rss
        code = "import sys; w = sys.stdout.write; w('first'); [w('x' * 1_000_000) for _ in range(200)]; w('last')"
        result = await run(python(code, keep_bytes=1000), heartbeat=watch)
        watch(0, None)
        assert result.stdout_dropped_bytes == 200_000_009 - 1000
        assert result.stdout.startswith("firstxx")
        assert result.stdout.endswith("xxlast")
        assert "199999009 bytes dropped" in result.stdout
        assert len(result.stdout) < 1100
        assert largest - before < 50_000_000

    @pytest.mark.parametrize("length", [0, 9, 10, 11, 25])
    async def test_kept_output_is_exact_at_the_limit(self, length: int) -> None:
        """Up to the limit all of it is kept; beyond, exactly the first and last half."""
        said = "".join(chr(65 + i) for i in range(length))
        result = await run(Tool(["printf", "%s", said], limit_s=5, way_out="", keep_bytes=10))
        assert result.stdout == (said if length <= 10 else f"{said[:5]}\n[... {length - 10} bytes dropped ...]\n{said[-5:]}")

    async def test_lines_while_it_runs(self) -> None:
        """Lines are handed on as they come, the last one without its newline too, and an endless line is cut."""
        lines: list[tuple[str, str]] = []
        code = "import sys; print('one\\r'); print('two', file=sys.stderr); sys.stdout.write('y' * 1_000_000 + '\\nend')"
        await run(python(code), on_line=lambda stream, line: lines.append((stream, line)))
        assert [line for stream, line in lines if stream == "stderr"] == ["two"]
        one, endless, end = [line for stream, line in lines if stream == "stdout"]
        assert (one, end) == ("one", "end")
        assert set(endless) == {"y"}
        assert len(endless) <= 65_536

    async def test_line_callback_that_fails_stops_the_tool(self) -> None:
        """What a line callback raises is raised, and the tool is gone."""
        pid = 0

        def fail(stream: str, line: str) -> None:
            nonlocal pid
            pid = int(line)
            raise LookupError("unexpected line")

        with pytest.raises(LookupError, match="unexpected line"):
            await run(python("import os, time; print(os.getpid(), flush=True); time.sleep(600)"), on_line=fail)
        assert gone(pid)

    @pytest.mark.parametrize("how", ["file", "folder", "stdout"])
    async def test_output_file_limit(self, tmp_path: Path, how: str) -> None:
        """A tool that writes more than its limit, into a file, a folder or standard output, is killed while it does."""
        out = tmp_path / "out"
        code = "import os, sys, time\nif len(sys.argv) > 1: f = open(sys.argv[1], 'wb', 0)\nelse: f = os.fdopen(1, 'wb', 0)\n"
        code += "f.write(b'x' * 20_000)\ntime.sleep(600)"
        bounds: dict[str, object] = {"output_limit_bytes": 10_000}
        if how == "stdout":
            tool = python(code, **bounds, stdout_file=out)
        elif how == "file":
            tool = python(code, str(out), **bounds, output_files=[out])
        else:
            tool = python(code, str(out), **bounds, output_files=[tmp_path])
        with pytest.raises(ApplicationError, match=r"20,000 bytes, its limit is 10,000") as error:
            await run(tool)
        assert refused_as(error) == ErrorType.OUTPUT_TOO_LARGE

    async def test_output_file_limit_holds_for_a_quick_tool(self, tmp_path: Path) -> None:
        """A tool that overran its limit and ended before anybody looked is refused as well."""
        tool = python("print('x' * 20_000)", stdout_file=tmp_path / "out", output_limit_bytes=10_000)
        with pytest.raises(ApplicationError, match="its limit is"):
            await run(tool)

    async def test_standard_output_into_a_file(self, tmp_path: Path) -> None:
        """Standard output can go straight into a file."""
        result = await run(python("print('x' * 500_000)", stdout_file=tmp_path / "out"))
        assert (tmp_path / "out").stat().st_size == 500_001
        assert result.stdout == ""


class TestHeartbeat:
    async def test_progress_and_async_callback(self) -> None:
        """The callback may be async and gets elapsed seconds and the caller's progress, from the start."""
        beats: list[tuple[float, object]] = []

        async def beat(elapsed_s: float, progress: object) -> None:
            beats.append((elapsed_s, progress))

        await run(python("import time; time.sleep(1.2)"), heartbeat=beat, progress=lambda: {"samples": len(beats)})
        assert beats[0] == (0.0, {"samples": 0})
        assert beats[1][1] == {"samples": 1}
        assert 0 < beats[1][0] < 60

    async def test_failing_callback_stops_the_tool(self) -> None:
        """What the progress callback raises is raised, after the tool is gone."""
        others = children()
        async with asyncio.timeout(30):
            with pytest.raises(ZeroDivisionError):
                await run(python("import time; time.sleep(600)"), heartbeat=lambda *_: None, progress=lambda: 1 / 0)
        assert children() <= others


class TestRunning:
    async def test_pid_is_the_programs_own(self) -> None:
        """The pid is that of the program, leader of its own session; signals reach it; leaving the block ends it."""
        code = "import os, signal, time; signal.signal(signal.SIGUSR1, lambda *_: os.write(1, b'hello')); print('ready', flush=True)\nwhile True: time.sleep(1)"
        async with running(python(code)) as child:
            await soon(lambda: "ready" in child.stdout)
            assert psutil.Process(child.pid).cmdline()[-1] == code
            assert os.getsid(child.pid) == child.pid
            child.send_signal(signal.SIGUSR1)
            await soon(lambda: "hello" in child.stdout)
            assert not child.ended
        assert child.ended
        assert gone(child.pid)

    async def test_left_by_an_exception(self) -> None:
        """An exception in the block ends the child and goes on."""
        with pytest.raises(LookupError):
            async with running(python(STUBBORN)) as child:
                raise LookupError
        assert gone(child.pid)

    async def test_wait_can_be_given_up(self) -> None:
        """Giving up waiting does not disturb the child."""
        async with running(python("import time; time.sleep(0.5); print('done')")) as child:
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.01):
                    await child.wait()
            assert (await child.wait()).stdout == "done\n"
            assert (await child.stop()).returncode == 0

    async def test_overrun_is_told_at_the_end_of_the_block(self, tmp_path: Path) -> None:
        """A child that was killed for its output is not passed over in silence, even if nobody waited for it."""
        with pytest.raises(ApplicationError, match="its limit is"):
            async with running(python("print('x' * 20_000)", stdout_file=tmp_path / "out", output_limit_bytes=10)) as child:
                await soon(lambda: child.ended)
