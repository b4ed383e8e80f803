"""A program whose threads each stand still in another kind of stack: prints `ready` when all do, and ends with its input."""

import asyncio
import sys
import threading
import time
from collections.abc import Callable, Iterator

DEPTH = 3_000
LONG_S = 600.0
arrived = threading.Semaphore(0)


def stay(_: object = None) -> int:
    arrived.release()
    time.sleep(LONG_S)
    return 0


def deep(levels: int = DEPTH) -> int:
    return deep(levels - 1) if levels else stay()


def inner() -> Iterator[int]:
    yield stay()


def outer() -> Iterator[int]:
    yield from inner()


def in_generators() -> None:
    sum(number for number in outer() if number)


async def waits_long() -> int:
    return stay()


async def awaits() -> None:
    await waits_long()


def in_coroutines() -> None:
    asyncio.run(awaits())


def called_by_c() -> None:
    sorted([1], key=stay)


class Shop:
    def price(self) -> int:
        return (lambda: [stay() for _ in range(1)])()[0]

    @property
    def total(self) -> int:
        return self.price()


def in_methods() -> int:
    return Shop().total


def in_text() -> None:
    exec("def compiled():\n\n    stay()\ncompiled()", {"stay": stay})


def in_class_body() -> None:
    class Late:
        value = stay()


def größe() -> int:
    return stay()


SITUATIONS: tuple[Callable[[], object], ...] = (
    deep,
    in_generators,
    in_coroutines,
    called_by_c,
    in_methods,
    in_text,
    in_class_body,
    größe,
)

if __name__ == "__main__":
    sys.setrecursionlimit(2 * DEPTH)
    threading.stack_size(64 << 20)
    for situation in SITUATIONS:
        threading.Thread(target=situation, name=situation.__name__, daemon=True).start()
    for _ in SITUATIONS:
        arrived.acquire()
    print("ready", flush=True)
    sys.stdin.read()
