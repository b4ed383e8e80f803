"""Whether a hypothetical index may be asked about with HypoPG, and which of its kinds. It runs inside the server's process for our session:
where it fails, all sessions go down with it, so what is known to have failed is never tried.

HypoPG/hypopg#116: a partial index and a view end the server (open); #114: INCLUDE was seen to end it on PostgreSQL 17 (not reproduced).
Expressions, trigram and GIN or GiST indexes are not supported (HypoPG documentation, "Usage").
"""

from typing import Any

from perfwright.analysis.statements.parsing import Unreadable, syntax_tree
from perfwright.analysis.statements.tree import TooDeep, places
from perfwright.models.database import DatabaseFacts
from perfwright.models.query_advice import IndexCandidate
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.target import Target

EXTENSION = "hypopg"
METHODS = ("btree", "brin", "hash")
NO_INCLUDE_SINCE = 170_000


def unavailable(target: Target, database: DatabaseFacts) -> str:
    """Why no hypothetical index is asked about on this target; empty: it may be."""
    if EXTENSION not in database.extensions:
        return f"{EXTENSION} is not installed in database {database.database} (CREATE EXTENSION {EXTENSION})"
    if database.pooler:
        return f"hypothetical indexes live in one session, and we are connected through {database.pooler}"
    if "analyze" not in target.allow:
        return f'target {target.name} does not allow "analyze"'
    if target.environment == PRODUCTION and "ddl" not in target.allow:
        return f'in production {EXTENSION} is only used where the target allows "ddl": a failure of it ends every session'
    return ""


def unsuited(candidate: IndexCandidate, database: DatabaseFacts) -> str:
    """Why this index cannot be asked about; empty: it can."""
    try:
        tree = syntax_tree(candidate.ddl)
    except Unreadable as unreadable:
        return f"its DDL cannot be read: {unreadable}"
    index = tree.get("IndexStmt")
    if not isinstance(index, dict):
        return "it is no CREATE INDEX"
    if (method := index.get("accessMethod", "btree")) not in METHODS:
        return f"hypothetical indexes are not of method {method}"
    if index.get("whereClause"):
        return "hypothetical indexes are not partial"
    columns = [one.get("IndexElem", {}) for one in index.get("indexParams", ())]
    if candidate.expression or not columns or any("expr" in one or "opclass" in one for one in columns):
        return "hypothetical indexes have plain columns only"
    if index.get("indexIncludingParams") and database.version_number >= NO_INCLUDE_SINCE:
        return "hypothetical indexes with INCLUDE are not safe on this version"
    return ""


def relations_of(text: str) -> tuple[tuple[str, str], ...]:
    """Schema (empty where none is written) and name of all relations of a statement. Raises Unreadable."""
    try:
        found = [_relation(place.value) for place in places(syntax_tree(text)) if isinstance(place.value.get("relname"), str)]
    except TooDeep:
        raise Unreadable("it is nested too deeply") from None
    return tuple(dict.fromkeys(found))


def _relation(value: dict[str, Any]) -> tuple[str, str]:
    return str(value.get("schemaname", "")), str(value["relname"])
