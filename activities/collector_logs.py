"""The logs of collectors: what makes a program write them, and what it wrote.

Both runtimes are asked at once, because a command does not tell which one it starts: CPython by an agent on PYTHONPATH, HotSpot (9 and
newer) by JAVA_TOOL_OPTIONS. Neither changes how anything is collected.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from perfwright.analysis.gc.jvm_log import read_jvm_log
from perfwright.analysis.gc.pauses import within
from perfwright.analysis.gc.python_log import read_python_log
from perfwright.models.gc_tuning import CollectorFacts, Pause

AGENT_FOLDER = str(Path(__file__).resolve().parent / "gc_agent")
LOG_VARIABLE = "PERFWRIGHT_GC_LOG"
PYTHON_PATH, JAVA_OPTIONS = "PYTHONPATH", "JAVA_TOOL_OPTIONS"
JVM_LOG_BYTES = 32 << 20
MOST_LOGS = 64
"""Processes of one service whose logs are read."""


@dataclass(frozen=True)
class Collected:
    """What all processes of a service wrote."""

    facts: CollectorFacts
    pauses: tuple[Pause, ...]
    processes: int
    """Those that collected anything."""
    dropped: int

    def within(self, begin_s: float, end_s: float) -> list[Pause]:
        return within(self.pauses, begin_s, end_s)


def with_agent(python_path: str) -> str:
    """PYTHONPATH with the agent in front."""
    others = [one for one in python_path.split(os.pathsep) if one and one != AGENT_FOLDER]
    return os.pathsep.join([AGENT_FOLDER, *others])


def logging_environment(folder: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """Variables that make the programs below write their logs into `folder`; what the command has of them already is kept."""
    log = f"-Xlog:gc*,safepoint:file={folder}/jvm-%p.log:tn,tags:filecount=1,filesize={JVM_LOG_BYTES >> 20}m"
    return {
        PYTHON_PATH: with_agent(environment.get(PYTHON_PATH, "")),
        LOG_VARIABLE: str(folder),
        JAVA_OPTIONS: f"{environment.get(JAVA_OPTIONS, '')} {log}".strip(),
    }


def read_logs(folder: Path) -> Collected | None:
    """All logs in the folder; None where no program of a known runtime wrote one. A JVM comes before the scripts around it."""
    jvm = [read_jvm_log(_text(file).split("\n")) for file in _files(folder, "jvm-*.log*")]
    if jvm:
        busiest = max(jvm, key=lambda one: len(one[0]))
        pauses = tuple(pause for one, _ in jvm for pause in one)
        return Collected(busiest[1], pauses, max(1, sum(bool(one) for one, _ in jvm)), 0)
    python = [read_python_log(_text(file)) for file in _files(folder, "gc-*.jsonl")]
    if not python:
        return None
    log = max(python, key=lambda one: len(one.pauses))
    pauses = tuple(pause for one in python for pause in one.pauses)
    total_ms = sum(pause.ms for pause in pauses)
    full_ms = sum(pause.ms for pause in pauses if pause.cause == "full generation")
    facts = CollectorFacts(
        runtime="python",
        version=log.version,
        collector="CPython",
        thresholds=log.thresholds,
        full_share=full_ms / total_ms if total_ms else None,
    )
    return Collected(facts, pauses, max(1, sum(bool(one.pauses) for one in python)), sum(one.dropped for one in python))


def _files(folder: Path, pattern: str) -> Sequence[Path]:
    return sorted(folder.glob(pattern))[:MOST_LOGS]


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        return opened.read(2 * JVM_LOG_BYTES).rstrip(b"\0").decode("utf-8", "replace")
