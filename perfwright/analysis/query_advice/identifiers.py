"""Names in DDL: quoted where PostgreSQL needs it, cut where it would cut them, never the same twice.

Source: PostgreSQL documentation, 4.1.1 "Identifiers and Key Words": unquoted are lower case letters, digits, underscores and `$`, and at
most NAMEDATALEN - 1 = 63 *bytes* count. Reserved words need quotes; we quote whatever is not a plain word or is a keyword of any class.
"""

import hashlib
import re
from collections.abc import Iterable

from perfwright.models.database import Catalog

NAME_BYTES = 63
"""NAMEDATALEN - 1: the server cuts longer names, and two of them may then be equal."""
_PLAIN = re.compile(r"[a-z_][a-z0-9_$]*")
_HASH_DIGITS = 6
_KEYWORDS = """
    all analyse analyze and any array as asc asymmetric authorization between bigint binary bit boolean both case cast char
    character check coalesce collate collation column concurrently constraint create cross current_catalog current_date
    current_role current_schema current_time current_timestamp current_user dec decimal default deferrable desc distinct do else
    end except exists extract false fetch float for foreign freeze from full grant greatest group grouping having ilike in
    initially inner inout int integer intersect interval into is isnull join json json_array json_arrayagg json_exists json_object
    json_objectagg json_query json_scalar json_serialize json_table json_value lateral leading least left like limit localtime
    localtimestamp merge_action national natural nchar none normalize not notnull null nullif numeric offset on only or order out
    outer overlaps overlay placing position precision primary real references returning right row select session_user setof
    similar smallint some substring symmetric system_user table tablesample then time timestamp to trailing treat trim true union
    unique user using values varchar variadic verbose when where window with xmlattributes xmlconcat xmlelement xmlexists
    xmlforest xmlnamespaces xmlparse xmlpi xmlroot xmlserialize xmltable
"""
RESERVED = frozenset(_KEYWORDS.split())
"""Reserved words, and those that may be no column or function name (appendix C, PostgreSQL 18)."""


def quoted(name: str) -> str:
    """The name as it is written in SQL: `orders`, `"Order ""x"" 1"`."""
    if _PLAIN.fullmatch(name) and name not in RESERVED:
        return name
    return '"' + name.replace('"', '""') + '"'


def qualified(schema_name: str, name: str) -> str:
    """`public.orders`: with the schema where one is known, because whoever runs the DDL may have another search_path."""
    return f"{quoted(schema_name)}.{quoted(name)}" if schema_name else quoted(name)


def literal(text: str) -> str:
    """A string constant that means the same whatever `standard_conforming_strings` is."""
    doubled = text.replace("'", "''")
    return "E'" + doubled.replace("\\", "\\\\") + "'" if "\\" in doubled else f"'{doubled}'"


def object_name(words: Iterable[str], suffix: str, taken: set[str]) -> str:
    """`orders_customer_id_idx`: a free name of at most NAME_BYTES; with a hash where it was cut or taken. Adds it to `taken`."""
    parts = list(words)
    wanted = "_".join([*parts, suffix])
    name = wanted
    number = 0
    while name in taken or len(name.encode()) > NAME_BYTES:
        told = hashlib.sha256("\0".join([*parts, suffix, str(number)]).encode()).hexdigest()[:_HASH_DIGITS]
        name = f"{cut('_'.join(parts), NAME_BYTES - len(suffix.encode()) - _HASH_DIGITS - 2)}_{told}_{suffix}"
        number += 1
    taken.add(name)
    return name


def cut(text: str, limit_bytes: int) -> str:
    """At most so many bytes of UTF-8, whole characters only."""
    return text.encode()[:limit_bytes].decode(errors="ignore")


def taken_names(catalog: Catalog, schema_name: str) -> set[str]:
    """Names of relations in a schema: tables, indexes and views share one space."""
    tables = [table for table in catalog.tables if table.schema_name == schema_name]
    views = {name.partition(".")[2] for name in catalog.views if name.partition(".")[0] == schema_name}
    return {table.name for table in tables} | {index.name for table in tables for index in table.indexes} | views


def word_of(text: str) -> str:
    """What an expression contributes to a name: `lower((email)::text)` gives `lower_email`."""
    bare = re.sub(r"::[\w \[\]()]+", "", text)
    return "_".join(re.findall(r"\w+", bare.lower()))[:40] or "expr"
