"""Which share of the shop's work is each planted problem? Counted in instructions, not timed.

    python -m lab.count [--requests 80]

Runs `lab.replay` under valgrind's cachegrind (valgrind.org/docs/manual/cg-manual.html) with no problem, with each one alone and with
all. A problem's share is what it adds to the sound shop, of all that the shop with every problem does beyond its start:

    (alone - none) / (all - start)

With one hash seed the counts repeat to a few in a million; another machine or Python build counts differently. System calls are not
counted. Prints JSON; progress goes to standard error.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from lab.mix import DECK
from lab.problems import SHOP, VARIABLE
from lab.starting import ROOT

_RUN_S = 900.0
_LARGEST_REQUESTS = 4_000
_INSTRUCTIONS = re.compile(r"I\s+refs:\s+([\d,]+)")


class NotCounted(RuntimeError):
    """Valgrind is missing or the counted run failed."""


def instructions(wanted: str, requests: int, seed: int, hash_seed: int) -> int:
    """Instructions of a replay with the problems `wanted` (`all`, `none`, names), from the start of the interpreter to its end."""
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise NotCounted("valgrind is not installed; the Debian package is valgrind")
    with tempfile.TemporaryDirectory() as scratch:
        log = Path(scratch) / "log"
        tool = [valgrind, "--tool=cachegrind", "--cache-sim=no", f"--cachegrind-out-file={scratch}/out", f"--log-file={log}"]
        replay = [sys.executable, "-m", "lab.replay", "--requests", str(requests), "--seed", str(seed)]
        done = subprocess.run(
            [*tool, *replay],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_RUN_S,
            check=False,
            cwd=ROOT,
            env={**os.environ, VARIABLE: wanted, "PYTHONHASHSEED": str(hash_seed), "PYTHONDONTWRITEBYTECODE": "1"},
        )
        found = _INSTRUCTIONS.search(log.read_text(encoding="utf-8")) if log.exists() else None
        if done.returncode != 0 or found is None:
            raise NotCounted(f"the replay with {wanted} failed with status {done.returncode}: {done.stderr[-2_000:]}")
        return int(found[1].replace(",", ""))


def shares(counts: dict[str, int]) -> dict[str, float]:
    """From counts by what was on (`start`, `none`, `all` and each problem) to each problem's share of the requests' work, 0 to 1."""
    work = counts["all"] - counts["start"]
    return {name: (counts[name] - counts["none"]) / work for name in SHOP}


def main() -> None:
    parser = argparse.ArgumentParser(prog="lab.count", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    cards = sum(DECK.values())
    parser.add_argument("--requests", type=int, default=2 * cards, help=f"a multiple of {cards} (default %(default)s)")
    parser.add_argument("--seed", type=int, default=1, help="of the data and the requests")
    parser.add_argument("--hash-seed", type=int, default=0)
    options = parser.parse_args()
    if options.requests % cards or not 0 < options.requests <= _LARGEST_REQUESTS:
        parser.error(f"--requests: multiples of {cards} up to {_LARGEST_REQUESTS} are allowed, {options.requests} given")
    counts = {}
    for name in ("start", "none", "all", *SHOP):
        requests = 0 if name == "start" else options.requests
        counts[name] = instructions("none" if name == "start" else name, requests, options.seed, options.hash_seed)
        print(f"{name}: {counts[name]:,} instructions", file=sys.stderr, flush=True)
    rounded = {name: round(share, 4) for name, share in shares(counts).items()}
    sound = round((counts["none"] - counts["start"]) / (counts["all"] - counts["start"]), 4)
    print(json.dumps({"requests": options.requests, "instructions": counts, "shares": rounded, "share_of_sound_work": sound}, indent=2))


if __name__ == "__main__":
    try:
        main()
    except NotCounted as error:
        sys.exit(f"lab.count: {error}")
