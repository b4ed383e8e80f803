"""One thread's stack out of one copy of the memory that it lies in.

Since 3.11 the frames of a thread stand one behind the other in its *data stack chunks*. One system call copies the thread state and the
used part of these chunks; frames that lie elsewhere (generators and coroutines in their own objects, seams to C functions on the C stack)
are copied with them where the last look found some, or one by one. All else is reading the copy.

The target runs meanwhile. A frame that ended since the thread state was copied is what ran at that moment; one that has replaced it at the
same address runs now: both are right. What fits together in neither way (a frame without code, an instruction outside its code, a chain
that ends in a generator which has just been left) is read again, at once, and counted as failed when that does not help.
"""

from activities.cpython.codes import Codes
from activities.cpython.layout import FRAME_BYTES, OWNED_BY_C_STACK, OWNED_BY_GENERATOR, THREAD_BYTES, Layout
from activities.cpython.memory import ProcessMemory, Unreadable

DEEPEST = 8_192
"""Frames and seams; a longer chain runs in a circle or is of no use."""
MOST_CHUNKS, LARGEST_CHUNK, LARGEST_STACK = 256, 1 << 20, 3 << 19
"""Bytes: of a chunk, and of all that are copied."""
CHUNK_HEAD, CFRAME_BYTES = 24, 16
BEYOND_TOP = 1_024
"""Bytes that are copied behind the top of the stack: it may have grown since the last look."""
MOST_ELSEWHERE, MOST_SINGLE = 64, 256
"""Frames outside the chunks that are copied at once, and that are read one by one."""
TRIES = 4

Stack = tuple[int, ...]
"""Code and instruction, code and instruction, ..., from the leaf to the root: addresses."""


class Gone(Exception):
    """The thread has ended, or its state is no longer its own."""


class TooDeep(Unreadable):
    """There are more frames than are read."""


