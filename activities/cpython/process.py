"""A live CPython process, found and held against what must be true of it, and its threads' stacks.

Whatever was read wrongly is Unreadable and never an answer: the ids of its threads must be those that the kernel has, its GIL's holder one
of its threads, and its oldest frames code with a name and a file.
"""

import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from functools import lru_cache
from pathlib import Path
from random import Random

from activities.cpython.codes import Codes
from activities.cpython.elf import ElfFile
from activities.cpython.layout import THREAD_BYTES, Layout, layout_of
from activities.cpython.memory import MOST_PIECES, ProcessMemory, Unreadable
from activities.cpython.objects import Objects
from activities.cpython.stacks import Gone, Stack, ThreadStack
from activities.cpython.threads import OsThread, host_ids

MOST_INTERPRETERS, MOST_THREADS = 64, 20_000
ASKED_BY_LOT = 6
"""Threads that have not run within the last second are asked whether they run as many at a time."""
SEEN_BY_LOT = 24
"""Of more threads than these, so many are looked at when all are wanted."""
CHECKS = 5
"""The process runs while it is looked at: a check that fails is made again."""
NAME_TRIES, LOOKS_AT_ONCE = 3, 3
_LIBRARY = re.compile(r"(^|/)libpython3[^/]*\.so")
_COOKIE = int.from_bytes(b"xdebugpy", "little")


class NotPython(Unreadable):
    """There is no CPython in it."""


class PyThread:
    """A thread that has run Python functions."""

    def __init__(self, stack: ThreadStack, thread_id: int, os_thread: OsThread) -> None:
        """`thread_id`: what `threading` knows it by, which the next thread may get again."""
        self.stack, self.thread_id, self.os_thread = stack, thread_id, os_thread
        self.name = ""


