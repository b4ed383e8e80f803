"""Weighted stacks, whatever tool took them: the exchange format between profilers, analysis and pictures.

A profile is stored as one gzipped JSON artifact (`application/vnd.perfwright.profile+json`), columnar so that millions of samples stay
small and numpy can sum them: stacks share their prefixes in one call tree, and a sample names the node where its stack ends.

    frames   function[i], file[i], line[i], origin[i]
    nodes    parent[n] < n (or -1 for a root), frame[n]
    passes   per pass: equal-length columns node, thread, block, count

A *block* is a contiguous piece of recording time (about one second); it is what the block bootstrap draws, because samples of one
recording are correlated.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from perfwright.models.vocabulary import Model

PROFILE_MEDIA_TYPE = "application/vnd.perfwright.profile+json"

PassKind = Literal["on_cpu", "wall", "gil", "native", "off_cpu"]
"""`on_cpu`: threads that run. `wall`: every thread, idle ones too. `gil`: threads that hold the GIL.
`native`: running threads with C frames.
`off_cpu`: only threads that wait."""
Origin = Literal["user", "library", "runtime", "native", "kernel", "process", "unknown"]
"""Whose code a frame is: the target's own, an installed library, the runtime and its standard library, compiled code, the kernel; `process`
marks the frame that stands for a process of a tree."""


class Frames(Model):
    """Distinct frames, one per (function, file, line)."""

    function: list[str]
    file: list[str]
    """Full path, or module / shared object; empty when unknown."""
    line: list[int]
    """0 when unknown."""
    origin: list[Origin]


class Nodes(Model):
    """The call tree: stacks as paths from a root."""

    parent: list[int]
    frame: list[int]


class ThreadRef(Model):
    """A thread that was seen in samples."""

    pid: int
    tid: int | None
    """Thread id of the operating system, where the tool tells it: joins samples with the thread table."""
    name: str = ""


class ProfilePass(Model):
    """The samples of one pass, over all its slices."""

    kind: PassKind
    rate_hz: float
    """On average over its time."""
    seconds: float
    """Time this pass really recorded."""
    block_seconds: list[float]
    """Length of each block; its index is the block number."""
    block_rate_hz: list[float] = []
    """Rate of each block where they differ: its samples are ticks of that rate."""
    node: list[int]
    thread: list[int]
    block: list[int]
    count: list[int]
    """Samples (ticks of 1/rate); equal stacks of one thread in one block are one row."""
    failed_samples: int = 0
    lines_reliable: bool = True
    """False where the tool only knows methods for sure (JFR attached to inlined code)."""


NamelessKind = Literal["stripped", "replaced", "generated", "kernel", "unmapped"]
"""Why functions have no names: no symbols in the file; the file is gone from its path; code that the process wrote into memory; the kernel
hides its symbols; nothing is known of the address."""


class NamelessCode(Model):
    """Code of the profile whose functions have no names, and what is known of it: enough to find its symbols."""

    file: str
    """As its frames name it."""
    module: str
    """What its functions are called: `[liblzma.so.5.4.1]`, and `[liblzma.so.5.4.1+0x6a40]` for the one that begins there."""
    kind: NamelessKind
    build_id: str = ""
    """Hexadecimal, from the file itself."""
    package: str = ""
    """That installed it; empty where no package did, or none is known."""
    systems: tuple[str, ...] = ()
    """The host's distribution and those that it is like, as os-release(5) has them: `ubuntu`, `debian`."""
    is_go: bool = False


class Profile(Model):
    """One recording of one target."""

    version: Literal[1] = 1
    tool: str
    """Tool and version: `py-spy 0.4.3`."""
    frames: Frames
    nodes: Nodes
    threads: list[ThreadRef]
    passes: Annotated[list[ProfilePass], Field(max_length=8)]
    nameless: list[NamelessCode] = []
    recording_cpu_s: float = 0.0
    """CPU seconds that threads of the target's own used because it was recorded (a JVM's compilers), where that is known."""

    @model_validator(mode="after")
    def _columns_fit(self) -> Self:
        if len({len(self.frames.function), len(self.frames.file), len(self.frames.line), len(self.frames.origin)}) != 1:
            raise ValueError("columns of frames differ in length")
        if len(self.nodes.parent) != len(self.nodes.frame):
            raise ValueError("columns of nodes differ in length")
        for one in self.passes:
            if len({len(one.node), len(one.thread), len(one.block), len(one.count)}) != 1:
                raise ValueError(f"columns of pass {one.kind} differ in length")
            if one.block_rate_hz and len(one.block_rate_hz) != len(one.block_seconds):
                raise ValueError(f"blocks of pass {one.kind} differ in number")
            if any(rate <= 0 for rate in one.block_rate_hz):
                raise ValueError(f"a block of pass {one.kind} has no rate")
        return self
