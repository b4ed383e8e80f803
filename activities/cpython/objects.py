"""Python objects in another process: strings, dictionaries, attributes of instances. What is not as it must be is Unreadable.

Layouts: Include/cpython/unicodeobject.h, Include/internal/pycore_dict.h, pycore_object.h of CPython 3.11 to 3.13.
"""

import struct

from activities.cpython.layout import Layout
from activities.cpython.memory import ProcessMemory, Unreadable

LONGEST_TEXT = 4_096
MOST_ENTRIES = 100_000
_DICT_KEYS = struct.Struct("<qBBBxIqq")
_ENCODINGS = {1: ("latin-1", 1), 2: ("utf-16-le", 2), 4: ("utf-32-le", 4)}
_HEAP_TYPE, _INLINE_VALUES = 1 << 9, 1 << 2


class Objects:
    def __init__(self, memory: ProcessMemory, layout: Layout) -> None:
        self._memory, self._layout = memory, layout

    def text(self, address: int) -> str:
        """A `str`, at most `LONGEST_TEXT` characters of it."""
        head = self._memory.read(address, 40)
        (length,), (state,) = struct.unpack_from("<q", head, 16), struct.unpack_from("<I", head, 32)
        kind, compact, ascii_only = state >> 2 & 7, state >> 5 & 1, state >> 6 & 1
        if kind not in _ENCODINGS or not compact or not 0 <= length < 1 << 30:
            raise Unreadable(f"no text at {address:#x}")
        encoding, width = _ENCODINGS[kind]
        start = address + (self._layout.ascii_size if ascii_only else self._layout.compact_size)
        return self._memory.read(start, min(length, LONGEST_TEXT) * width).decode(encoding, "replace")

    def entries(self, dictionary: int) -> list[tuple[int, int]]:
        """Addresses of keys and values of a `dict`."""
        keys, values = struct.unpack_from("<QQ", self._memory.read(dictionary + 32, 16))
        found = self._key_entries(keys)
        if not values:
            return [(key, value) for key, value in found if key and value]
        held = self._values(values + (8 if self._layout.release >= (3, 13) else 0), len(found))
        return [(key, value) for (key, _), value in zip(found, held, strict=True) if key and value]

    def _values(self, address: int, count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}Q", self._memory.read(address, 8 * count))

    def _key_entries(self, keys: int) -> list[tuple[int, int]]:
        _, _, index_bytes, kind, _, _, count = _DICT_KEYS.unpack(self._memory.read(keys, _DICT_KEYS.size))
        if not 0 <= count <= MOST_ENTRIES or index_bytes > 32 or kind > 2:
            raise Unreadable(f"no dictionary keys at {keys:#x}")
        words = 3 if kind == 0 else 2
        held = struct.unpack(f"<{count * words}Q", self._memory.read(keys + 32 + (1 << index_bytes), 8 * count * words))
        return list(zip(held[words - 2 :: words], held[words - 1 :: words], strict=True))

    def value(self, dictionary: int, name: str) -> int:
        """Address of what a `dict` with text for keys holds for this one."""
        for key, value in self.entries(dictionary):
            try:
                if self.text(key) == name:
                    return value
            except Unreadable:
                continue
        raise Unreadable(f"no {name}")

    def module_value(self, module: int, name: str) -> int:
        """Address of a module's global."""
        return self.value(self._memory.word(module + 16), name)

    def attribute(self, instance: int, name: str) -> int:
        """Address of an attribute that an instance of a class written in Python holds itself."""
        release = self._layout.release
        kind = self._memory.word(instance + 8)
        if not self._memory.word(kind + 168) & _HEAP_TYPE:
            raise Unreadable("no instance of a Python class")
        before = struct.unpack("<QQ", self._memory.read(instance - 32, 16))
        dictionary, values = before[1], 0
        if release == (3, 11):
            values = before[0]
        elif release == (3, 12):
            dictionary, values = (0, dictionary + 1) if dictionary & 1 else (dictionary, 0)
        elif not dictionary and self._memory.word(kind + 168) & _INLINE_VALUES:
            values = instance + self._memory.word(kind + 32) + 8
        if dictionary:
            return self.value(dictionary, name)
        keys = self._key_entries(self._memory.word(kind + self._layout.cached_keys))
        for index, (key, _) in enumerate(keys):
            if key and self.text(key) == name:
                return self._memory.word(values + 8 * index)
        raise Unreadable(f"no {name}")

    def integer(self, address: int) -> int:
        """An `int` that is not negative and fits into 64 bits."""
        size, *digits = struct.unpack("<qIII", self._memory.read(address + 16, 20))
        count = size if self._layout.release == (3, 11) else size >> 3
        if not 0 <= count <= 3:
            raise Unreadable(f"no small number at {address:#x}")
        return sum(digit << 30 * index for index, digit in enumerate(digits[:count]))
