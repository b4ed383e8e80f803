"""Extended statistics as their server keeps them, from the text in which it shows them: no version up to 18 takes that text back.

Layout: `statext_ndistinct_serialize` and `statext_dependencies_serialize` in src/backend/statistics (PostgreSQL 13 to 18), in the byte
order of the machine; the text is documented with `pg_stats_ext`. Columns are numbers in both: those of the table on either side.
"""

import json
import re
import struct
from collections.abc import Mapping, Sequence

NDISTINCT_MAGIC, DEPENDENCIES_MAGIC, BASIC = 0xA352BFA4, 0xB4549A2C, 1
_HEADER = struct.Struct("=III")


def ndistinct_bytes(text: str, numbers: Mapping[int, int]) -> bytes:
    """From `{"1, 2": 11, "1, 2, 3": 15}`. `numbers`: of columns here -> there; expressions have negative ones, the same on both sides.

    Raises ValueError where the text is another, KeyError where a column is not there."""
    items = [(_columns(columns, numbers), float(count)) for columns, count in _pairs(text)]
    parts = [struct.pack(f"=di{len(columns)}h", count, len(columns), *columns) for columns, count in items]
    return _HEADER.pack(NDISTINCT_MAGIC, BASIC, len(items)) + b"".join(parts)


def dependencies_bytes(text: str, numbers: Mapping[int, int]) -> bytes:
    """From `{"1 => 2": 1.000000, "1, 3 => 2": 0.5}`; else as `ndistinct_bytes`."""
    items = [(_columns(columns, numbers), float(degree)) for columns, degree in _pairs(text)]
    parts = [struct.pack(f"=d{1 + len(columns)}h", degree, len(columns), *columns) for columns, degree in items]
    return _HEADER.pack(DEPENDENCIES_MAGIC, BASIC, len(items)) + b"".join(parts)


def _pairs(text: str) -> list[tuple[str, float]]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("extended statistics are an object")
    return list(found.items())


def _columns(text: str, numbers: Mapping[int, int]) -> Sequence[int]:
    found = [int(one) for one in re.findall(r"-?\d+", text)]
    return [one if one < 0 else numbers[one] for one in found]
