"""Real calls of a statement: what can be explained, and executed where that is safe.

From the log and from given SQL they come as they were written. Without those, `fill_from_statistics` makes some from values that the caller
took from pg_stats: the commonest, a middling and a rare one, so that a plan that depends on the value shows.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from perfwright.analysis.masking.sql_values import MAX_CHARACTERS
from perfwright.analysis.statements.parsing import ParsedStatement, Unreadable, syntax_tree
from perfwright.analysis.statements.tree import TooDeep, Tree, only_key, places, words
from perfwright.models.statement import SAMPLES_KEPT, Statement, StatementSample

MAX_PARAMETERS = 1_000
Values = Mapping[tuple[str, str], tuple[str, str, str]]
"""(table, column) -> a common, a middling and a rare value, as text. The table as `schema.table` or alone."""
FROM_STATISTICS = "values taken from pg_stats"
_VALUE_OPERATORS = frozenset(["=", "<>", "!=", "<", ">", "<=", ">=", "~~", "~~*", "!~~", "!~~*"])


def choose_samples(samples: Iterable[StatementSample]) -> tuple[StatementSample, ...]:
    """The cheapest, the median and the worst by duration, cheapest first; calls without one only where there are too few others."""
    different = {(one.text, one.parameters, one.kept_as): one for one in sorted(samples, key=lambda one: one.duration_ms or 0.0)}
    timed = sorted((one for one in different.values() if one.duration_ms is not None), key=lambda one: (one.duration_ms or 0.0, one.text))
    untimed = [one for one in different.values() if one.duration_ms is None]
    if len(timed) > SAMPLES_KEPT:
        timed = [timed[0], timed[(len(timed) - 1) // 2], timed[-1]]
    return tuple([*timed, *untimed][:SAMPLES_KEPT])


def runnable(sample: StatementSample) -> bool:
    """Whether it has a value for every `$n`, and is short enough to be kept. Raises Unreadable, TooDeep."""
    if sample.kept_as:
        return True  # its host sees to that: the values are there
    if len(sample.parameters) > MAX_PARAMETERS:
        return False
    if len(sample.text) + sum(len(one or "") for one in sample.parameters) > MAX_CHARACTERS:
        return False
    needed = highest_parameter(syntax_tree(sample.text)) if "$" in sample.text else 0
    return needed == len(sample.parameters)


def highest_parameter(tree: Tree) -> int:
    """The highest `$n`; 0 where there is none. Raises TooDeep."""
    return max((int(place.value.get("number", 0)) for place in places(tree) if place.key == "ParamRef"), default=0)


def fill_from_statistics(statement: Statement, parsed: ParsedStatement, values: Values) -> tuple[StatementSample, ...]:
    """Three samples of the statement's text with values for each `$n`; none where one of them stands beside no column with values.

    A `$n` belongs to the column it is compared with: `=`, `<`, LIKE, IN, BETWEEN, `= ANY (ARRAY[..])`. The members of one IN get different
    values; the bounds of one BETWEEN span two of them. Each value is one of its column: together they may describe rows that do not exist.
    """
    try:
        tree = syntax_tree(statement.text)
        columns = _compared_columns(tree, parsed.tables, values)
        highest = highest_parameter(tree)
    except (Unreadable, TooDeep):
        return ()
    if not highest or any(number not in columns for number in range(1, highest + 1)):
        return ()
    made: dict[tuple[str, ...], StatementSample] = {}
    for at in range(SAMPLES_KEPT):
        parameters = tuple(columns[number][at] for number in range(1, highest + 1))
        made.setdefault(
            parameters,
            StatementSample(
                text=statement.text,
                parameters=parameters,
                source=statement.sources[0] if statement.sources else "given",
                note=FROM_STATISTICS,
            ),
        )
    return tuple(made.values())


def _compared_columns(tree: Tree, tables: tuple[str, ...], values: Values) -> dict[int, tuple[str, ...]]:
    """`$n` -> its value in each of the samples."""
    named = _tables_by_alias(tree)
    found: dict[int, tuple[str, ...]] = {}
    for place in places(tree):
        if place.key != "A_Expr":
            continue
        node = place.value
        name, kind = (words(node.get("name")) or ("",))[-1], node.get("kind", "")
        sides = [node.get("lexpr"), node.get("rexpr")]
        if kind == "AEXPR_OP" and name not in _VALUE_OPERATORS:
            continue
        column = next((_values_of(_bare(side), named, tables, values) for side in sides if only_key(_bare(side)) == "ColumnRef"), None)
        if column is None:
            continue
        parameters = [number for side in sides for number in _parameters(side)]
        between = "BETWEEN" in str(kind) and len(parameters) == 2
        for index, number in enumerate(parameters):
            found[number] = _bound(column, index) if between else tuple(column[(at + index) % 3] for at in range(3))
    return found


def _values_of(node: Any, named: Mapping[str, frozenset[str]], tables: tuple[str, ...], values: Values) -> tuple[str, str, str] | None:
    """Of a column: of the table it is qualified with, or of the only table of the statement that has such a column."""
    fields = words(node["ColumnRef"].get("fields"))
    owners = named.get(fields[-2], frozenset()) if len(fields) > 1 else frozenset(tables)
    short = {owner.rpartition(".")[2] for owner in owners}
    fitting = [
        triple
        for (table, column), triple in values.items()
        if column == fields[-1] and (table in owners or table.rpartition(".")[2] in short)
    ]
    return fitting[0] if len(fitting) == 1 else None


def _tables_by_alias(tree: Tree) -> dict[str, frozenset[str]]:
    named: dict[str, set[str]] = {}
    for place in places(tree):
        relation = place.value.get("relname")
        if isinstance(relation, str):
            schema = place.value.get("schemaname", "")
            alias = place.value.get("alias", {}).get("aliasname", relation)
            named.setdefault(alias, set()).add(f"{schema}.{relation}" if schema else relation)
    return {alias: frozenset(tables) for alias, tables in named.items()}


def _bare(node: Any) -> Any:
    """Without casts around it."""
    while only_key(node) == "TypeCast":
        node = node["TypeCast"].get("arg")
    return node


def _parameters(node: Any) -> list[int]:
    """Of `$1`, `$1::date`, `($1, $2)` and `ARRAY[$1, $2]`."""
    node = _bare(node)
    match only_key(node):
        case "ParamRef":
            return [int(node["ParamRef"].get("number", 0))]
        case "List":
            return [number for one in node["List"].get("items", ()) for number in _parameters(one)]
        case "A_ArrayExpr":
            return [number for one in node["A_ArrayExpr"].get("elements", ()) for number in _parameters(one)]
    return []


def _bound(column: tuple[str, str, str], index: int) -> tuple[str, ...]:
    """The lower (0) or upper (1) bounds: the two lower values, the two upper ones, all."""
    try:
        low, middle, high = sorted(column, key=float)
    except ValueError:
        low, middle, high = sorted(column)
    return (low, middle, low) if index == 0 else (middle, high, high)
