"""Where CPython keeps what a stack is read from, by release.

From 3.13 on the interpreter tells it itself: `_Py_DebugOffsets` at the begin of `_PyRuntime`. For 3.11 and 3.12 the offsets of the stock
64-bit builds stand here (`offsetof` over the headers of 3.11.7 and 3.12.1; the same with AArch64's sizes of locks). None is believed
before process.py has held it against the live process.
"""

import struct
from dataclasses import dataclass, replace

from activities.cpython.memory import ProcessMemory, Unreadable


@dataclass(frozen=True, slots=True)
class Layout:
    """Offsets in bytes. `_PyInterpreterFrame` takes `FRAME_BYTES` in all of these releases before its local variables."""

    release: tuple[int, int]
    interpreters_head: int
    """In _PyRuntime."""
    next_interpreter: int
    threads_head: int
    """In PyInterpreterState."""
    modules: int
    """In PyInterpreterState: `sys.modules`."""
    gil: int
    """In _PyRuntime (3.11), or of the pointer to it in PyInterpreterState."""
    gil_is_global: bool
    gil_holder: int
    gil_locked: int
    """In the GIL's state."""
    next_thread: int
    thread_id: int
    native_thread_id: int
    datastack_chunk: int
    """In PyThreadState; `datastack_top` is the word behind it."""
    cframe: int
    """In PyThreadState; -1 where the thread state has the current frame itself."""
    current_frame: int
    """In _PyCFrame, or in PyThreadState where there is no cframe."""
    previous: int
    code: int
    instruction: int
    owner: int
    """In _PyInterpreterFrame."""
    code_filename: int
    code_qualname: int
    code_linetable: int
    code_firstlineno: int
    code_instructions: int
    """In PyCodeObject."""
    ascii_size: int
    compact_size: int
    """sizeof(PyASCIIObject), sizeof(PyCompactUnicodeObject): text stands behind them."""
    cached_keys: int
    """In PyHeapTypeObject."""

    @property
    def title(self) -> str:
        return f"CPython {self.release[0]}.{self.release[1]}"


FRAME_BYTES = 80
THREAD_BYTES = 320
"""As much of PyThreadState as all fields read here lie in."""
CODE_BYTES = 208
OWNED_BY_GENERATOR, OWNED_BY_C_STACK = 1, 3
"""Frames owned so, or higher, are seams to C functions and stand for no Python function."""

_3_11 = Layout(
    release=(3, 11),
    interpreters_head=40,
    next_interpreter=0,
    threads_head=16,
    modules=888,
    gil=368,
    gil_is_global=True,
    gil_holder=0,
    gil_locked=8,
    next_thread=8,
    thread_id=152,
    native_thread_id=160,
    datastack_chunk=296,
    cframe=56,
    current_frame=8,
    previous=48,
    code=32,
    instruction=56,
    owner=69,
    code_filename=112,
    code_qualname=128,
    code_linetable=136,
    code_firstlineno=72,
    code_instructions=184,
    ascii_size=48,
    compact_size=72,
    cached_keys=872,
)
_3_12 = Layout(
    release=(3, 12),
    interpreters_head=40,
    next_interpreter=0,
    threads_head=72,
    modules=944,
    gil=384,
    gil_is_global=False,
    gil_holder=8,
    gil_locked=16,
    next_thread=8,
    thread_id=136,
    native_thread_id=144,
    datastack_chunk=232,
    cframe=56,
    current_frame=0,
    previous=8,
    code=0,
    instruction=56,
    owner=70,
    code_filename=112,
    code_qualname=128,
    code_linetable=136,
    code_firstlineno=68,
    code_instructions=192,
    ascii_size=40,
    compact_size=56,
    cached_keys=880,
)
_COOKIE = b"xdebugpy"
_OFFSETS_3_13 = (
    *("cookie", "version", "free_threaded", "", "", "interpreters_head"),
    *("", "", "next_interpreter", "threads_head", "", "modules", "", "", "gil", "gil_state", "", "gil_locked", "gil_holder"),
    *("", "", "next_thread", "", "current_frame", "thread_id", "native_thread_id", "datastack_chunk", ""),
    *("frame_size", "previous", "code", "instruction", "", "owner"),
    *("", "code_filename", "", "code_qualname", "code_linetable", "code_firstlineno", "", "", "", "code_instructions"),
)
"""The words of 3.13's _Py_DebugOffsets as far as they are used; `` for the others. Later releases order them differently."""


def layout_of(version: int, memory: ProcessMemory, runtime: int) -> Layout:
    """The layout of the interpreter whose `Py_Version` and address of `_PyRuntime` these are. Raises Unreadable for others."""
    release = (version >> 24 & 0xFF, version >> 16 & 0xFF)
    known = {layout.release: layout for layout in (_3_11, _3_12)}.get(release)
    if version >> 4 & 0xF != 0xF:
        raise Unreadable(f"this is a trial release of CPython {release[0]}.{release[1]}")
    if known:
        return known
    if release == (3, 13):
        return _told_by_itself(release, memory, runtime)
    raise Unreadable(f"the layout of CPython {release[0]}.{release[1]} is not known")


def _told_by_itself(release: tuple[int, int], memory: ProcessMemory, runtime: int) -> Layout:
    words = struct.unpack(f"<{len(_OFFSETS_3_13)}Q", memory.read(runtime, 8 * len(_OFFSETS_3_13)))
    told = {name: word for name, word in zip(_OFFSETS_3_13, words, strict=True) if name}
    if told["cookie"].to_bytes(8, "little") != _COOKIE or told["version"] >> 16 != release[0] << 8 | release[1]:
        raise Unreadable("it does not tell its layout where it should")
    if told["free_threaded"]:
        raise Unreadable("it is a free-threaded build")
    if told["frame_size"] > FRAME_BYTES + 8 or max(told["datastack_chunk"] + 16, told["native_thread_id"] + 8) > THREAD_BYTES:
        raise Unreadable("its structures are larger than those of the stock build")
    offsets = {name: told[name] for name in _OFFSETS_3_13 if name in Layout.__dataclass_fields__}
    offsets |= {"gil_locked": told["gil_locked"] - told["gil_state"], "gil_holder": told["gil_holder"] - told["gil_state"]}
    return replace(_3_12, release=release, cframe=-1, cached_keys=880, **offsets)
