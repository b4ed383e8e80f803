"""Small programs to examine: `python -m lab.programs NAME [--seconds 60] [--problems all] [-- ARGUMENT...]`.

`jvm`, `node` and `native` have one planted hot spot each, and take how many times their usual work to do (`-- 8`); `python-PATTERN` are the
patterns of `lab/patterns.py`. Compiles what needs it (kept in the user's cache folder, by content), prints one JSON line when the program
runs, and ends it when standard input closes.
"""

import argparse
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lab import problems
from lab.patterns import PATTERNS
from lab.starting import ROOT, NotStarted, Program, stop_by_signal, until_over

COMPILED = ("jvm", "node", "native")
NAMES = (*COMPILED, *(f"python-{pattern}" for pattern in PATTERNS))
LARGEST_SECONDS = 3_600.0
_BUILD_S = 120.0
_READY_S = 30.0


class NotBuilt(RuntimeError):
    """A program cannot be made here: its compiler or runtime is missing, or failed."""


@dataclass(frozen=True)
class Built:
    """A program that can run: what to write before and after the seconds."""

    head: tuple[str, ...]
    seconds_option: tuple[str, ...] = ()

    def command(self, seconds: float, arguments: Sequence[str] = ()) -> list[str]:
        return [*self.head, *self.seconds_option, f"{seconds:g}", *arguments]


def build(name: str) -> Built:
    """Makes the program if need be; NotBuilt says what is missing."""
    source = ROOT / "lab" / name
    match name:
        case "jvm":
            classes = _compiled(source, "*.java", [_tool("javac", "default-jdk-headless"), "-g", "-d"])
            # as teams start services that they profile: without it, the positions of inlined code are not kept
            exact = ("-XX:+UnlockDiagnosticVMOptions", "-XX:+DebugNonSafepoints")
            # in one start of ten the compiler put the planted method into its caller and said that all of its time is the caller's
            apart = ("-XX:CompileCommand=quiet", "-XX:CompileCommand=dontinline,ArticleFeed::distinctInList")
            return Built((_tool("java", "default-jre-headless"), *exact, *apart, "-Xmx128m", "-cp", str(classes), "ArticleFeed"))
        case "gc-jvm":
            classes = _compiled(ROOT / "lab" / "gc" / "jvm", "*.java", [_tool("javac", "default-jdk-headless"), "-g", "-d"])
            return Built((_tool("java", "default-jre-headless"), "-XX:+UseG1GC", "-Xmx64m", "-cp", str(classes), "PriceLists"))
        case "node":
            return Built((_tool("node", "nodejs"), str(source / "prices.js")))
        case "native":
            flags = ["-O2", "-g", "-fno-omit-frame-pointer", "-o"]
            return Built((str(_compiled(source, "*.c", [_tool("gcc", "gcc"), *flags], output="bookings")),))
        case _ if name in NAMES:
            return Built((sys.executable, str(ROOT / "lab" / "patterns.py"), name.removeprefix("python-")), ("--seconds",))
    raise NotBuilt(f"unknown program {name}; allowed are {', '.join(NAMES)}")


def start(name: str, seconds: float, environment: Mapping[str, str] | None = None, arguments: Sequence[str] = ()) -> Program:
    """The running program, once it works; its pid is the program's own, not a launcher's."""
    program = Program(build(name).command(seconds, arguments), environment)
    told = program.first_line(_READY_S)
    if told != "ready":
        raise NotStarted(f"{name} said {told!r} instead of ready; stopped with status {program.stop()}")
    return program


def _tool(name: str, package: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise NotBuilt(f"{name} is not installed; the Debian package is {package}")
    return found


def _compiled(folder: Path, pattern: str, compiler: list[str], output: str = "") -> Path:
    """What `compiler` makes of the sources: the file `output`, or the folder of everything. Builds do not disturb each other."""
    sources = sorted(folder.glob(pattern))
    digest = hashlib.sha256(repr(compiler).encode())
    for file in sorted(folder.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "perfwright" / "lab"
    made = cache / f"{folder.name}-{digest.hexdigest()[:16]}"
    if not made.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            out = Path(scratch) / "made"
            out.mkdir()
            command = [*compiler, str(out / output), *map(str, sources)]
            done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_BUILD_S, check=False)
            if done.returncode != 0:
                raise NotBuilt(f"{Path(compiler[0]).name} could not make {folder.name}: {done.stderr[-2_000:]}")
            try:
                out.rename(made)
            except OSError:
                if not made.exists():
                    raise
    return made / output


def main() -> int:
    parser = argparse.ArgumentParser(prog="lab.programs", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--seconds", type=float, default=60.0, help="the program ends after so many (default %(default)s)")
    parser.add_argument("--problems", default=os.environ.get(problems.VARIABLE, "all"), help="all, none, or names with commas")
    given = sys.argv[1:]
    end = given.index("--") if "--" in given else len(given)
    options, arguments = parser.parse_args(given[:end]), given[end + 1 :]
    if not 0 < options.seconds <= LARGEST_SECONDS:
        parser.error(f"--seconds: more than 0 and at most {LARGEST_SECONDS:g} is allowed")
    try:
        problems.chosen(options.problems)
    except ValueError as error:
        parser.error(str(error))
    stop_by_signal()
    program = start(options.name, options.seconds, {problems.VARIABLE: options.problems}, arguments)
    try:
        print(json.dumps({"ready": True, "program": options.name, "pid": program.pid}), flush=True)
        return until_over([program])
    finally:
        program.stop()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotStarted, NotBuilt) as error:
        sys.exit(f"lab.programs: {error}")
