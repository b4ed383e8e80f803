"""Calls one function with recorded arguments, and with arguments varied from them, and writes down what each call gave.

    python call_again.py ORDER.json

Run once in the old tree and once in the new one, each in an interpreter of its own; what both wrote is compared. It imports the standard
library only and what the function itself needs. Every call is made twice with equal arguments, so that what a function remembers shows.
"""

from __future__ import annotations

import builtins
import contextlib
import copy
import hashlib
import importlib
import importlib.util
import io
import itertools
import json
import os
import pickle
import random
import re
import resource
import signal
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from types import FrameType, ModuleType

QUOTED = re.compile(r"['\"]([^'\"]*)['\"]")
ADDRESS = re.compile(r"0x[0-9a-fA-F]+")
DEEPEST, LARGEST = 12, 20_000
SHOWN = 300
MEMORY_BYTES = 4 << 30
SKIPPED = "skipped"
LEAST = 4
"""Calls that are made however long they take."""


class Word(str):
    """A text that is not exactly one."""


class TooLate(BaseException):
    """A call that takes longer than it may. No Exception: code under test does not catch it."""


def load(order: dict[str, Any]) -> Callable[..., Any]:
    """The function, from the tree."""
    sys.path[:] = order["sys_path"]
    found: Any
    if order["module"] and order["module"] != "__main__":
        found = importlib.import_module(order["module"])
    else:
        found = from_file(order["path"])
    for name in order["function"].split("."):
        found = vars(found)[name] if isinstance(found, type) else getattr(found, name)
    if isinstance(found, (staticmethod, classmethod)):
        found = found.__func__
    if isinstance(found, property):
        found = found.fget
    function: Callable[..., Any] = found
    return function


