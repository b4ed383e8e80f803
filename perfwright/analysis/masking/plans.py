"""Plans without the values in their conditions.

What is kept of a plan is listed: names of nodes, relations, indexes. Every other text is an expression to this module, also in fields that
servers to come may add. Values become `'?'`, which reads as a constant, so that rules see the same conditions; a pattern keeps that it
begins with a wildcard or, of a regular expression, at the text's beginning. Numbers of sub-plans and lengths of types are no values.
"""

import re
from typing import Any

from perfwright.analysis.masking.sql_values import Dialect, replaced

_OF_POSTGRESQL = """
    Node Type, Parent Relationship, Join Type, Relation Name, Schema, Alias, Index Name, Strategy, Operation, Command, CTE Name,
    Function Name, Table Function Name, Tuplestore Name, Subplan Name, Scan Direction, Partial Mode, Custom Plan Provider, Sort Method,
    Sort Methods Used, Sort Space Type, Trigger Name, Constraint Name, Relation, Storage, Cache Mode, Conflict Resolution,
    Conflict Arbiter Indexes, Sampling Method, Format
    """
_OF_MYSQL = """
    table_name, access_type, key, possible_keys, used_key_parts, used_columns, key_length, join_type, join_algorithm, operation,
    using_join_buffer, buffer_type, buffer_size, select_id, query_cost, read_cost, eval_cost, prefix_cost, data_read_per_join, sort_cost,
    filtered, r_filtered, partitions, strategy, index_name
    """
_NAMES: dict[Dialect, frozenset[str]] = {
    "postgresql": frozenset(name.strip() for name in _OF_POSTGRESQL.split(",")),
    "mysql": frozenset(name.strip() for name in _OF_MYSQL.split(",")),
}
_SETTINGS = "Settings"
"""Of the planner: names with values of the server's configuration."""
_NO_VALUES = re.compile(
    r"\b(?:SubPlan|InitPlan) \d{1,4}\b"
    r"|::\s*\"?[A-Za-z_][\w.]*\"?(?: [a-z]+){0,2}\s*\(\d{1,3}(?:,\s*-?\d{1,3})?\)"
)
_BEGINNING = re.compile(r"(?:[A-Za-z]&?)?['\"]([%_^])")
_PUT_IN = re.compile(r"'[%_^]?\?'")
_LETTERS = str.maketrans("0123456789", "abcdefghij")


def masked_plan(document: dict[str, Any], dialect: Dialect) -> dict[str, Any]:
    """The same document; numbers that were measured or estimated stay, texts are names or have no values any more."""
    return {str(key): _masked(value, str(key), dialect) for key, value in document.items()}


def masked_expression(text: str, dialect: Dialect) -> str:
    """`(status = 'open'::text)` is `(status = '?'::text)`."""
    kept: dict[str, str] = {}

    def keep(found: re.Match[str]) -> str:
        word = f"_perfwright_{str(len(kept)).translate(_LETTERS)}_"
        kept[word] = found.group()
        return word

    # Within a value such a word is masked with it.
    shown = replaced(_NO_VALUES.sub(keep, text), dialect, _constant)
    for word, was in kept.items():
        shown = shown.replace(word, was)
    return shown


def has_masked_values(text: str) -> bool:
    """Whether an expression, or DDL made of one, has a value that `masked_expression` took out."""
    return _PUT_IN.search(text) is not None


def _constant(value: str) -> str:
    beginning = _BEGINNING.match(value)
    return f"'{beginning[1]}?'" if beginning else "'?'"


def _masked(value: Any, key: str, dialect: Dialect) -> Any:
    if isinstance(value, dict):
        # The names of settings are keys, their values are the server's configuration.
        return value if key == _SETTINGS else {str(name): _masked(one, str(name), dialect) for name, one in value.items()}
    if isinstance(value, list):
        return [_masked(one, key, dialect) for one in value]
    return masked_expression(value, dialect) if isinstance(value, str) and key not in _NAMES[dialect] else value
