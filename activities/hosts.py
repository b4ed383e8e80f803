"""Facts of the host that a worker runs on: machine, tools, and what may be traced."""

import asyncio
import os
import platform
import re
import shutil
import tempfile
from pathlib import Path

import psutil
from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.subprocesses import Tool, bundled, run
from perfwright.models.host import HostFacts

VERSION_LIMIT_S = 5.0
VERSION_QUESTIONS: dict[str, tuple[str, ...]] = {
    "py-spy": ("--version",),
    "perf": ("--version",),
    "java": ("-version",),
    "jcmd": ("-h",),
    "node": ("--version",),
    "gdb": ("--version",),
}
"""Tool -> what makes it tell its version; jcmd has none and only shows that it is there."""
CAPABILITIES = {"SYS_PTRACE": 19, "SYS_ADMIN": 21, "SYSLOG": 34, "PERFMON": 38, "BPF": 39}
"""Name -> bit, from linux/capability.h."""


class Hosts:
    """Answers for one host."""

    def __init__(self, host: str) -> None:
        self._host = host

    @activity.defn
    async def probe_host(self) -> HostFacts:
        """Kernel, CPU, memory, tools with versions, tracing permissions: proof that a worker polls this host's queues."""
        return await read_host_facts(self._host, identity=activity.client().identity)


async def read_host_facts(host: str, *, identity: str = "") -> HostFacts:
    """The same for other activities on the host; `identity` is that of the worker's client. Takes about half a second."""
    versions = await asyncio.gather(*(_version(name, arguments) for name, arguments in VERSION_QUESTIONS.items()))
    return HostFacts(
        host=host,
        kernel=f"{platform.system()} {platform.release()}",
        cpu_model=_cpu_model(),
        cpu_count=len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        memory_bytes=psutil.virtual_memory().total,
        software={name: version for name, version in zip(VERSION_QUESTIONS, versions, strict=True) if version},
        worker_identity=identity,
        worker_pid=os.getpid(),
        worker_version=f"{platform.python_implementation()} {platform.python_version()}",
        uid=os.geteuid(),
        capabilities=_capabilities(),
        yama_scope=_number(Path("/proc/sys/kernel/yama/ptrace_scope")),
        perf_event_paranoid=_number(Path("/proc/sys/kernel/perf_event_paranoid")),
        free_disk_bytes=shutil.disk_usage(tempfile.gettempdir()).free,
    )


async def _version(name: str, arguments: tuple[str, ...]) -> str:
    """Its first line with a version number; `present` when it tells none; empty when it is not installed or does not answer."""
    program = bundled(name)
    if shutil.which(program) is None:
        return ""
    try:
        told = await run(Tool([program, *arguments], limit_s=VERSION_LIMIT_S, way_out=f"Install {name}"))
    except ApplicationError:
        return ""
    if told.timed_out:
        return ""
    numbered = next((line for line in f"{told.stdout}\n{told.stderr}".splitlines() if re.search(r"\d+\.\d+", line)), "")
    if found := re.search(r"v?(\d+(?:\.\d+)+[\w.+-]*)", numbered):
        return found.group(1)
    return "present" if told.returncode == 0 else ""


def _cpu_model() -> str:
    """x86 says `model name`; other architectures only say what platform knows."""
    for line in _text(Path("/proc/cpuinfo")).splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "Model") and value.strip():
            return value.strip()
    return platform.processor() or platform.machine()


def _capabilities() -> tuple[str, ...]:
    found = re.search(r"^CapEff:\s*([0-9a-f]+)", _text(Path("/proc/self/status")), re.MULTILINE)
    bits = int(found.group(1), 16) if found else 0
    return tuple(sorted(name for name, bit in CAPABILITIES.items() if bits >> bit & 1))


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if re.fullmatch(r"-?\d+", text) else None


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
