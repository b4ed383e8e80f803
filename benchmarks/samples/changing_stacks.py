"""A program whose stacks change quickly, and which knows itself how its CPU time is divided: `python FILE SECONDS`.

Five kinds of work take turns every few milliseconds. Each is charged by the thread's own CPU clock; the shares are printed at the end, as
JSON.
"""

import json
import sys
import time
from collections.abc import Callable, Iterator

TURN_S = {"deep": 0.003, "shallow": 0.002, "generated": 0.002, "called_by_c": 0.002, "still": 0.003}
DEPTH = 120
TRIAL = 200


def descend(levels: int) -> int:
    return descend(levels - 1) + 1 if levels else 0


def add_one(number: int) -> int:
    return number + 1


def double(number: int) -> int:
    return add_one(add_one(number)) * 2


def numbers(count: int) -> Iterator[int]:
    for number in range(count):
        yield add_one(number)


def passed_on(count: int) -> Iterator[int]:
    yield from numbers(count)


def negative(number: int) -> int:
    return -number


def deep() -> None:
    descend(DEPTH)


def shallow() -> None:
    for number in range(20):
        double(number)


def generated() -> None:
    sum(passed_on(20))


def called_by_c() -> None:
    sorted(range(20), key=negative)


def still() -> None:
    sum(range(2_000))


def main() -> None:
    works: tuple[Callable[[], None], ...] = (deep, shallow, generated, called_by_c, still)
    clock = time.thread_time
    rounds: dict[str, int] = {}
    for work in works:
        began = clock()
        for _ in range(TRIAL):
            work()
        rounds[work.__name__] = 1 + int(TURN_S[work.__name__] / (clock() - began) * TRIAL)
    used_s = dict.fromkeys(TURN_S, 0.0)
    print("ready", flush=True)
    until = time.monotonic() + float(sys.argv[1])
    while time.monotonic() < until:
        for work in works:
            began = clock()
            for _ in range(rounds[work.__name__]):
                work()
            used_s[work.__name__] += clock() - began
    whole = sum(used_s.values())
    print(json.dumps({name: used / whole for name, used in used_s.items()}), flush=True)


if __name__ == "__main__":
    main()
