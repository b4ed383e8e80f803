"""Analysis of a large profile: 2 million samples in 200,000 distinct stacks, within 10 seconds and 1 GB.

    python benchmarks/profile_analysis.py [--samples 2000000] [--stacks 200000]

Prints seconds per step and the peak resident memory of this process; exits 1 when a limit is passed. Building the profile (what a parser
does) is timed beside, and happens in another process, so that its memory does not count.
"""

import argparse
import multiprocessing
import random
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from perfwright.analysis.call_tree import ProfileBuilder, decode_profile, encode_profile
from perfwright.analysis.cpu_findings import analyse_findings
from perfwright.analysis.flame_graphs import draw_difference, draw_flame_graph
from perfwright.analysis.hot_paths import find_hot_paths, on_cpu
from perfwright.analysis.tree_weights import CallTree
from perfwright.analysis.utilisation import describe_utilisation
from perfwright.models.profile import Origin

Result = TypeVar("Result")
LIMIT_S, LIMIT_BYTES = 10.0, 1 << 30
BLOCKS, THREADS, FUNCTIONS = 120, 16, 4_000


def build(samples: int, stacks: int) -> bytes:
    """A server-like profile: a shared framework prefix, random depth, a heavy-tailed mix of leaves, some recursion."""
    chance = random.Random(7)
    began = time.perf_counter()
    builder = ProfileBuilder("benchmark 1")
    builder.begin("on_cpu", 99)
    blocks = [builder.add_block("on_cpu", 1.0) for _ in range(BLOCKS)]
    threads = [builder.thread(1, 100 + number, f"worker-{number}") for number in range(THREADS)]
    origins: tuple[Origin, ...] = ("user", "user", "library", "library", "runtime")
    frames = [
        [builder.frame(f"function_{number}", f"/srv/app/module_{number % 200}.py", line, origins[number % 5]) for line in (10, 20, 30)]
        for number in range(FUNCTIONS)
    ]
    prefix = [builder.frame(f"framework_{depth}", "/site-packages/framework/core.py", depth, "library") for depth in range(12)]
    nodes = []
    for _ in range(stacks):
        depth = chance.randint(3, 25)
        walk = [chance.choice(frames[min(FUNCTIONS - 1, int(chance.paretovariate(0.6)))]) for _ in range(depth)]
        nodes.append(builder.node(prefix + walk))
    for _ in range(samples):
        node = nodes[min(stacks - 1, int(chance.paretovariate(0.3)))]
        builder.add_node("on_cpu", node, chance.choice(threads), chance.choice(blocks))
    for node in nodes:
        builder.add_node("on_cpu", node, threads[0], blocks[0])
    profile = builder.build()
    built = time.perf_counter()
    data = encode_profile(profile)
    print(f"{len(profile.nodes.parent):,} nodes, {len(profile.passes[0].node):,} rows, {sum(profile.passes[0].count):,} samples")
    print(f"{'build':24}{built - began:7.2f} s   (with making up the stacks; not counted)")
    print(f"{'encode':24}{time.perf_counter() - built:7.2f} s   {len(data) / 1e6:.1f} MB")
    return data


def timed(name: str, work: Callable[[], Result]) -> Result:
    began = time.perf_counter()
    result = work()
    print(f"{name:24}{time.perf_counter() - began:7.2f} s   peak {peak_bytes() / 1e6:,.0f} MB", flush=True)
    return result


def peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    options.add_argument("--samples", type=int, default=2_000_000)
    options.add_argument("--stacks", type=int, default=200_000)
    options.add_argument("--keep", type=Path, help="write the encoded profile here")
    given = options.parse_args()
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        data = pool.apply(build, (given.samples, given.stacks))
    if given.keep:
        given.keep.write_bytes(data)
    began = time.perf_counter()
    tree = timed("decode, call tree", lambda: CallTree(decode_profile(data)))
    seen = timed("attribution", lambda: on_cpu(tree, runtime="python"))
    hot_paths = timed("hot paths, bootstrap", lambda: find_hot_paths(seen, top=15))
    timed("flame graph", lambda: draw_flame_graph(tree, seen.rows, runtime="python"))
    timed("difference", lambda: draw_difference((tree, seen.rows), (tree, seen.rows), runtime="python"))
    utilisation = timed("utilisation", lambda: describe_utilisation(seen, None))
    timed("findings", lambda: analyse_findings(seen, hot_paths, utilisation, None))
    seconds, peak = time.perf_counter() - began, peak_bytes()
    print(f"{'all':24}{seconds:7.2f} s of {LIMIT_S:.0f}   peak {peak / 1e6:,.0f} MB of {LIMIT_BYTES / 1e6:,.0f}")
    return 0 if seconds <= LIMIT_S and peak <= LIMIT_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
