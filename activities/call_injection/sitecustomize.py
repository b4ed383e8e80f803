"""Put on the PYTHONPATH of a program for one run: records how often named functions are called and with which arguments.

Runs in the program's own interpreter (CPython 3.8 or newer), so it imports the standard library only, and does nothing unless its variable
names an order. What it sees goes into files of the order's folder when the interpreter ends: a summary as JSON, arguments as pickles.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib.machinery
import importlib.util
import json
import os
import pickle
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import CodeType, FrameType

VARIABLE = "PERFWRIGHT_CALLS"
FIRST_KEPT, GROWTH = 12, 1.25
"""The first calls are kept, then ever fewer: call 15, 19, 24 and so on."""
PLAIN = frozenset((str, bytes, int, bool, type(None)))
NOT_CALLED_AGAIN = 0x20 | 0x80 | 0x200
"""Generators and coroutines: their frames are entered again and again."""


class Watch:
    """One function, and what was seen of it."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self.path, self.function, self.line = wanted["path"], wanted["function"], wanted["line"]
        self.module, self.main = "", ""
        self.calls = self.plain_calls = self.repeated = 0
        self.known: dict[tuple[Any, ...], bool] = {}
        self.next_kept = 1
        self.cases: list[bytes] = []
        self.not_kept = ""

    def summary(self) -> dict[str, Any]:
        fields = ("path", "function", "line", "calls", "plain_calls", "repeated", "not_kept", "module", "main")
        return {**{name: getattr(self, name) for name in fields}, "distinct": len(self.known), "kept": len(self.cases)}


class Recorder:
    """The profile function of every thread."""

    def __init__(self, order: dict[str, Any]) -> None:
        self.order = order
        self.watched = [Watch(wanted) for wanted in order["functions"]]
        self.names = frozenset(one.function for one in self.watched)
        self.found: dict[tuple[str, str, int], Watch | None] = {}
        self.spent_s, self.bytes = 0.0, 0
        self.lock = threading.Lock()
        self.inside = threading.local()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event != "call" or frame.f_code.co_name not in self.names or getattr(self.inside, "busy", False):
            return
        self.inside.busy = True
        try:
            with self.lock:
                self.see(frame, frame.f_code)
        finally:
            self.inside.busy = False

    def see(self, frame: FrameType, code: CodeType) -> None:
        place = (code.co_filename, code.co_name, code.co_firstlineno)
        if place not in self.found:
            self.found[place] = next((one for one in self.watched if self.fits(one, code)), None)
        watch = self.found[place]
        if watch is None:
            return
        watch.calls += 1
        if code.co_flags & NOT_CALLED_AGAIN:
            watch.not_kept = "it is a generator or coroutine"
            return
        given, named = arguments_of(frame, code)
        if not named and PLAIN.issuperset(map(type, given)):
            watch.plain_calls += 1
            key = tuple((type(one), one) for one in given)
            if key in watch.known:
                watch.repeated += 1
            elif len(watch.known) < self.order["distinct"]:
                watch.known[key] = True
        if watch.calls >= watch.next_kept and len(watch.cases) < self.order["keep"]:
            watch.next_kept = watch.calls + 1 if watch.calls < FIRST_KEPT else int(watch.calls * GROWTH) + 1
            self.keep(watch, frame, given, named)

    def fits(self, watch: Watch, code: CodeType) -> bool:
        name = code.co_filename.replace("\\", "/")
        same = name == watch.path or name.endswith("/" + watch.path)
        return same and code.co_name == watch.function and (watch.line == 0 or code.co_firstlineno == watch.line)

    def keep(self, watch: Watch, frame: FrameType, given: tuple[Any, ...], named: dict[str, Any]) -> None:
        if self.spent_s > self.order["spend_s"] or self.bytes > self.order["bytes"]:
            watch.not_kept = watch.not_kept or "no more time or space for arguments"
            return
        began = time.perf_counter()
        try:
            case = pickle.dumps((given, named), protocol=4)
        except Exception as trouble:  # whatever a stranger's class raises there
            watch.not_kept = watch.not_kept or f"arguments cannot be pickled: {type(trouble).__name__}: {trouble}"[:200]
            return
        finally:
            self.spent_s += time.perf_counter() - began
        self.bytes += len(case)
        watch.cases.append(case)
        watch.module = frame.f_globals.get("__name__", "")
        spec = frame.f_globals.get("__spec__")
        if watch.module == "__main__" and spec is not None:
            watch.module = spec.name
        watch.main = getattr(sys.modules.get("__main__"), "__file__", None) or ""

    def write(self) -> None:
        sys.setprofile(None)
        threading.setprofile(None)
        if not any(one.calls for one in self.watched):
            return
        place = os.path.join(self.order["folder"], str(os.getpid()))
        with open(place + ".pickle", "wb") as file:
            pickle.dump([one.cases for one in self.watched], file)
        summary = {"functions": [one.summary() for one in self.watched], "sys_path": sys.path, "spent_s": self.spent_s}
        with open(place + ".part", "w", encoding="utf-8") as file:
            json.dump(summary, file)
        os.replace(place + ".part", place + ".json")

    def forget(self) -> None:
        """In a forked child: what the parent has seen is the parent's to write."""
        for one in self.watched:
            one.calls = one.plain_calls = one.repeated = 0
            one.cases = []
        self.lock = threading.Lock()


def arguments_of(frame: FrameType, code: CodeType) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """As the function was called: positional ones, and those by name."""
    local = frame.f_locals
    count, only_named = code.co_argcount, code.co_kwonlyargcount
    names = code.co_varnames
    given = [local[name] for name in names[:count]]
    named = {name: local[name] for name in names[count : count + only_named]}
    more = count + only_named
    if code.co_flags & 0x04:
        given += local[names[more]]
        more += 1
    if code.co_flags & 0x08:
        named.update(local[names[more]])
    return tuple(given), named


def start(place: str) -> None:
    with open(place, encoding="utf-8") as file:
        recorder = Recorder(json.load(file))
    atexit.register(recorder.write)
    os.register_at_fork(after_in_child=recorder.forget)
    threading.setprofile(recorder)
    sys.setprofile(recorder)


def the_next_one() -> None:
    """The program's own sitecustomize, which this one hides."""
    here = os.path.dirname(os.path.abspath(__file__))
    others = [path for path in sys.path if os.path.abspath(path or ".") != here]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


if os.environ.get(VARIABLE):
    with contextlib.suppress(ImportError):
        the_next_one()
    start(os.environ[VARIABLE])