def from_file(path: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location("_called_again", path)
    assert spec is not None and spec.loader is not None, "a file of Python has a loader"
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


class Unpickler(pickle.Unpickler):
    """Classes of the program's own script are looked for in its file."""

    def __init__(self, data: bytes, main: str) -> None:
        super().__init__(io.BytesIO(data))
        self.main = main

    def find_class(self, module: str, name: str) -> Any:
        if module == "__main__" and self.main:
            return getattr(sys.modules.get("_called_again") or from_file(self.main), name)
        return super().find_class(module, name)


def told(value: Any, depth: int = 0, budget: list[int] | None = None) -> Any:
    """A value as nested tuples that are equal exactly where the values are alike, in every interpreter."""
    budget = budget if budget is not None else [LARGEST]
    budget[0] -= 1
    if depth > DEEPEST or budget[0] < 0:
        return "..."
    kind = type(value)
    if value is None or kind in (bool, int, float, complex, str, bytes, bytearray):
        return (kind.__name__, repr(value))
    if kind in (list, tuple):
        return (kind.__name__, *(told(one, depth + 1, budget) for one in value))
    if kind is dict:
        return ("dict", *((told(key, depth + 1, budget), told(one, depth + 1, budget)) for key, one in value.items()))
    if kind in (set, frozenset):
        return (kind.__name__, *sorted(repr(told(one, depth + 1, budget)) for one in value))
    if isinstance(value, BaseException):
        return ("raised", kind.__module__, kind.__qualname__, told(value.args, depth + 1, budget))
    state: dict[str, Any] = {}
    for owner in kind.__mro__:
        slots = owner.__dict__.get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            with contextlib.suppress(AttributeError):
                state[name] = getattr(value, name)
    state.update(getattr(value, "__dict__", {}))
    shown = "" if getattr(kind, "__repr__", None) is getattr(object, "__repr__", None) else ADDRESS.sub("0x", repr(value)[:2_000])
    if isinstance(value, (list, tuple, dict, set)):
        return (kind.__qualname__, shown, told(copy.copy(state), depth + 1, budget), *(told(one, depth + 1, budget) for one in value))
    return (kind.__module__, kind.__qualname__, shown if not state else "", told(state, depth + 1, budget))


def outline(value: Any, depth: int = 0) -> str:
    """What kind of thing it is, and how large. Never what it holds: the real run's arguments may be secrets, and this is kept and shown."""
    kind = type(value)
    if value is None or kind is bool:
        return repr(value)
    if kind in (str, bytes):
        return f"{kind.__name__} of {len(value)}"
    if kind in (list, tuple, set, frozenset, dict):
        if len(value) <= 3 and depth < 3:
            inner = [outline(one, depth + 1) for one in value]
            return f"{kind.__name__}[{', '.join(inner)}]"
        return f"{kind.__name__} of {len(value)} {' or '.join(sorted({type(one).__name__ for one in value})[:4])}"
    return kind.__qualname__


def raised(trouble: BaseException) -> str:
    """The exception's type; its words only where the interpreter wrote them, without what it quotes, unless that names a builtin."""
    kind = type(trouble)
    if kind not in (
        TypeError,
        AttributeError,
        NameError,
        IndexError,
        ZeroDivisionError,
        UnboundLocalError,
        ImportError,
        ModuleNotFoundError,
    ):
        return kind.__qualname__
    words = QUOTED.sub(lambda found: found[0] if hasattr(builtins, found[1]) else "'...'", str(trouble))
    return f"{kind.__qualname__}: {words}"


def drained(value: Any) -> Any:
    """What an iterator gives, bounded; anything else as it is."""
    if hasattr(value, "__next__") and hasattr(value, "__iter__"):
        return ["iterator", *itertools.islice(value, 10_000)]
    return value


EDGES: tuple[Callable[[], Any], ...] = (
    *(lambda: None, lambda: "", lambda: "x", lambda: 0, lambda: -1, lambda: 2**70, lambda: 1.5, lambda: float("nan"), lambda: True),
    *(lambda: b"", lambda: [], lambda: [[]], lambda: {}, lambda: (), lambda: set(), lambda: object(), lambda: iter([1, 2])),
    *(lambda: -0.0, lambda: bytearray(b"x"), lambda: Word("x")),
)
"""What nobody expects: other types, empty ones, what cannot be hashed, what can be read once, what is equal to another type's."""


def places(value: Any, depth: int = 0) -> Iterator[tuple[Callable[[Any], Any], Any]]:
    """Where in the arguments something can be put: (setter, what stands there)."""
    if depth > 4:
        return
    if type(value) is list:
        for number in [*range(min(len(value), 3)), len(value) - 1] if value else []:
            yield partial(value.__setitem__, number), value[number]
            yield from places(value[number], depth + 1)
    elif type(value) is dict:
        for key in list(value)[:4]:
            yield partial(value.__setitem__, key), value[key]
            yield from places(value[key], depth + 1)
    elif type(value) is tuple:
        for one in value[:4]:
            yield from places(one, depth + 1)
    else:
        names = list(getattr(value, "__dict__", {}))
        for owner in type(value).__mro__:
            slots = owner.__dict__.get("__slots__", ())
            names += [slots] if isinstance(slots, str) else list(slots)
        for name in names[:8]:
            if hasattr(value, name) and not isinstance(value, type):
                yield partial(object.__setattr__, value, name), getattr(value, name)
                yield from places(getattr(value, name), depth + 1)


def other(value: Any, chance: random.Random) -> Any:
    """Something like it, or nothing like it."""
    if chance.random() < 0.45:
        if type(value) is str:
            return chance.choice(["", value + "x", value[:1], value.upper(), value[::-1], value * 2, "\u00e9\n" + value, Word(value)])
        if type(value) is bytes:
            return chance.choice([b"", value + b"x", value[:1], value[::-1]])
        if type(value) is int:
            return chance.choice([0, -value, value + 1, value - 1, 2**70, value == 1, value % 1_000 * 1.0])
        if type(value) is list:
            extra = chance.choice(EDGES)()
            return chance.choice([[], value[::-1], value + value, [*value, extra], [extra, *value], value[:1], tuple(value), iter(value)])
        if type(value) is dict:
            return chance.choice([{}, dict(reversed(list(value.items())))])
    return chance.choice(EDGES)()


def varied(given: tuple[Any, ...], named: dict[str, Any], number: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """The arguments with one or two things in them replaced; the same in every interpreter for the same number."""
    chance = random.Random(number)
    changed = list(given)
    for _ in range(chance.choice((1, 1, 2))):
        found: list[tuple[Callable[[Any], Any], Any]] = [(partial(changed.__setitem__, at), one) for at, one in enumerate(changed)]
        found += [(partial(named.__setitem__, key), one) for key, one in named.items()]
        top = len(found)
        found += list(itertools.islice(itertools.chain.from_iterable(places(one) for one in [*changed, *named.values()]), 200))
        if not found:
            break
        put, old = found[chance.randrange(top)] if top and chance.random() < 0.3 else chance.choice(found)
        put(other(old, chance))
    return tuple(changed), named


def called(
    function: Callable[..., Any], make: Callable[[], tuple[tuple[Any, ...], dict[str, Any]]], limit_s: float
) -> tuple[str, str, str, str]:
    """What the call gives, what it leaves of its arguments, and what it prints; twice."""
    parts, kind, shown, call = [], "value", "", ""
    for turn in range(2):
        given, named = make()
        if not turn:
            call = ", ".join([*map(outline, given), *(f"{name}={outline(one)}" for name, one in named.items())])[:SHOWN]
        printed = io.StringIO()
        signal.setitimer(signal.ITIMER_REAL, limit_s)
        try:
            with contextlib.redirect_stdout(printed):
                answer = drained(function(*given, **named))
                result = told(answer)
                says = f"{outline(answer)} #{hashlib.sha256(repr(result).encode('utf-8', 'backslashreplace')).hexdigest()[:6]}"
        except (TooLate, MemoryError, RecursionError):
            return SKIPPED, "", "it took too long, or too much", call
        except Exception as trouble:
            kind, result, says = "raised", told(trouble), raised(trouble)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
        parts.append((result, told((given, named)), printed.getvalue()[:10_000]))
        shown = shown or says[:SHOWN]
    digest = hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()
    if parts[0] != parts[1]:
        shown = f"{shown}, and the second time {says}"[: 2 * SHOWN]
    return kind, digest, shown, call


def late(number: int, frame: FrameType | None) -> None:
    raise TooLate


def main() -> None:
    with open(sys.argv[1], encoding="utf-8") as file:
        order = json.load(file)
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, resource.getrlimit(resource.RLIMIT_AS)[1]))
    signal.signal(signal.SIGALRM, late)
    function = load(order)
    with open(order["cases"], "rb") as kept:
        cases = pickle.load(kept)
    answers: list[list[object]] = []

    def add(case: bytes, number: int) -> None:
        def make() -> tuple[tuple[Any, ...], dict[str, Any]]:
            given, named = Unpickler(case, order["main"]).load()
            return varied(given, named, number) if number else (given, named)

        try:
            make()
        except Exception as trouble:
            answers.append(["unread", "", raised(trouble)[:SHOWN], "", bool(number)])
            return
        answers.append([*called(function, make, order["call_limit_s"]), bool(number)])

    until = time.monotonic() + order["spend_s"]
    for number in range(min(len(cases) + order["varied"], order["most"]) if cases else 0):
        if number >= LEAST and time.monotonic() > until:
            break
        add(cases[number % len(cases)], max(0, number - len(cases) + 1))
    part = order["answers"] + ".part"
    with open(part, "w", encoding="utf-8") as file:
        json.dump(answers, file)
    os.replace(part, order["answers"])


if __name__ == "__main__":
    main()
