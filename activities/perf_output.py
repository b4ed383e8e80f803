"""`perf script` text: samples with their stacks on the CPU, and the waits between."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from activities.perf_frames import RawFrame, read_frame
from activities.perf_naming import FrameNaming, SliceFacts
from activities.perf_switches_output import Wait, add_waits, read_waits
from activities.taken_slices import SliceCount, TakenSlice
from perfwright.analysis.call_tree import ProfileBuilder

SHORT_STACKS_SHARE = 0.5
"""More stacks than this that end nowhere near the start of a thread: there is nothing to follow them by."""
FEWEST_STACKS = 10
_THREAD_STARTS = re.compile(r"^(_start|main|_?_libc_start.*|_?_clone3?|clone3?|start_thread|thread_start|ret_from_fork.*|_dl_start.*)$")
_CRT = frozenset({"__do_global_dtors_aux", "register_tm_clones", "deregister_tm_clones", "frame_dummy"})
_HEAD = re.compile(r"^\s*(?P<pid>\d+)/(?P<tid>\d+)\s+(?P<time>\d+\.\d+):")


@dataclass
class RawSample:
    pid: int
    tid: int
    time_s: float
    stack: list[RawFrame] = field(default_factory=list)
    """Leaf first, as perf writes it."""


def read_perf_script(builder: ProfileBuilder, taken: TakenSlice, path: Path) -> SliceCount:
    """Add one slice: `<path>.txt` is perf's text, `<path>.summary` what is known of the program."""
    facts = SliceFacts.model_validate_json(path.with_suffix(".summary").read_text())
    samples, waits = list(read_samples(path.with_suffix(".txt"))), read_waits(path)
    naming = FrameNaming(builder, facts, [*(sample.stack for sample in samples), *(wait.stack for wait in waits.waits if wait.stack)])

    def thread_of(one: RawSample | Wait) -> int:
        return builder.thread(one.pid, one.tid, facts.threads.get(str(one.tid), ""))

    builder.begin(taken.kind, taken.rate_hz)
    blocks = [builder.add_block(taken.kind, taken.seconds / taken.blocks) for _ in range(taken.blocks)]
    began = min((sample.time_s for sample in samples), default=0.0)
    for sample in samples:
        position = min(len(blocks) - 1, int((sample.time_s - began) / taken.seconds * len(blocks)))
        if sample.stack:
            builder.add(taken.kind, naming.frames_of(sample.stack, sample.pid), thread_of(sample), blocks[position])
    add_waits(builder, taken, waits, lambda wait: builder.node(naming.frames_of(wait.stack, wait.pid)) if wait.stack else None, thread_of)
    told = (_short_stacks_warning(samples, facts.unwound), _hidden_kernel_warning(samples), waits.warning(taken))
    return SliceCount(samples=sum(1 for sample in samples if sample.stack), warning=" ".join(text for text in told if text))


def read_samples(text: Path) -> Iterator[RawSample]:
    """The samples of a `perf script --fields pid,tid,time,ip,sym,dso` text."""
    sample: RawSample | None = None
    lost = False
    with text.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if head := _HEAD.match(line):
                if sample:
                    yield sample
                lost = False
                sample = RawSample(int(head["pid"]), int(head["tid"]), float(head["time"]))
            elif sample and not lost and (frame := read_frame(line)):
                lost = bool(sample.stack) and _calls_nobody(frame, sample.stack[-1])
                if not lost:
                    sample.stack.append(frame)
    if sample:
        yield sample


def _calls_nobody(frame: RawFrame, below: RawFrame) -> bool:
    """Where a register that is no frame pointer was followed: an address that nothing is mapped at, or start-up code that calls nobody.

    The kernel is called by programs, and calls none.
    """
    if frame.kernel:
        return not below.kernel
    return frame.object == "[unknown]" or frame.symbol in _CRT


def short_stacks(samples: Sequence[RawSample]) -> float:
    """Share of the stacks that break off after one or two frames of the program; 0 of too few stacks to say."""
    seen = [stack for sample in samples if (stack := [frame for frame in sample.stack if not frame.kernel])]
    short = sum(len(stack) < 3 and not _THREAD_STARTS.match(stack[-1].symbol) for stack in seen)
    return short / len(seen) if len(seen) >= FEWEST_STACKS else 0.0


def _short_stacks_warning(samples: Sequence[RawSample], unwound: bool) -> str:
    share = short_stacks(samples)
    if share <= SHORT_STACKS_SHARE:
        return ""
    why = (
        "there are neither frame pointers nor tables to unwind them by"
        if unwound
        else "the program was compiled without frame pointers (-fno-omit-frame-pointer)"
    )
    return f"{share:.0%} of the stacks break off after one or two frames: {why}, so hot functions are right and their callers are missing."


def _hidden_kernel_warning(samples: Sequence[RawSample]) -> str:
    frames = [frame for sample in samples for frame in sample.stack if frame.kernel]
    if len(frames) < FEWEST_STACKS or any(frame.named for frame in frames):
        return ""
    return (
        "The kernel hides the names of its functions, so that they are told as one, `[kernel]`: give the host worker CAP_SYSLOG, or set "
        "kernel.kptr_restrict to 0 (sysctl)."
    )
