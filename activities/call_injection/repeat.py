"""Runs a Python program again and again in one interpreter, so that a profiler sees its work rather than its start.

    python repeat.py SECONDS script.py ARGUMENTS ...        python repeat.py SECONDS -m module ARGUMENTS ...

It ends after SECONDS, or with the program's first error.
"""

import runpy
import sys
import time


def once(words: list[str]) -> None:
    if words[0] == "-m":
        sys.argv = words[1:]
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    until = time.monotonic() + float(sys.argv[1])
    words = sys.argv[2:]
    sys.path[0] = "" if words[0] == "-m" else words[0].rpartition("/")[0]
    while time.monotonic() < until:
        try:
            once(words)
        except SystemExit as end:
            if end.code not in (None, 0):
                raise


if __name__ == "__main__":
    main()