class ThreadStack:
    """Reads the stack of the thread whose PyThreadState is at `address`; `native_id`: its id in its own namespace."""

    def __init__(self, memory: ProcessMemory, layout: Layout, codes: Codes, address: int, native_id: int) -> None:
        self._memory, self._layout, self._codes = memory, layout, codes
        self.address, self.native_id = address, native_id
        self._cframe = 0
        self._chunks: list[tuple[int, int]] = []
        """Address and bytes to copy, newest first."""
        self._elsewhere: list[int] = []
        self._needed = 0

    def read(self) -> Stack:
        """Empty where the thread runs no Python function. Raises Unreadable when it could not be read, Gone when it has ended."""
        trouble = Unreadable("")
        for _ in range(TRIES):
            copied = self._copy()
            try:
                stack = self._walk(copied)
                fleeting = self._codes.fleeting.intersection(stack)
                if not fleeting or not self._codes.forget_changed(fleeting):
                    return stack
            except TooDeep:
                raise
            except Unreadable as torn:
                trouble = torn
        raise trouble

    def _copy(self) -> int:
        """Copy all of it; gives the bytes. Where it does not lie where it was looked for, it is copied again from where it does.

        That second copy is taken whatever has changed meanwhile: to wait for a stack that stands still would favour those that do.
        """
        memory, layout = self._memory, self._layout
        copied = memory.gather(self._pieces())
        words = memory.words
        if copied < THREAD_BYTES or words[layout.native_thread_id >> 3] != self.native_id:
            raise Gone
        chunk, top = words[layout.datastack_chunk >> 3], words[(layout.datastack_chunk >> 3) + 1]
        cframe = words[layout.cframe >> 3] if layout.cframe >= 0 else 0
        base, size = self._chunks[0] if self._chunks else (0, 0)
        if cframe == self._cframe and chunk == base and top <= base + size and copied >= self._needed:
            return copied
        self._cframe = cframe
        self._follow_chunks(chunk, top)
        self._needed = THREAD_BYTES + CFRAME_BYTES + sum(size for _, size in self._chunks)
        copied = memory.gather(self._pieces())
        if copied < THREAD_BYTES or words[layout.native_thread_id >> 3] != self.native_id:
            raise Gone
        return copied

    def _pieces(self) -> list[int]:
        pieces = [self.address, THREAD_BYTES, self._cframe or self.address, CFRAME_BYTES]
        for chunk in self._chunks:
            pieces += chunk
        for frame in self._elsewhere:
            pieces += (frame, FRAME_BYTES)
        return pieces

    def _follow_chunks(self, newest: int, top: int) -> None:
        chunks: list[tuple[int, int]] = []
        chunk, end = newest, top + BEYOND_TOP
        while chunk:
            if self._memory.gather((chunk, CHUNK_HEAD)) < CHUNK_HEAD:
                break
            previous, size, index = self._memory.words[:3]
            if chunks:
                end = chunk + CHUNK_HEAD + 8 * index
            if not CHUNK_HEAD <= size <= LARGEST_CHUNK or not chunk <= end <= chunk + size + BEYOND_TOP:
                break
            if sum(bytes_ for _, bytes_ in chunks) > LARGEST_STACK or len(chunks) == MOST_CHUNKS:
                raise TooDeep("its stack is too deep")
            chunks.append((chunk, (min(end, chunk + size) - chunk) & ~7))
            chunk = previous
        self._chunks = chunks

    def _walk(self, copied: int) -> Stack:
        memory, layout = self._memory, self._layout
        words, data = memory.words, memory.bytes
        frame = words[layout.current_frame + (0 if layout.cframe < 0 else THREAD_BYTES) >> 3]
        at = THREAD_BYTES + CFRAME_BYTES
        regions = []
        for base, size in self._chunks:
            if at + size <= copied:
                regions.append((base, base + size - FRAME_BYTES, at - base))
            at += size
        elsewhere = {}
        for address in self._elsewhere:
            if at + FRAME_BYTES <= copied:
                elsewhere[address] = at
            at += FRAME_BYTES
        free = at
        code_at, instruction_at, previous_at, owner_at = layout.code >> 3, layout.instruction >> 3, layout.previous >> 3, layout.owner
        known, read_code = self._codes.known, self._codes.at
        found: list[int] = []
        visited: list[int] = []
        singly, owner = 0, 0
        for _ in range(DEEPEST):
            if not frame:
                if owner == OWNED_BY_GENERATOR and self._has_frames(words):
                    raise Unreadable("its frames end in a generator")
                self._elsewhere = visited[:MOST_ELSEWHERE]
                return tuple(found)
            if frame & 7:
                raise Unreadable("a frame is not there")
            for base, last, shift in regions:
                if base <= frame <= last:
                    place = frame + shift
                    break
            else:
                visited.append(frame)
                place = elsewhere.get(frame, -1)
                if place < 0:
                    place, singly = free, singly + 1
                    if singly > MOST_SINGLE:
                        raise TooDeep("it has too many frames outside of its stack")
                    if memory.gather((frame, FRAME_BYTES), place) != FRAME_BYTES:
                        raise Unreadable("a frame is not there")
            word = place >> 3
            owned = data[place + owner_at]
            if owned < OWNED_BY_C_STACK:
                owner = owned
                address, instruction = words[word + code_at], words[word + instruction_at]
                code = known.get(address) or read_code(address)
                if not code.begin - 2 <= instruction < code.end:
                    raise Unreadable("an instruction is not in its code")
                found.append(address)
                found.append(instruction)
            frame = words[word + previous_at]
        raise TooDeep("its frames do not end")

    def _has_frames(self, words: memoryview) -> bool:
        """Whether a function of the thread has its frame at the begin of its oldest chunk, behind one empty word; C code may as well have
        called a coroutine only."""
        top = words[(self._layout.datastack_chunk >> 3) + 1]
        return len(self._chunks) > 1 or bool(self._chunks and top > self._chunks[0][0] + CHUNK_HEAD + 8)
