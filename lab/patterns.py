"""Small programs with one pattern of CPU use each: `python lab/patterns.py PATTERN [--seconds 60] [--threads 10] [--progress FILE]`.

Stands alone, prints `ready`, ends by itself. With `--progress`, the units of work done so far are a little-endian 64-bit number at
the start of FILE: the throughput of a running program can be read without asking it anything.
"""

import argparse
import mmap
import os
import socket
import struct
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

LARGEST_SECONDS = 3_600.0
LARGEST_THREADS = 1_000


class Work:
    """Units of work until the time is over, counted where someone may read along."""

    def __init__(self, seconds: float, threads: int, progress: Path | None) -> None:
        self.seconds = seconds
        self.threads = threads
        self._over_at = time.monotonic() + seconds
        self._units = 0
        self._count = threading.Lock()
        self._shown: mmap.mmap | None = None
        if progress is not None:
            progress.write_bytes(bytes(8))
            with progress.open("r+b") as file:
                self._shown = mmap.mmap(file.fileno(), 8)

    @property
    def over(self) -> bool:
        return time.monotonic() >= self._over_at

    def done(self) -> None:
        with self._count:
            self._units += 1
            if self._shown is not None:
                struct.pack_into("<Q", self._shown, 0, self._units)


def checksum(rounds: int) -> int:
    """About a millisecond of bytecode for 10,000 rounds."""
    state = 1
    for number in range(rounds):
        state = (state * 31 + number) % 65_521
    return state


def calculate(work: Work) -> None:
    while not work.over:
        checksum(10_000)
        work.done()


def ready() -> None:
    print("ready", flush=True)


def together(count: int, target: Callable[[], None], name: str) -> list[threading.Thread]:
    """Threads that do not keep the program alive, started."""
    threads = [threading.Thread(target=target, name=f"{name}-{number}", daemon=True) for number in range(count)]
    for thread in threads:
        thread.start()
    return threads


def one_thread(work: Work) -> None:
    """One of several threads is saturated, the others wait for work."""
    idle = threading.Event()
    together(3, lambda: _wait(idle), "waiting")
    ready()
    calculate(work)


def gil(work: Work) -> None:
    """Four threads calculate in Python: one core's worth between them."""
    threads = together(4, lambda: calculate(work), "calculating")
    ready()
    for thread in threads:
        thread.join()


def lock(work: Work) -> None:
    """Five threads want one lock and hold it while they wait for an answer."""
    asking, answering = socket.socketpair()
    held = threading.Lock()

    def answer() -> None:
        while answering.recv(1):
            time.sleep(0.02)
            answering.send(b".")

    def ask() -> None:
        while not work.over:
            with held:
                asking.send(b"?")
                asking.recv(1)
                work.done()

    together(1, answer, "answering")
    threads = together(5, ask, "asking")
    ready()
    for thread in threads:
        thread.join()


def io(work: Work) -> None:
    """Four threads wait for data that comes twenty times a second."""
    pairs = [socket.socketpair() for _ in range(4)]

    def read(receiving: socket.socket) -> None:
        while receiving.recv(64):
            work.done()

    for number, (_, receiving) in enumerate(pairs):
        threading.Thread(target=read, args=(receiving,), name=f"reading-{number}", daemon=True).start()
    ready()
    while not work.over:
        for sending, _ in pairs:
            sending.send(b"data")
        time.sleep(0.05)


def kernel(work: Work) -> None:
    """Reads of zeros and look-ups of files: nearly all time is the kernel's."""
    buffer = bytearray(1_000_000)
    with tempfile.TemporaryDirectory() as folder, Path("/dev/zero").open("rb", buffering=0) as zeros:
        ready()
        looked_up = Path(folder)
        while not work.over:
            for _ in range(20):
                zeros.readinto(buffer)
            for _ in range(100):
                looked_up.stat()
            work.done()


def recursion(work: Work) -> None:
    """A function that calls itself, a few hundred deep in places."""

    def weigh(tree: list[object]) -> int:
        return 1 + sum(weigh(branch) for branch in tree if isinstance(branch, list))

    deep: list[object] = []
    for _ in range(150):
        deep = [deep]
    wide: list[object] = [[[[] for _ in range(6)] for _ in range(6)] for _ in range(6)]
    ready()
    while not work.over:
        weigh([deep, wide])
        work.done()


def forks(work: Work) -> None:
    """The work is done by two forked children."""
    children = []
    for _ in range(2):
        child = os.fork()
        if child == 0:
            calculate(work)
            os._exit(0)
        children.append(child)
    ready()
    for child in children:
        os.waitpid(child, 0)


def threads(work: Work) -> None:
    """One thread calculates beside `--threads` idle ones."""
    idle = threading.Event()
    together(work.threads, lambda: _wait(idle), "idle")
    ready()
    calculate(work)


def _wait(event: threading.Event) -> None:
    event.wait()


PATTERNS: dict[str, Callable[[Work], None]] = {
    "one-thread": one_thread,
    "gil": gil,
    "lock": lock,
    "io": io,
    "kernel": kernel,
    "recursion": recursion,
    "forks": forks,
    "threads": threads,
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="patterns.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pattern", choices=PATTERNS)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=10, help="idle threads of the pattern `threads`")
    parser.add_argument("--progress", type=Path, help="file that shows the units of work done")
    options = parser.parse_args()
    if not 0 < options.seconds <= LARGEST_SECONDS or not 0 <= options.threads <= LARGEST_THREADS:
        parser.error(f"--seconds up to {LARGEST_SECONDS:g} and --threads up to {LARGEST_THREADS} are allowed")
    PATTERNS[options.pattern](Work(options.seconds, options.threads, options.progress))


if __name__ == "__main__":
    main()
