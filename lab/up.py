"""Brings the lab up and keeps it up for as long as its standard input stays open.

    python -m lab.up [--port 0] [--problems all] [--load] [--database] [--programs jvm,node,native] [--registry FILE]

Prints one JSON line when everything is ready and nothing else on standard output; with `--database` it holds, as `environment`, the
variable that the worker needs to reach the shop's database. Whatever ends this program (a signal, SIGKILL,
the end of whoever started it) ends the shop, its load and the programs too.
"""

import argparse
import contextlib
import json
import os
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lab import load, problems
from lab.programs import COMPILED, NotBuilt, build, start
from lab.registry import registry
from lab.starting import NotStarted, Program, stop_by_signal, until_over

_READY_S = 60.0
_SEEDED_S = 600.0
"""For the database: a million orders take a minute or two."""
LONGEST_S = 3_600.0


def start_shop(
    port: int, wanted: str, orders: int, seed: int, environment: Mapping[str, str] | None = None
) -> tuple[Program, dict[str, Any]]:
    """The shop and its ready line, once it answers a request; with the database that `environment` names, if given."""
    command = [sys.executable, "-m", "lab.shop", "--port", str(port), "--orders", str(orders), "--seed", str(seed)]
    shop = Program([*command, "--database"] if environment else command, {problems.VARIABLE: wanted, **(environment or {})})
    told = shop.ready(_READY_S)
    deadline = time.monotonic() + _READY_S
    while True:
        try:
            with urllib.request.urlopen(f"{told['url']}/health", timeout=5) as reply:  # noqa: S310  our own loopback address
                reply.read()
            return shop, told
        except (urllib.error.URLError, OSError) as error:
            if shop.returncode() is not None or time.monotonic() > deadline:
                raise NotStarted(f"the shop does not answer on {told['url']}: {error}; stopped with status {shop.stop()}") from error
            time.sleep(0.05)


def start_database(wanted: str, orders: int, seed: int, load_s: float | None) -> tuple[Program, dict[str, Any]]:
    """The shop's database and its ready line, under its own load for `load_s` seconds if given."""
    command = [sys.executable, "-m", "lab.database", "--orders", str(orders), "--seed", str(seed), "--problems", wanted]
    if load_s is not None:
        command += ["--load", "--duration", str(load_s)]
    database = Program(command)
    return database, database.ready(_SEEDED_S)


def start_load(url: str, rate_per_s: float, duration_s: float, seed: int) -> Program:
    numbers = ["--rate", str(rate_per_s), "--duration", str(duration_s), "--seed", str(seed)]
    return Program([sys.executable, "-m", "lab.load", "--url", url, *numbers])


def main() -> int:
    options = _options()
    stop_by_signal()
    with contextlib.ExitStack() as running:
        served: list[Program] = []
        pids: dict[str, int] = {}
        about: dict[str, Any] = {}
        if options.database:
            load_s = options.duration if options.load else None
            database, about = start_database(options.problems, options.orders, options.seed, load_s)
            running.callback(database.stop)
            served.append(database)
            pids["database"] = database.pid
            pids |= {f"database-{name}": pid for name, pid in about["pids"].items()}
        shop, told = start_shop(options.port, options.problems, options.orders, options.seed, about.get("environment"))
        running.callback(shop.stop)
        served.append(shop)
        told["pids"] = pids
        if about:
            told["environment"] = about["environment"]
            told["database"] = {name: about[name] for name in ("source", "port", "log", "missing_extensions")}
        for name in options.programs:
            program = start(name, options.duration, {problems.VARIABLE: options.problems})
            running.callback(program.stop)
            told["pids"][name] = program.pid
        if options.load:
            maker = start_load(told["url"], options.rate, options.duration, options.seed)
            running.callback(maker.stop)
            told["pids"]["load"] = maker.pid
        if options.registry is not None:
            commands = _commands(options.duration)
            options.registry.write_text(registry(told["port"], told["pids"], commands, database=options.database), encoding="utf-8")
        print(json.dumps(told), flush=True)
        return until_over(served)


def _commands(seconds: float) -> dict[str, list[str]]:
    """How to run each compiled program; one whose compiler or runtime is missing here is left out, and said."""
    commands = {}
    for name in COMPILED:
        try:
            commands[name] = build(name).command(seconds)
        except NotBuilt as missing:
            print(f"{name} is left out: {missing}", file=sys.stderr, flush=True)
    return commands


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="lab.up", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0, help="of the shop; 0 takes a free one")
    parser.add_argument("--problems", default=os.environ.get(problems.VARIABLE, "all"), help="all, none, or names with commas")
    parser.add_argument("--orders", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--load", action="store_true", help="put the shop under its own load")
    parser.add_argument("--rate", type=float, default=load.RATE_PER_S, help="requests per second (default %(default)s)")
    parser.add_argument("--duration", type=float, default=600.0, help="seconds that load and programs run (default %(default)s)")
    parser.add_argument("--database", action="store_true", help="also the shop's PostgreSQL, on the server of SHOP_DB_DSN if that is set")
    parser.add_argument("--programs", default="", help=f"also start these, with commas: {', '.join(COMPILED)}")
    parser.add_argument("--registry", type=Path, help="write a perfwright.toml of the lab's targets to this file")
    options = parser.parse_args()
    options.programs = [name for name in options.programs.split(",") if name]
    if unknown := [name for name in options.programs if name not in COMPILED]:
        parser.error(f"--programs: unknown {', '.join(unknown)}; allowed are {', '.join(COMPILED)}")
    if not 0 < options.duration <= LONGEST_S:
        parser.error(f"--duration: more than 0 and at most {LONGEST_S:g} is allowed")
    try:
        problems.chosen(options.problems)
    except ValueError as error:
        parser.error(str(error))
    return options


if __name__ == "__main__":
    try:
        sys.exit(main())
    except (NotStarted, NotBuilt) as error:
        sys.exit(f"lab.up: {error}")
