"""Whether a MySQL or MariaDB statement only reads: a second look, by grammar, before anything is executed.

`statements/mysql_digests.judge` judges it by words: known functions, tables of the catalog. Here the text must also parse as one SELECT,
with no part that writes, locks or assigns. What the parser does not know is not executed.
"""

from perfwright.analysis.statements.mysql_digests import judge
from perfwright.models.database import Catalog

PARSED_CHARACTERS = 20_000
"""Longer texts are not executed."""


def why_not_read_only(text: str, tables: Catalog) -> str:
    """Why the text must not be executed; empty: it is one SELECT that only reads, and only `tables`."""
    from sqlglot import exp, parse
    from sqlglot.errors import SqlglotError

    judgement = judge(text, tables)
    if judgement.safety != "reads only":
        return judgement.reason
    if len(text) > PARSED_CHARACTERS:
        return "its text is too long to be looked through"
    if "/*!" in text or "/*M!" in text:
        return "it has a comment that is executed"
    try:
        found = [one for one in parse(text, dialect="mysql") if one is not None]
    except (SqlglotError, RecursionError, ValueError):
        return "its text cannot be parsed"
    if len(found) != 1:
        return "several statements in one text"
    tree = found[0]
    if not isinstance(tree, exp.Select | exp.SetOperation):
        return "it is no SELECT"
    refused = (exp.DML, exp.DDL, exp.Command, exp.Into, exp.Lock, exp.Parameter, exp.SessionParameter, exp.PropertyEQ, exp.Placeholder)
    for node in tree.walk():
        if isinstance(node, exp.Select | exp.SetOperation | exp.Subquery):
            continue
        if isinstance(node, refused):
            return f"it has a part that may do more than reading ({type(node).__name__})"
    return ""
