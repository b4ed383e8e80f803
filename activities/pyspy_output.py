"""Speedscope files of py-spy and of our own reader: one profile per thread, samples in order.

Thread profiles are named `Thread 4711 "MainThread"`, with `Process 4710 ` before it for a tree; there, every stack begins with frames that
stand for its processes. Samples carry no time, only the order within their thread, and idle moments leave no trace: when in the slice a
thread ran cannot be told. A slice is therefore one block, and slices are short (`ProfilerChoice.slice_s`). Its other formats tell no more:
chrometrace has times, but only of changes of a stack, so that the samples between them cannot be counted.
Format: https://www.speedscope.app/file-format-schema.json, "sampled" profiles.
"""

import json
import re
from pathlib import Path
from typing import Any

from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder
from perfwright.analysis.frames import frame_origin

_THREAD = re.compile(r'^(?:Process (?P<pid>\d+) )?Thread (?P<tid>\d+|0x[0-9a-fA-F]+)(?: "(?P<name>.*)")?$', re.DOTALL)
_PROCESS = re.compile(r'^process (?P<pid>\d+)(?::"(?P<program>[^\s"]*))?')
_LARGEST_TID = 4_194_304


def read_speedscope(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice; failed samples are told by the summary that is kept beside the file."""
    document = json.loads(path.read_text(encoding="utf-8", errors="replace"))
    summary = json.loads(path.with_suffix(".summary").read_text())
    builder.begin(taken.kind, taken.rate_hz)
    block = builder.add_block(taken.kind, taken.seconds)
    frames = [_frame(builder, frame) for frame in document["shared"]["frames"]]
    total = 0
    for profile in document["profiles"]:
        thread = _thread(builder, str(profile["name"]), int(summary["pid"]))
        for stack in profile["samples"]:
            if stack:
                builder.add(taken.kind, [frames[index] for index in stack], thread, block)
                total += 1
    failed = int(summary["errors"])
    builder.add_failed(taken.kind, failed)
    return SliceCount(samples=total, failed=failed, blocks=1, warning=str(summary.get("note", "")))


def _frame(builder: ProfileBuilder, frame: dict[str, Any]) -> int:
    file, line = str(frame.get("file") or ""), int(frame.get("line") or 0)
    function = str(frame["name"])
    if not file and (process := _PROCESS.match(function)):
        # The whole command line stands here, and command lines hold passwords: only the program is kept.
        program = Path(process["program"] or "").name
        return builder.frame(f"process {process['pid']}" + (f" ({program})" if program else ""), "", 0, "process")
    return builder.frame(function, file, line, frame_origin("python", function, file))


def _thread(builder: ProfileBuilder, title: str, pid: int) -> int:
    found = _THREAD.match(title)
    if not found:
        return builder.thread(pid, None, title[:100])
    tid = int(found["tid"], 0)
    return builder.thread(int(found["pid"] or pid), tid if tid <= _LARGEST_TID else None, found["name"] or "")
