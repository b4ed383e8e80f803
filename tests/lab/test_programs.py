import json
import signal
import subprocess
import sys

import psutil
import pytest

from lab.patterns import PATTERNS
from lab.programs import build
from lab.starting import ROOT
from tests.lab.processes import ended, until
from tests.needs import needs

NEEDED = {"jvm": "java", "node": "node", "native": "gcc"}


def _started(name: str, *options: str) -> tuple[subprocess.Popen[str], int]:
    command = [sys.executable, "-m", "lab.programs", name, "--seconds", "60", *options]
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    told = json.loads(process.stdout.readline())
    assert (told["ready"], told["program"]) == (True, name)
    return process, told["pid"]


@pytest.mark.parametrize(
    "name", [*(pytest.param(name, marks=needs(tool)) for name, tool in NEEDED.items()), *(f"python-{p}" for p in PATTERNS)]
)
def test_programs_run_and_end_with_their_starter(name: str) -> None:
    """The pid told is the program's own; program and children end when the starter is killed."""
    process, pid = _started(name)
    try:
        program = psutil.Process(pid)
        assert (psutil.Process(process.pid).children()) == [program]
        everyone = [pid, *(child.pid for child in program.children(recursive=True))]
        assert len(everyone) == (3 if name == "python-forks" else 1)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    assert until(lambda: all(ended(pid) for pid in everyone))


def test_closing_the_input_ends_a_program() -> None:
    """Who holds the starter's input ends the program by letting go."""
    process, pid = _started("python-io")
    with process:
        process.stdin.close()
        assert process.wait(10) == 0
    assert until(lambda: ended(pid))


def test_a_program_ends_by_itself(tmp_path) -> None:
    """Every program has an end, and shows the work that it did on the way."""
    progress = tmp_path / "progress"
    command = build("python-threads").command(0.3, ["--threads", "25", "--progress", str(progress)])
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ready\n", "")
    assert int.from_bytes(progress.read_bytes(), "little") > 0


def test_idle_threads_are_as_many_as_asked() -> None:
    """`threads` has its idle threads beside the one that works."""
    process, pid = _started("python-threads", "--", "--threads", "150")
    try:
        assert psutil.Process(pid).num_threads() == 151
    finally:
        process.communicate()
    assert until(lambda: ended(pid))


@needs("gcc")
def test_native_versions_are_equal() -> None:
    """Both ways to total bookings give equal results."""
    program = build("native").head[0]
    assert subprocess.run([program, "check"], timeout=30).returncode == 0


@needs("node")
def test_node_versions_are_equal() -> None:
    """Both ways to find the cheapest price give equal results."""
    script = """
    const { cheapestByScan, cheapestByKey } = require("./lab/node/prices.js");
    const rows = Array.from({ length: 500 }, (_, i) => ({ article: `A${(i * 7919) % 83}`, cents: (i * 104729) % 997 }));
    require("assert").deepStrictEqual(cheapestByScan(rows), cheapestByKey(rows));
    """
    subprocess.run(["node", "-e", script], cwd=ROOT, check=True, timeout=30)


@needs("java")
def test_jvm_versions_are_equal(tmp_path) -> None:
    """Both ways to find the distinct articles give equal results."""
    (tmp_path / "Check.java").write_text(
        """
        public class Check {
            public static void main(String[] arguments) throws Exception {
                var names = new java.util.ArrayList<String>();
                for (int i = 0; i < 500; i++) names.add("ART-" + (i * 7919) % 83);
                var feed = Class.forName("ArticleFeed");
                Object[] made = new Object[2];
                for (int i = 0; i < 2; i++) {
                    var way = feed.getDeclaredMethod(i == 0 ? "distinctInList" : "distinctInSet", java.util.List.class);
                    way.setAccessible(true);
                    made[i] = way.invoke(null, names);
                }
                System.exit(made[0].equals(made[1]) ? 0 : 1);
            }
        }
        """
    )
    *start, _ = build("jvm").head
    assert subprocess.run([*start, str(tmp_path / "Check.java")], timeout=60).returncode == 0


@pytest.mark.parametrize("options", [["jvm", "--seconds", "1e9"], ["cobol"], ["node", "--problems", "nothing"]])
def test_mistakes_are_refused(options: list[str]) -> None:
    """A mistake is told before anything starts."""
    done = subprocess.run([sys.executable, "-m", "lab.programs", *options], cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert (done.returncode, done.stdout) == (2, "")
