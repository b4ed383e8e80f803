"""Whether a rewrite may be tried beside its original: only what reads, on nothing that the original does not touch."""

from perfwright.analysis.explaining.row_order import other_order
from perfwright.analysis.explaining.samples import Call
from perfwright.analysis.explaining.sql_texts import placeholders_in, shape_of
from perfwright.analysis.statements.parsing import ParsedStatement, Unreadable, parse_statement
from perfwright.analysis.statements.server_names import HARMLESS_FUNCTIONS, OPERATORS, TYPES
from perfwright.analysis.statements.tree import TooDeep, words
from perfwright.models.query_advice import RewriteCandidate
from perfwright.models.statement import SAMPLES_KEPT, Statement, StatementSample


def not_tried(candidate: RewriteCandidate, statement: Statement) -> str:
    """Why the rewrite is not tried; empty: it may be."""
    if shape_of(candidate.original) != statement.fingerprint:
        return "the original is not the statement that was examined"
    try:
        original, rewritten = parse_statement(candidate.original), parse_statement(candidate.rewritten)
        if not _reads(rewritten) or original.too_deep:
            return "the rewrite is more than one query that reads"
        if new := _new_names(original, rewritten):
            return f"the rewrite uses {new}, which the original does not"
        if placeholders_in(candidate.rewritten) > placeholders_in(candidate.original):
            return "the rewrite has placeholders that the original does not"
        return other_order(candidate.original, candidate.rewritten)
    except (Unreadable, TooDeep) as unreadable:
        return f"it cannot be compared: {unreadable}"


def values_of(candidate: RewriteCandidate, statement: Statement) -> tuple[tuple[str | None, ...] | None, ...]:
    """Sets of values to compare results with, the candidate's own first: (None,) for texts that are complete, empty where values lack."""
    wanted = placeholders_in(candidate.original)
    if not wanted:
        return (None,)
    sets = [sample.parameters for sample in (candidate.sample, *statement.samples) if _fits(sample, wanted)]
    return tuple(dict.fromkeys(sets))[:SAMPLES_KEPT]


def calls(candidate: RewriteCandidate, parameters: tuple[str | None, ...] | None) -> tuple[Call, Call]:
    """Original and rewrite with one set of values. The rewrite may use fewer placeholders."""
    used = placeholders_in(candidate.rewritten)
    fewer = None if parameters is None or not used else parameters[:used]
    return Call(candidate.original, parameters), Call(candidate.rewritten, fewer)


def _fits(sample: StatementSample, wanted: int) -> bool:
    return len(sample.parameters) == wanted and placeholders_in(sample.text) == wanted


def _reads(parsed: ParsedStatement) -> bool:
    """One query that does nothing but read, and whose tree could be looked at."""
    more = parsed.kind != "select" or parsed.writes or parsed.locks or parsed.multiple or parsed.too_deep
    return not more and not any("intoClause" in place.value for place in parsed.places)


def _new_names(original: ParsedStatement, rewritten: ParsedStatement) -> str:
    """The first relation, function, operator or type of the rewrite that is neither the original's nor the server's own and harmless."""
    functions = [name for name in rewritten.functions if name not in original.functions and _own(name) not in HARMLESS_FUNCTIONS]
    if functions:
        return f"the function {functions[0]}"
    tables = [name for name in rewritten.tables if name not in original.tables]
    if tables:
        return f"the relation {tables[0]}"
    known_operators, known_types = _named(original, "A_Expr", "name") | OPERATORS, _named(original, "TypeName", "names") | TYPES
    for name in _named(rewritten, "A_Expr", "name"):
        if name not in known_operators and not name.isalpha() and " " not in name:
            return f"the operator {name}"
    return next((f"the type {name}" for name in _named(rewritten, "TypeName", "names") if name not in known_types), "")


def _own(name: str) -> str:
    """`pg_catalog.lower` and `lower` are the server's own; `app.lower` is somebody's."""
    schema, _, own = name.rpartition(".")
    return own if schema in ("", "pg_catalog") else name


def _named(parsed: ParsedStatement, node: str, field: str) -> frozenset[str]:
    """Last parts of the names in all nodes of a type (`TypeName` may stand without its wrapper in a field `typeName`)."""
    keys = (node, node[0].lower() + node[1:])
    return frozenset(words(place.value.get(field))[-1] for place in parsed.places if place.key in keys and words(place.value.get(field)))
