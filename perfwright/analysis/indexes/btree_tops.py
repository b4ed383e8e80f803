"""The top of a B-tree whose rows are not there: how high it would be, and the pages that say so.

The planner reads a B-tree's height from its metapage and charges for every level that a search descends (`btcostestimate` in
src/backend/utils/adt/selfuncs.c). It also looks into an index for the largest and the least value (`get_actual_variable_range`), so what
the metapage names has to be there: a root of that height with one way down, to a leaf without entries. Then it finds nothing, and believes
the statistics.

Layout: documentation, 73.6 "Database Page Layout"; src/include/access/nbtree.h (version 4, since PostgreSQL 12), itup.h, itemid.h.
"""

import struct

PAGE_BYTES = 8192
MAGIC, VERSION = 0x053162, 4
META_AT = 24
"""Of the metapage's contents, behind the page's header: magic, version, root, level, fast root, fast level."""
ROOT_AT, ROOT_PAGE, LEAF_PAGE = META_AT + 8, 1, 2
INNER_FILL = 0.7
"""`BTREE_NONLEAF_FILLFACTOR`."""
HIGHEST = 12
_HEADER = struct.Struct("=QHHHHHHI")
_OPAQUE = struct.Struct("=IIIHH")
_META, _TOP = struct.Struct("=III"), struct.Struct("=IIII")
_LEAF, _ROOT = 1, 2
_ALTERNATIVE_TID = 0x2000
_ITEM_ID_BYTES, _TUPLE_BYTES = 4, 8


def btree_height(pages: int, key_width_bytes: float) -> int:
    """Levels above the leaves of a B-tree of so many pages, all told. Inner pages are as full as splits leave them, but for the root, which
    has none behind it and fills up. (CREATE INDEX leaves room in a root too: where one could just hold all, it is a level higher.)"""
    entry = _TUPLE_BYTES + -(-max(1.0, key_width_bytes) // 8) * 8 + _ITEM_ID_BYTES
    most = max(2.0, (PAGE_BYTES - META_AT - _OPAQUE.size) // entry)
    level_pages, height = float(pages - 1), 0
    while level_pages > 1 and height < HIGHEST:
        height += 1
        if level_pages <= most:
            break
        level_pages = max(2.0, level_pages / (INNER_FILL * most))
    return height


def with_height(meta: bytes, height: int) -> bytes | None:
    """Metapage, root and leaf in place of the metapage of an empty index; None where it is not that of one."""
    magic, version, root = _META.unpack_from(meta, META_AT)
    if (magic, version, root) != (MAGIC, VERSION, 0) or len(meta) != PAGE_BYTES or not 0 < height <= HIGHEST:
        return None
    top = _TOP.pack(ROOT_PAGE, height, ROOT_PAGE, height)
    return meta[:ROOT_AT] + top + meta[ROOT_AT + len(top) :] + _root(height) + _page(b"", b"", level=0, flags=_LEAF)


def _root(height: int) -> bytes:
    """With one entry: less than every key, and down to the leaf."""
    at = PAGE_BYTES - _OPAQUE.size - _TUPLE_BYTES
    entry = struct.pack("=HHHH", LEAF_PAGE >> 16, LEAF_PAGE & 0xFFFF, 0, _TUPLE_BYTES | _ALTERNATIVE_TID)
    return _page(struct.pack("=I", at | 1 << 15 | _TUPLE_BYTES << 17), entry, level=height, flags=_ROOT)


def _page(items: bytes, entries: bytes, *, level: int, flags: int) -> bytes:
    special = PAGE_BYTES - _OPAQUE.size
    lower, upper = _HEADER.size + len(items), special - len(entries)
    header = _HEADER.pack(0, 0, 0, lower, upper, special, PAGE_BYTES | 4, 0)
    return header + items + bytes(upper - lower) + entries + _OPAQUE.pack(0, 0, level, flags, 0)
