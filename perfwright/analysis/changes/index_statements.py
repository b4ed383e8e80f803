"""CREATE INDEX as it is written by people and by our own advice: read with the server's grammar, and written anew, unambiguously.

Only what names the table and the index is rewritten; what follows the table (columns, INCLUDE, WHERE, WITH) is taken as it stands.
"""

import hashlib
import re
from dataclasses import dataclass

from perfwright.analysis.query_advice.identifiers import qualified, quoted

NAME_BYTES = 63
_PART = r'(?:"(?:[^"]|"")+"|[A-Za-z_\u0080-\uffff][\w$\u0080-\uffff]*)'
_RELATION = re.compile(rf"{_PART}(?:\s*\.\s*{_PART}){{0,1}}")
_QUALIFIED = re.compile(rf"\s*(?:(?P<schema>{_PART})\s*\.\s*)?(?P<name>{_PART})\s*;?\s*")


class NotAnIndex(ValueError):
    """Text that is not exactly one CREATE INDEX that can be carried out here; the reason."""


@dataclass(frozen=True)
class IndexStatement:
    """One CREATE INDEX."""

    name: str
    schema_name: str
    """As written; empty: along the search path."""
    table: str
    unique: bool
    rest: str
    """Everything behind the table's name."""

    def concurrently(self, schema_name: str) -> str:
        """The statement to carry out."""
        unique = "UNIQUE " if self.unique else ""
        return f"CREATE {unique}INDEX CONCURRENTLY {quoted(self.name)} ON {qualified(schema_name, self.table)} {self.rest}"

    def on(self, relation: str) -> str:
        """The same on an empty copy of the table, without CONCURRENTLY: to see what the server makes of it."""
        unique = "UNIQUE " if self.unique else ""
        return f"CREATE {unique}INDEX {quoted(self.name)} ON {relation} {self.rest}"


def read_create(text: str) -> IndexStatement:
    """Raises NotAnIndex."""
    import pgparse

    if "\0" in text:
        raise NotAnIndex("it holds a NUL character")
    try:
        statements = [one["stmt"] for one in pgparse.parse(text) if one.get("stmt")]
    except (pgparse.PGQueryError, UnicodeEncodeError, ValueError, RecursionError) as mistake:
        raise NotAnIndex(f"it cannot be read: {str(mistake)[:200]}") from None
    if len(statements) != 1 or "IndexStmt" not in statements[0]:
        raise NotAnIndex("exactly one CREATE INDEX is allowed")
    statement = statements[0]["IndexStmt"]
    relation = statement["relation"]
    if not relation.get("inh", False):
        raise NotAnIndex("ON ONLY is for partitioned tables, which need an index for each partition")
    if relation.get("catalogname"):
        raise NotAnIndex("leave the database's name out")
    encoded = text.encode()
    before = encoded[: relation["location"]].decode()
    written = _RELATION.match(text, len(before))
    if written is None:
        raise NotAnIndex("the table's name cannot be read: write it plainly or in double quotes")
    rest = text[written.end() :].strip().rstrip(";").rstrip()
    if "--" in rest or "/*" in rest:
        raise NotAnIndex("leave comments out")
    unique = bool(statement.get("unique"))
    table = str(relation["relname"])
    name = str(statement.get("idxname") or _made_name(table, unique, rest))
    if len(name.encode()) > NAME_BYTES:
        raise NotAnIndex(f"its name is longer than {NAME_BYTES} bytes")
    return IndexStatement(name, str(relation.get("schemaname") or ""), table, unique, rest)


def read_name(text: str) -> tuple[str, str]:
    """Schema (empty: along the search path) and name of an index, as SQL writes them. Raises NotAnIndex."""
    found = _QUALIFIED.fullmatch(text)
    if found is None:
        raise NotAnIndex("the name of one index is allowed: schema.name, in double quotes where SQL needs them")
    return _folded(found["schema"] or ""), _folded(found["name"])


def definition_of(indexdef: str) -> str:
    """Of what pg_get_indexdef tells, the part from the access method on: `USING btree (customer_id)`.

    Names before it are quoted identifiers, in which ` USING ` may stand as well; so they are read one by one.
    """
    head = re.match(rf"CREATE (?:UNIQUE )?INDEX {_PART} ON (?:ONLY )?{_PART}(?:\.{_PART})? (?=USING )", indexdef)
    if head is None:
        raise NotAnIndex(f"the server's own words cannot be read: {indexdef[:200]}")
    return indexdef[head.end() :]


def concurrently(indexdef: str) -> str:
    """What pg_get_indexdef tells, as the statement that makes the index again."""
    return re.sub(r"^CREATE (UNIQUE )?INDEX ", lambda found: f"CREATE {found[1] or ''}INDEX CONCURRENTLY ", indexdef)


def _made_name(table: str, unique: bool, rest: str) -> str:
    """The same for the same index, and unlike names that people give."""
    mark = hashlib.sha256(f"{table}\0{unique}\0{' '.join(rest.split())}".encode()).hexdigest()[:8]
    return f"{table.encode()[:48].decode(errors='ignore')}_pw_{mark}"


def _folded(part: str) -> str:
    return part[1:-1].replace('""', '"') if part.startswith('"') else part.lower()