class PythonProcess:
    """Raises Unreadable when its stacks cannot be read, NotPython when it has none."""

    def __init__(self, pid: int, chance: Random) -> None:
        self.pid = pid
        self._chance = chance
        self._memory, self._copy = ProcessMemory(pid), ProcessMemory(pid)
        self._runtime, version = _find_runtime(self._memory)
        self.layout: Layout = layout_of(version, self._memory, self._runtime)
        self.codes = Codes(self._memory, self.layout)
        self._objects = Objects(self._memory, self.layout)
        self._threads: dict[int, PyThread] = {}
        self._heads: dict[int, tuple[int, int]] = {}
        """Where each interpreter's newest thread is told -> its state, and its id."""
        self._gils: tuple[int, ...] = ()
        self._awake: list[PyThread] = []
        self._quiet: list[PyThread] = []
        self._main_interpreter = 0
        self._names_at = 0
        self._name_tries = 0
        self._unknown = 0
        """Threads that the kernel does not have, or not yet."""
        self._again = 0
        """Looks for new threads that follow at once: a new thread has its id a moment after it is in the list."""
        self._check()

    def threads(self) -> list[PyThread]:
        return list(self._threads.values())

    def look_again(self) -> None:
        """Once a second: threads that came and went, which have run or wait to, whether code is still what it was. Raises Unreadable."""
        self._find_threads()
        self.codes.forget_changed()
        ran = {address: thread.os_thread.has_run() or thread.os_thread.runs() for address, thread in self._threads.items()}
        self._awake = [thread for address, thread in self._threads.items() if ran[address]]
        self._quiet = [thread for address, thread in self._threads.items() if not ran[address]]
        self._chance.shuffle(self._quiet)
        self._name_threads()

    def running(self) -> Iterator[tuple[PyThread, int]]:
        """Threads that are on a CPU or ready for one, and for how many each counts. Raises Unreadable when the process is gone."""
        self._notice_new_threads()
        for thread in tuple(self._awake):
            if thread.os_thread.runs():
                yield thread, 1
        quiet = len(self._quiet)
        if quiet > ASKED_BY_LOT:
            first = int(self._chance.random() * quiet)
            drawn = (self._quiet + self._quiet[:ASKED_BY_LOT])[first : first + ASKED_BY_LOT]
        else:
            drawn = self._quiet[:]
        for thread in drawn:
            if thread.os_thread.runs():
                yield thread, int(quiet / len(drawn) + self._chance.random())

    def everyone(self) -> Iterator[tuple[PyThread, int]]:
        """All threads, or of many some that are drawn by lot, and for how many each counts. Raises Unreadable when the process is gone."""
        self._notice_new_threads()
        threads = list(self._threads.values())
        drawn = self._chance.sample(threads, SEEN_BY_LOT) if len(threads) > SEEN_BY_LOT else threads
        for thread in drawn:
            yield thread, int(len(threads) / len(drawn) + self._chance.random())

    def holders(self) -> Iterator[tuple[PyThread, int]]:
        """Threads that hold a GIL."""
        self._notice_new_threads()
        for gil in self._gils:
            holder = self._holder(gil)
            if holder in self._threads:
                yield self._threads[holder], 1

    def stack(self, thread: PyThread) -> Stack:
        """Raises Unreadable; empty where it runs no Python function, or has ended."""
        try:
            return thread.stack.read()
        except Gone:
            self._forget(thread)
            return ()

    def close(self) -> None:
        """Let go of its files."""
        for thread in self._threads.values():
            thread.os_thread.close()

    def _holder(self, gil: int) -> int:
        """The thread state that holds it; 0: none."""
        low, high = sorted((self.layout.gil_holder, self.layout.gil_locked))
        state = self._memory.read(gil + low, high - low + 8)
        (locked,) = struct.unpack_from("<i", state, self.layout.gil_locked - low)
        (holder,) = struct.unpack_from("<Q", state, self.layout.gil_holder - low)
        return int(holder) if locked == 1 else 0

    def _notice_new_threads(self) -> None:
        heads = list(self._heads.items())
        pieces = [word for at, _ in heads for word in (at, 8)]
        pieces += [word for _, (newest, _) in heads for word in (newest + self.layout.native_thread_id, 8)]
        if self._memory.gather(pieces) < 8 * len(heads):
            raise Unreadable(f"process {self.pid} is gone, or is another program now")
        told = self._memory.words[: 2 * len(heads)].tolist()
        changed = told != [newest for _, (newest, _) in heads] + [native for _, (_, native) in heads]
        if changed or self._again:
            before = set(self._threads.values())
            self._find_threads(all_of_them=False)
            self._awake += [thread for thread in self._threads.values() if thread not in before]
            self._again = (LOOKS_AT_ONCE if changed else self._again - 1) if self._unknown else 0

    def _find_threads(self, *, all_of_them: bool = True) -> None:
        """New threads, and with `all_of_them` those that have ended as well."""
        layout, memory = self.layout, self._memory
        heads: dict[int, tuple[int, int]] = {}
        gils: dict[int, None] = {}
        found: dict[int, tuple[int, int]] = {}
        states = self._copied_states() if all_of_them else {}
        interpreter = memory.word(self._runtime + layout.interpreters_head)
        while interpreter and len(heads) < MOST_INTERPRETERS:
            at = interpreter + layout.threads_head
            newest = address = memory.word(at)
            gils[self._runtime + layout.gil if layout.gil_is_global else memory.word(interpreter + layout.gil)] = None
            while address and address not in found and len(found) < MOST_THREADS:
                state = states.get(address) or memory.read(address, THREAD_BYTES)
                thread_id, native = (struct.unpack_from("<Q", state, offset)[0] for offset in (layout.thread_id, layout.native_thread_id))
                if not all_of_them and address in self._threads and self._threads[address].stack.native_id == native:
                    break
                found[address] = (thread_id, native)
                (address,) = struct.unpack_from("<Q", state, layout.next_thread)
            heads[at] = (newest, found[newest][1] if newest in found else self._heads.get(at, (0, 0))[1])
            self._main_interpreter = interpreter
            interpreter = memory.word(interpreter + layout.next_interpreter)
        for address, thread in list(self._threads.items()):
            if found.get(address, (0, 0) if all_of_them else (0, thread.stack.native_id))[1] != thread.stack.native_id:
                self._forget(thread)
        self._unknown = 0
        if new := [address for address in found if address not in self._threads]:
            self._add(new, found)
        self._heads, self._gils = heads, tuple(gils)

    def _copied_states(self) -> dict[int, bytes]:
        """States of the known threads, hundreds of them by one call; none where one of them is not there any more."""
        found: dict[int, bytes] = {}
        known = list(self._threads)
        for start in range(0, len(known), MOST_PIECES):
            part = known[start : start + MOST_PIECES]
            if self._memory.gather([word for address in part for word in (address, THREAD_BYTES)]) < THREAD_BYTES * len(part):
                return {}
            copied = bytes(self._memory.bytes[: THREAD_BYTES * len(part)])
            found |= {address: copied[at * THREAD_BYTES : (at + 1) * THREAD_BYTES] for at, address in enumerate(part)}
        return found

    def _add(self, addresses: list[int], found: dict[int, tuple[int, int]]) -> None:
        here = host_ids(self.pid)
        for address in addresses:
            thread_id, native = found[address]
            if native in here:
                stack = ThreadStack(self._copy, self.layout, self.codes, address, native)
                self._threads[address] = PyThread(stack, thread_id, OsThread(self.pid, here[native]))
                self._name_tries = NAME_TRIES
            else:
                self._unknown += 1

    def _forget(self, thread: PyThread) -> None:
        thread.os_thread.close()
        self._threads.pop(thread.stack.address, None)
        for group in (self._awake, self._quiet):
            if thread in group:
                group.remove(thread)

    def _name_threads(self) -> None:
        """What `threading` calls them; a thread is entered there a moment after it began."""
        nameless = {thread.thread_id: thread for thread in self._threads.values() if not thread.name}
        if not nameless or not self._name_tries:
            return
        self._name_tries -= 1
        with suppress(Unreadable):
            if not self._names_at:
                modules = self._memory.word(self._main_interpreter + self.layout.modules)
                self._names_at = self._objects.module_value(self._objects.value(modules, "threading"), "_active")
            for key, instance in self._objects.entries(self._names_at):
                thread = nameless.get(self._objects.integer(key))
                if thread is not None:
                    thread.name = self._objects.text(self._objects.attribute(instance, "_name"))

    def _check(self) -> None:
        for left in reversed(range(CHECKS)):
            try:
                self.look_again()
                self._check_once()
            except Unreadable:
                if not left:
                    raise
            else:
                return

    def _check_once(self) -> None:
        if self._unknown >= len(self._threads):
            raise Unreadable("it tells threads that the kernel does not have")
        for gil in self._gils:
            if self._holder(gil) not in (0, *self._threads):
                raise Unreadable("none of its threads holds its GIL")
        roots = [stack[-2] for thread in self.threads() if (stack := self.stack(thread))]
        if not roots:
            raise Unreadable("none of its threads runs a Python function")
        for root in roots:
            code = self.codes.at(root)
            if not (code.function.isprintable() and code.file.isprintable() and code.function and code.file):
                raise Unreadable("its frames have no names")


