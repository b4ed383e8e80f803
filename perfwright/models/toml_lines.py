"""Which line of a TOML text each key stands on: `tomllib` does not tell.

Only for texts that `tomllib` has accepted: the scanner relies on correct syntax (TOML 1.0, https://toml.io/en/v1.0.0).
"""

import tomllib
from bisect import bisect_right

KeyPath = tuple[str | int, ...]
"""Keys and array indexes from the root: `("targets", "shop", "process", "port")`."""

_BARE_KEY = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-")


def key_lines(text: str) -> dict[KeyPath, int]:
    """Path of every table, key and array element -> line number, from 1."""
    return _Scanner(text.replace("\r\n", "\n")).scan()


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text + "\n"
        self.at = 0
        self.newlines = [i for i, c in enumerate(self.text) if c == "\n"]
        self.lines: dict[KeyPath, int] = {}
        self.elements: dict[KeyPath, int] = {}
        """Arrays of tables -> how many tables they have so far."""

    def scan(self) -> dict[KeyPath, int]:
        table: KeyPath = ()
        while self._skip_blank():
            if self.text[self.at] == "[":
                table = self._header()
            else:
                self._key_value(table)
        return self.lines

    def _note(self, path: KeyPath) -> None:
        self.lines.setdefault(path, bisect_right(self.newlines, self.at - 1) + 1)

    def _skip_blank(self) -> bool:
        """Go past white space, line ends and comments; False at the end of the text."""
        while self.at < len(self.text):
            c = self.text[self.at]
            if c == "#":
                self.at = self.text.index("\n", self.at)
            elif c not in " \t\r\n":
                return True
            else:
                self.at += 1
        return False

    def _header(self) -> KeyPath:
        array = self.text.startswith("[[", self.at)
        start = self.at
        self.at += 2 if array else 1
        keys = self._dotted_key()
        end = self.at
        self.at = start
        path: KeyPath = ()
        for position, key in enumerate(keys):
            path += (key,)
            self._note(path)
            last = position == len(keys) - 1
            if last and array:
                self.elements[path] = self.elements.get(path, 0) + 1
            if path in self.elements:
                path += (self.elements[path] - 1,)
                self._note(path)
        self.at = self.text.index("]", end) + (2 if array else 1)
        return path

    def _key_value(self, table: KeyPath) -> None:
        start = self.at
        keys = self._dotted_key()
        end = self.at
        self.at = start
        for length in range(1, len(keys) + 1):
            self._note(table + keys[:length])
        self.at = self.text.index("=", end) + 1
        self._value(table + keys)

    def _dotted_key(self) -> tuple[str, ...]:
        keys: list[str] = []
        while True:
            self._skip_blank()
            start = self.at
            if self.text[self.at] in "\"'":
                self._string()
                keys.append(tomllib.loads(f"key = {self.text[start : self.at]}")["key"])
            else:
                while self.text[self.at] in _BARE_KEY:
                    self.at += 1
                keys.append(self.text[start : self.at])
            self._skip_blank()
            if self.text[self.at] != ".":
                return tuple(keys)
            self.at += 1

    def _value(self, path: KeyPath) -> None:
        self._skip_blank()
        match self.text[self.at]:
            case '"' | "'":
                self._string()
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case _:
                while self.text[self.at] not in ",]}#\n":
                    self.at += 1

    def _string(self) -> None:
        quote = self.text[self.at]
        closing = quote * 3 if self.text.startswith(quote * 3, self.at) else quote
        self.at += len(closing)
        while not self.text.startswith(closing, self.at):
            self.at += 2 if quote == '"' and self.text[self.at] == "\\" else 1
        self.at += len(closing)
        # A multi-line string may end in one or two quotes of its own, right before the closing three.
        while len(closing) == 3 and self.text[self.at] == quote:
            self.at += 1

    def _array(self, path: KeyPath) -> None:
        self.at += 1
        index = 0
        while self._skip_blank() and self.text[self.at] != "]":
            self._note((*path, index))
            self._value((*path, index))
            index += 1
            self._skip_blank()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1

    def _inline_table(self, path: KeyPath) -> None:
        self.at += 1
        while self._skip_blank() and self.text[self.at] != "}":
            self._key_value(path)
            self._skip_blank()
            if self.text[self.at] == ",":
                self.at += 1
        self.at += 1
