"""Profiles drawn as text, for tests of the analysis: one stack a line, root to leaf, then its samples per block.

    main app.py:1 > handle app.py:5 > compile RE:200    30

`RE`, `JSON` and so on are short for files of the standard library (`STDLIB`), `LIB/x.py` for an installed package, `C` for compiled code,
`K` for the kernel, `V8` for a function of V8's own; everything else is the target's own code. `@worker` at the start names the thread, `@7/worker` one of another process.
Samples are spread over the blocks as evenly as they go.
"""

import re
from collections.abc import Mapping

from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import frame_origin
from perfwright.analysis.hot_paths import OnCpu, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.models.cpu_profiling import ProcessUse, ThreadUse
from perfwright.models.profile import PassKind, Profile

STDLIB = {
    "RE": "re/_compiler.py",
    "RE_INIT": "re/__init__.py",
    "JSON": "json/encoder.py",
    "STRPTIME": "_strptime.py",
    "THREADING": "threading.py",
    "FUTURES": "concurrent/futures/thread.py",
    "SELECTORS": "selectors.py",
    "QUEUE": "queue.py",
    "SOCKET": "socket.py",
    "ASYNCIO": "asyncio/events.py",
    "COPY": "copy.py",
    "SUBPROCESS": "subprocess.py",
    "FORK": "multiprocessing/popen_fork.py",
    "PIPE": "multiprocessing/connection.py",
    "BASE_EVENTS": "asyncio/base_events.py",
}
FROZEN = {"POSIXPATH": "posixpath", "ABC": "abc", "CODECS": "codecs", "IMPORTLIB": "importlib._bootstrap"}
"""Modules of the standard library that the interpreter has inside since CPython 3.11: they have no path."""
_FRAME = re.compile(r"^(\S+)(?: ([^\s:]+)(?::(\d+))?)?$")


def drawn(drawings: Mapping[PassKind, str] | str, *, blocks: int = 20, rate_hz: float = 100.0, seconds: float | None = None) -> Profile:
    """The profile of the passes drawn; `seconds` per pass, by default one per block."""
    builder = ProfileBuilder("drawn 1")
    for kind, text in ({"on_cpu": drawings} if isinstance(drawings, str) else drawings).items():
        builder.begin(kind, rate_hz)  # type: ignore[arg-type]
        numbers = [builder.add_block(kind, (seconds or blocks) / blocks) for _ in range(blocks)]  # type: ignore[arg-type]
        for turn, line in enumerate(filter(str.strip, text.splitlines())):
            stack, count = line.rsplit(maxsplit=1)
            name = "MainThread"
            if stack.strip().startswith("@"):
                name, stack = stack.strip()[1:].split(" ", 1)
            thread = builder.thread(pid_of(name), tid_of(name), name.rpartition("/")[2])
            frames = [frame_of(builder, one.strip()) for one in stack.split(" > ")]
            for block in range(blocks):
                share = (int(count) * (block + 1)) // blocks - (int(count) * block) // blocks
                builder.add(kind, frames, thread, numbers[(block + turn) % blocks], share)  # type: ignore[arg-type]
    return builder.build()


def pid_of(name: str) -> int:
    return int(name.partition("/")[0]) if "/" in name else 1


def tid_of(name: str) -> int:
    """The thread id that `drawn` gives to a thread's name."""
    return 1 if name == "MainThread" else 100 + sum(map(ord, name))


def frame_of(builder: ProfileBuilder, text: str) -> int:
    found = _FRAME.match(text)
    assert found, text
    function, file, line = found[1], found[2] or "app.py", int(found[3] or 0)
    if file == "C":
        return builder.frame(function, "/usr/lib/libpython3.11.so.1.0", 0, "native")
    if file == "K":
        return builder.frame(function, "[kernel.kallsyms]", 0, "kernel")
    if file == "V8":
        return builder.frame(function, "", 0, "runtime")
    if file in FROZEN:
        path = f"<frozen {FROZEN[file]}>"
    elif file in STDLIB:
        path = f"/usr/lib/python3.11/{STDLIB[file]}"
    elif file.startswith("LIB/"):
        path = f"/usr/lib/python3.11/site-packages/{file[4:]}"
    else:
        path = f"/srv/shop/{file}"
    return builder.frame(function, path, line, frame_origin("python", function, path))


def seen(drawings: Mapping[PassKind, str] | str, usage: ProcessUse | None = None, **numbers: float) -> OnCpu:
    return on_cpu(CallTree(drawn(drawings, **numbers)), usage, runtime="python")  # type: ignore[arg-type]


def use(threads: Mapping[str, float], *, cpus: int = 4, system: float = 0.0, machine: float = 0.3, iowait: float = 0.0) -> ProcessUse:
    """What the process sampler saw: cores by thread name; `system` is the part of it spent in the kernel."""
    cores = sum(threads.values())
    return ProcessUse(
        series=None,
        seconds=20,
        samples=40,
        cpu_count=cpus,
        user_share=cores - system,
        system_share=system,
        iowait_share=iowait,
        machine_busy_share=machine,
        voluntary_switches_hz=10,
        involuntary_switches_hz=1,
        rss_bytes=1 << 20,
        thread_count=len(threads),
        threads=tuple(
            ThreadUse(
                pid=pid_of(name),
                tid=tid_of(name),
                name=name.rpartition("/")[2],
                user_share=share,
                system_share=0.0,
                voluntary_switches_hz=0.0,
                involuntary_switches_hz=0.0,
            )
            for name, share in sorted(threads.items(), key=lambda item: -item[1])
        ),
    )