def _find_runtime(memory: ProcessMemory) -> tuple[int, int]:
    """Address of `_PyRuntime`, and the release as `Py_Version` has it."""
    for path, mapped, offset in _modules(memory.pid):
        try:
            kept = path.stat()
            runtime, version, elf = _runtime_in(path, kept.st_dev, kept.st_ino, kept.st_mtime_ns)
        except (OSError, ValueError):
            continue
        bias = elf.bias(mapped, offset) if runtime else None
        if bias is None:
            continue
        if version:
            return runtime + bias, memory.word(version + bias) & 0xFFFFFFFF
        if memory.word(runtime + bias) == _COOKIE:
            return runtime + bias, memory.word(runtime + bias + 8) & 0xFFFFFFFF
        raise Unreadable("its release is older than CPython 3.11")
    raise NotPython(f"there is no CPython in process {memory.pid}")


@lru_cache(maxsize=64)
def _runtime_in(path: Path, device: int, inode: int, changed_ns: int) -> tuple[int, int, ElfFile]:
    """`_PyRuntime` and `Py_Version` in a program file; 0 for what it does not have. The other arguments tell versions of the file apart."""
    elf = ElfFile(path)
    symbols = elf.symbols("_PyRuntime", "Py_Version")
    return symbols.get("_PyRuntime", 0) or elf.section(".PyRuntime") or 0, symbols.get("Py_Version", 0), elf


def _modules(pid: int) -> Iterator[tuple[Path, int, int]]:
    """The program and its libpython: file, address and file offset of its first mapping."""
    try:
        program = str(Path(f"/proc/{pid}/exe").readlink())
        maps = Path(f"/proc/{pid}/maps").read_text(errors="replace").splitlines()
    except PermissionError as refused:
        raise Unreadable("not permitted") from refused
    except OSError as gone:
        raise NotPython(f"process {pid} is gone") from gone
    seen = set()
    for line in maps:
        fields = line.split(None, 5)
        name = fields[5] if len(fields) == 6 else ""
        if name in seen or not (name == program or _LIBRARY.search(name)):
            continue
        seen.add(name)
        path = Path(f"/proc/{pid}/exe") if name == program else Path(f"/proc/{pid}/root{name}")
        yield path, int(fields[0].split("-")[0], 16), int(fields[2], 16)
