"""The memory of another process, copied in one system call for many pieces: process_vm_readv(2).

The target is neither stopped nor told. A copy of a few kilobytes takes a few microseconds, so that it is nearly one instant's picture.
"""

import ctypes
import errno
import os
from collections.abc import Sequence

MOST_PIECES = 1024
"""IOV_MAX: more in one call are refused by the kernel."""
MOST_BYTES = 1 << 21
"""Of one copy; whatever a garbled size says, no more is asked for."""

_libc = ctypes.CDLL(None, use_errno=True)
_readv = _libc.process_vm_readv
_readv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
_readv.restype = ctypes.c_ssize_t


class Unreadable(Exception):
    """The process cannot be read, or what stands there is not what it must be; the text says why."""


class ProcessMemory:
    """Reads process `pid`. What `gather` copied is in `bytes` and, as 64-bit words, in `words`, until the next call."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._buffer = (ctypes.c_uint64 * (MOST_BYTES // 8))()
        self._local = (ctypes.c_uint64 * 2)(ctypes.addressof(self._buffer), 0)
        self._remote = (ctypes.c_uint64 * (2 * MOST_PIECES))()
        self._local_address, self._remote_address = ctypes.addressof(self._local), ctypes.addressof(self._remote)
        self.bytes = memoryview(self._buffer).cast("B")
        self.words = self.bytes.cast("Q")

    def gather(self, pieces: Sequence[int], at: int = 0) -> int:
        """Copy pieces, given as address, size, address, size, ..., one behind the other to offset `at`; gives the bytes copied.

        Fewer than asked for where a piece is not mapped: it and those behind it are missing. 0 where the process is gone.
        Raises Unreadable without the permission to read it.
        """
        count = len(pieces)
        wanted = sum(pieces[1::2])
        if count > 2 * MOST_PIECES or at + wanted > MOST_BYTES:
            return 0
        try:
            self._remote[:count] = list(pieces)
        except (TypeError, OverflowError):
            return 0
        self._local[0], self._local[1] = ctypes.addressof(self._buffer) + at, wanted
        copied: int = _readv(self.pid, self._local_address, 1, self._remote_address, count >> 1, 0)
        if copied < 0:
            number = ctypes.get_errno()
            if number in (errno.EPERM, errno.ENOSYS):
                raise Unreadable(os.strerror(number))
            return 0
        return copied

    def read(self, address: int, size: int) -> bytes:
        """Raises Unreadable when it is not all there."""
        if not 0 <= size <= MOST_BYTES or not 0 < address < 1 << 64 or self.gather((address, size)) != size:
            raise Unreadable(f"process {self.pid} has nothing at {address:#x}")
        return bytes(self.bytes[:size])

    def word(self, address: int) -> int:
        """The 64-bit word there."""
        return int.from_bytes(self.read(address, 8), "little")
