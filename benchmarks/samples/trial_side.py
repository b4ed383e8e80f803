"""A side of a trial for `benchmarks.trial_power`: the same work in every iteration, allocating and hashing as programs do.

    python trial_side.py [EXTRA_SHARE]

EXTRA_SHARE: so much more of the same work, 0.05 for 5 %.
"""

import os
import sys
import time

UNITS = 400


def work(units: int) -> int:
    found: dict[str, int] = {}
    for number in range(units):
        key = f"key {number % 97}"
        found[key] = found.get(key, 0) + number
    return sum(found.values())


def cpu_s() -> float:
    used = os.times()
    return time.process_time() + used.children_user + used.children_system


def main() -> None:
    units = round(UNITS * (1 + float(sys.argv[1]))) if len(sys.argv) > 1 else UNITS
    for order in sys.stdin:
        wall, cpu = time.perf_counter(), cpu_s()
        work(units)
        first_wall, first_cpu = time.perf_counter() - wall, cpu_s() - cpu
        for _ in range(int(order) - 1):
            work(units)
        print(f"slice {time.perf_counter() - wall:.9f} {cpu_s() - cpu:.9f} {first_wall:.9f} {first_cpu:.9f}", flush=True)


if __name__ == "__main__":
    main()
