"""How much work_mem would keep an operation in memory, from what it spilled, and how much a server can spare.

PostgreSQL documentation, 20.4 "Resource Consumption": work_mem is a limit for each operation of each session and worker; hashes may use
hash_mem_multiplier times as much.
"""

import math
import re

from perfwright.analysis.plans.plan_tree import Fields, PlanNode, PlanTree
from perfwright.models.database import DatabaseFacts

KB, MB, GB = 1 << 10, 1 << 20, 1 << 30
SORT_IN_MEMORY = 3.5
"""A sort takes more room in memory than its rows on disk: measured 2.7 times (600,000 rows of 40 bytes) to 3.5 times (one bigint)."""
GROUPS_IN_MEMORY = 4.0
"""Groups that went to disk, as a hash table: measured 1.9 (texts of 32 bytes) to 3.9 times (two numbers). Where the planner expects far
more memory than is used (array_agg of many groups) it goes to disk all the same: then the estimate is to blame."""
BITMAP_PAGE_BYTES = 64
"""An exact entry of a bitmap (tidbitmap.c: PagetableEntry of 48 bytes, and the hash table's empty slots)."""
MEMORY_SHARE = 16
"""One operation gets at most a sixteenth of effective_cache_size: several run at once, and what they take the page cache loses."""
MOST_BYTES = GB
LEAST_BYTES = 4 * MB
"""The default; less is never advised."""
_UNITS = {"": 1, "B": 1, "kB": KB, "MB": MB, "GB": GB, "8kB": 8 * KB, "16MB": 16 * MB, "TB": 1 << 40}
_AMOUNT = re.compile(r"(-?\d+(?:\.\d+)?)\s*([kMGT]?B)?")
DEFAULT_CACHE_BYTES, DEFAULT_WORK_MEM_BYTES, DEFAULT_MULTIPLIER = 4 * GB, 4 * MB, 2.0
"""effective_cache_size, work_mem, and hash_mem_multiplier since version 15, as they come."""


def setting_bytes(database: DatabaseFacts, name: str) -> float | None:
    """A memory setting in bytes, whether the server told `4096` with the unit kB or `4MB`."""
    setting = next((one for one in database.settings if one.name == name), None)
    found = _AMOUNT.fullmatch(setting.value.strip()) if setting else None
    if setting is None or found is None:
        return None
    unit = found.group(2) or setting.unit
    return float(found.group(1)) * _UNITS[unit] if unit in _UNITS else None


def hash_multiplier(database: DatabaseFacts) -> float:
    try:
        return max(
            1.0, float(database.setting("hash_mem_multiplier") or (DEFAULT_MULTIPLIER if database.version_number >= 150_000 else 1.0))
        )
    except ValueError:
        return 1.0


def ceiling_bytes(database: DatabaseFacts) -> float:
    """The most that is advised."""
    cache = setting_bytes(database, "effective_cache_size") or DEFAULT_CACHE_BYTES
    return max(float(LEAST_BYTES), min(MOST_BYTES, cache / MEMORY_SHARE))


def needed_bytes(node: PlanNode, tree: PlanTree, database: DatabaseFacts) -> float:
    """work_mem with which this node would not have spilled; 0 when it does not tell."""
    if node.kind == "sort":
        return SORT_IN_MEMORY * KB * max((_on_disk(one) for one in (node, *node.workers)), default=0.0)
    multiplier = hash_multiplier(database)
    if node.kind == "hash":
        return KB * max(one.number("Peak Memory Usage") * one.number("Hash Batches") for one in (node, *node.workers)) / multiplier
    if node.kind == "aggregate":
        most = max(one.number("Peak Memory Usage") + GROUPS_IN_MEMORY * one.number("Disk Usage") for one in (node, *node.workers))
        # Without a hash table of its own it sorts the input of DISTINCT or ORDER BY inside of an aggregate (nodeAgg.c).
        return KB * most / multiplier if most > 0 else SORT_IN_MEMORY * _temp_bytes(node, tree)
    if node.kind == "bitmap heap scan":
        return BITMAP_PAGE_BYTES * (node.number("Exact Heap Blocks") + node.number("Lossy Heap Blocks"))
    if node.kind == "memoize":
        if not any(one.number("Cache Evictions") + one.number("Cache Overflows") for one in (node, *node.workers)):
            return 0.0
        return 2 * KB * node.number("Peak Memory Usage") / multiplier
    return _temp_bytes(node, tree)


def _temp_bytes(node: PlanNode, tree: PlanTree) -> float:
    """What the node alone wrote to temporary files."""
    below = sum(child.number("Temp Written Blocks") for child in tree.children(node))
    return 8 * KB * max(0.0, node.number("Temp Written Blocks") - below)


def rounded(need: float) -> int:
    """A power of two of megabytes, as settings are written."""
    return int(MB * 2 ** math.ceil(math.log2(max(1.0, need / MB))))


def told(amount: float) -> str:
    """`64MB`, `1GB`: as the server reads it."""
    return f"{int(amount // GB)}GB" if amount >= GB and amount % GB == 0 else f"{int(amount // MB)}MB"


def _on_disk(figures: Fields) -> float:
    """kB that a sort, or the groups of an incremental sort, wrote."""
    whole = figures.number("Sort Space Used") if figures.text("Sort Space Type") == "Disk" else 0.0
    groups = [figures.number(f"{kind}/Sort Space Disk/Peak Sort Space Used") for kind in ("Full-sort Groups", "Pre-sorted Groups")]
    return max(whole, *groups)
