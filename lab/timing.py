"""Which share of the shop's CPU time is each planted problem? Timed in the shop itself, thread by thread, while it serves its load.

    python -m lab.timing [--seconds 30] [--rate 120]

Each planted function is wrapped in two readings of its thread's CPU clock (`time.thread_time`: CLOCK_THREAD_CPUTIME_ID, clock_gettime(2));
a problem's share is what its calls used of all that the process used in the same seconds. What a reading costs is measured beforehand and
taken off. No profiler has a part in it: this is what a profiler's shares of time are held against, as `lab.count` is for instructions.
Prints JSON.
"""

import argparse
import importlib
import itertools
import json
import sys
import time
import urllib.request
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from lab import load, problems
from lab.starting import NotStarted, Program, stop_by_signal

PATH = "/timing"
LARGEST_SECONDS = 600.0
_READY_S = 60.0
_SETTLE_S = 1.0


class Stopwatch:
    """CPU seconds of the calls of some functions, over all threads.

    Of short functions every n-th call is timed: reading the clock is a system call, which would take as long as they do.
    """

    def __init__(self) -> None:
        self._took: dict[str, list[float]] = {}
        self._every: dict[str, int] = {}
        self._reading_s = _cost_of_reading()

    def timed(self, name: str, function: Callable[..., Any], every: int = 1) -> Callable[..., Any]:
        """The function, of whose calls every `every`-th is timed under `name`."""
        clock, turn = time.thread_time, itertools.cycle(range(every)).__next__
        took = self._took.setdefault(name, []).append  # appending needs no lock under the GIL
        self._every[name] = every

        @wraps(function)
        def call(*arguments: Any) -> Any:
            if turn():
                return function(*arguments)
            began = clock()
            try:
                return function(*arguments)
            finally:
                took(clock() - began)

        return call

    def reading(self) -> dict[str, Any]:
        """CPU seconds since the start: of the process, and of each function. One reading of the clock is in every time that was taken."""
        timed = {name: len(took) for name, took in self._took.items()}
        spent = {name: self._every[name] * (sum(took[: timed[name]]) - self._reading_s * timed[name]) for name, took in self._took.items()}
        return {"cpu_s": time.process_time() - 2 * self._reading_s * sum(timed.values()), "spent_s": spent}


def _cost_of_reading() -> float:
    """CPU seconds that one reading of the thread's clock takes: the least of some rounds."""
    rounds = []
    for _ in range(20):
        began = time.thread_time()
        for _ in range(1_000):
            time.thread_time()
        rounds.append((time.thread_time() - began) / 1_000)
    return min(rounds)


def shares(before: dict[str, Any], after: dict[str, Any]) -> dict[str, float]:
    """Each problem's share of the CPU time between two readings."""
    cpu_s = after["cpu_s"] - before["cpu_s"]
    return {name: (after["spent_s"][name] - before["spent_s"][name]) / cpu_s for name in after["spent_s"]}


def read(url: str) -> dict[str, Any]:
    """A reading of a shop that runs with its stopwatch on."""
    with urllib.request.urlopen(f"{url}{PATH}", timeout=10) as reply:  # noqa: S310  our own loopback address
        told: dict[str, Any] = json.load(reply)
        return told


def _serve() -> None:
    """The shop as `python -m lab.shop` serves it, with its planted functions timed."""
    from starlette.applications import Starlette
    from starlette.requests import Request
    from starlette.responses import JSONResponse
    from starlette.routing import Route

    from lab.shop import app, pictures, pricing, reports

    shop = importlib.import_module("lab.shop.__main__")

    watch = Stopwatch()
    used: tuple[tuple[str, ModuleType, str, int], ...] = (
        ("discount-rules", pricing, "qualifying_campaigns", 1),
        ("delivery-notes", app, "delivered_pieces", 1),
        ("report-dates", reports, "day_of", 97),
        ("stock-merge", app, "merge_counts", 1),
        ("picture-checksums", pictures, "checksum", 1),
    )
    for name, module, function, every in used:
        setattr(module, function, watch.timed(name, getattr(module, function), every))

    async def timing(request: Request) -> JSONResponse:
        return JSONResponse(watch.reading())

    def timed_app(*arguments: Any, **options: Any) -> Starlette:
        made = app.shop_app(*arguments, **options)
        made.router.routes.append(Route(PATH, timing))
        return made

    setattr(shop, "shop_app", timed_app)
    shop.main()


def main() -> None:
    if sys.argv[1:2] == ["serve"]:
        del sys.argv[1]
        _serve()
        return
    parser = argparse.ArgumentParser(prog="lab.timing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=load.RATE_PER_S, help="requests per second (default %(default)s)")
    parser.add_argument("--problems", default="all", help="all, none, or names with commas")
    options = parser.parse_args()
    if not 0 < options.seconds <= LARGEST_SECONDS or not 0 < options.rate <= load.LARGEST_RATE_PER_S:
        parser.error(f"--seconds up to {LARGEST_SECONDS:g} and --rate up to {load.LARGEST_RATE_PER_S:g} are allowed")
    try:
        problems.chosen(options.problems)
    except ValueError as error:
        parser.error(str(error))
    stop_by_signal()
    shop = start_timed(options.problems)
    try:
        url = shop.ready(_READY_S)["url"]
        numbers = ["--rate", str(options.rate), "--duration", str(options.seconds + 2 * _SETTLE_S)]
        loading = Program([sys.executable, "-m", "lab.load", "--url", url, *numbers])
        try:
            time.sleep(_SETTLE_S)
            began, before = time.monotonic(), read(url)
            time.sleep(options.seconds)
            seconds, after = time.monotonic() - began, read(url)
        finally:
            loading.stop()
    finally:
        shop.stop()
    told = {name: round(share, 4) for name, share in shares(before, after).items()}
    print(json.dumps({"seconds": round(seconds, 1), "cores": round((after["cpu_s"] - before["cpu_s"]) / seconds, 3), "shares": told}))


def start_timed(wanted: str) -> Program:
    """The timed shop with these problems; it says where it listens as the shop does."""
    return Program([sys.executable, "-m", "lab.timing", "serve"], {problems.VARIABLE: wanted})


if __name__ == "__main__":
    try:
        main()
    except NotStarted as error:
        sys.exit(f"lab.timing: {error}")
