"""A file's bytes before and after an edit, and the stretch between them that is all an undo needs."""

import base64
import hashlib
import re
from dataclasses import dataclass

from perfwright.models.change import FileSpec
from perfwright.models.secrets import holds_secret

FILE_BYTES = 4 * 1024 * 1024
STRETCH_BYTES = 120_000
_WORDS = r"(pass(word|wd|phrase)?|secret|token|api[-_]?key|access[-_]?key|private[-_]?key|credential)s?\w*"
_SECRET = re.compile(
    _WORDS + r"['\"]?\s*[:=]\s*(?!\d{1,6}\s*$)\S",
    re.IGNORECASE | re.MULTILINE,
)
_SECRET_IN_CODE = re.compile(_WORDS + r"['\"]?\s*[:=]\s*['\"][^'\"\s]{4,}['\"]", re.IGNORECASE)
"""In code a name alone says nothing (`token = tokens[0]`): a text has to stand there."""


class EditRefused(ValueError):
    """The reason."""


@dataclass(frozen=True)
class Stretch:
    """What differs: at `offset`, `old` is replaced by `new`."""

    offset: int
    old: bytes
    new: bytes

    def applied(self, content: bytes) -> bytes:
        return content[: self.offset] + self.new + content[self.offset + len(self.old) :]

    def undone(self, content: bytes) -> bytes:
        return content[: self.offset] + self.old + content[self.offset + len(self.new) :]


def edited(before: bytes, spec: FileSpec) -> bytes:
    """The content after the edit. Raises EditRefused where a text does not stand there exactly once, or nothing changes."""
    if len(before) > FILE_BYTES:
        raise EditRefused(f"the file has {len(before):,} bytes, at most {FILE_BYTES:,} are allowed")
    after = before
    if spec.content is not None:
        after = spec.content.encode()
    for number, one in enumerate(spec.replacements, 1):
        found = after.count(one.find.encode())
        if found != 1:
            raise EditRefused(f"replacement {number}: its text stands {found} times in the file, exactly once is allowed")
        after = after.replace(one.find.encode(), one.replace.encode())
    if after == before:
        raise EditRefused("nothing would change")
    return after


def stretch_between(before: bytes, after: bytes) -> Stretch:
    """The shortest stretch that leads from one to the other. Raises EditRefused for one that is too long to be recorded, or is secret."""
    start = _common(before, after)
    rest = min(len(before), len(after)) - start
    end = _common(before[len(before) - rest :][::-1], after[len(after) - rest :][::-1]) if rest else 0
    stretch = Stretch(start, before[start : len(before) - end], after[start : len(after) - end])
    if len(stretch.old) + len(stretch.new) > STRETCH_BYTES:
        raise EditRefused(f"what changes has more than {STRETCH_BYTES:,} bytes: edit less at a time")
    if looks_secret(_lines(before, start, len(before) - end)) or looks_secret(_lines(after, start, len(after) - end)):
        raise EditRefused("a line that changes looks like it holds a password or token, and changes are recorded: edit it by hand")
    return stretch


def looks_secret(text: bytes, *, code: bool = False) -> bool:
    """Whether a line of it seems to hold a password, token or key; of `code`, whether one is written there as text."""
    shown = text.decode(errors="replace")
    return bool((_SECRET_IN_CODE if code else _SECRET).search(shown)) or any(holds_secret(word) for word in shown.split() if "://" in word)


def patch_looks_secret(patch: str) -> bool:
    """Whether a line that a unified diff adds or takes away seems to hold one, written as text in code."""
    return looks_secret("\n".join(line for line in patch.splitlines() if line[:1] in "+-").encode(), code=True)


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def decoded(text: str) -> bytes:
    return base64.b64decode(text)


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _lines(content: bytes, start: int, end: int) -> bytes:
    """The whole lines that the stretch touches."""
    first = content.rfind(b"\n", 0, start) + 1
    last = content.find(b"\n", end)
    return content[first : len(content) if last < 0 else last]


def _common(left: bytes, right: bytes) -> int:
    """How many bytes both begin with."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low
