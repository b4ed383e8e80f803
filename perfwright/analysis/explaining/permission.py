"""What may be done with a statement on a live server: execute it for its plan, plan it only, or leave it alone.

EXPLAIN without ANALYZE executes nothing. EXPLAIN ANALYZE does ("Keep in mind that the statement is actually executed",
postgresql.org/docs/current/sql-explain.html), and a rollback does not take back everything: locks are held until then, dead rows and WAL
stay, sequences have moved.

    what it does      production          given in the input       elsewhere
    reads only        with `analyze`      executed                 with `analyze`
    locks, writes     planned             planned                  with `analyze`, rolled back; not on a standby
    volatile, never   planned             planned                  planned

A target that is given in the input has nothing allowed: it is the first look at one's own machine, so what only reads is executed.
"""

from dataclasses import dataclass
from typing import Literal

from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.statement import HIDDEN_TEXT, Statement
from perfwright.models.target import Target

PLANNABLE = ("select", "insert", "update", "delete", "merge", "unknown")
"""Kinds that EXPLAIN takes. `unknown`: our parser refused what a newer server may know, and planning it is harmless."""


@dataclass(frozen=True)
class Permission:
    """What may be done, and why no more than that."""

    allowed: Literal["execute", "plan", "nothing"]
    writes: bool = False
    """Executed in a transaction that may write (and is rolled back)."""
    reason: str = ""


def permission(statement: Statement, target: Target, *, standby: bool, analyze: bool) -> Permission:
    """What may be done with `statement` on `target`; `analyze`: whether the one who asks wants statements executed at all."""
    if reason := _no_plan(statement):
        return Permission("nothing", reason=reason)
    if not analyze:
        return Permission("plan", reason="planned only, as asked for")
    if statement.safety in ("volatile", "never"):
        return Permission("plan", reason=f"never executed: {statement.safety_reason or 'it may have side effects'}")
    if not (target.inline or "analyze" in target.allow):
        return Permission("plan", reason=f'target {target.name} does not allow "analyze"')
    if statement.safety == "reads only":
        return Permission("execute")
    does = "it locks rows" if statement.safety == "locks" else "it writes"
    if target.environment == PRODUCTION:
        return Permission("plan", reason=f"not executed in production: {does}")
    if target.inline:
        return Permission("plan", reason=f"not executed on a target given in the input: {does}")
    if standby:
        return Permission("plan", reason=f"not executed on a standby server: {does}")
    return Permission("execute", writes=True)


def _no_plan(statement: Statement) -> str:
    if HIDDEN_TEXT in statement.text:
        return "its text is hidden from our role: grant it pg_read_all_stats"
    if statement.not_explainable:
        return statement.not_explainable
    if not statement.text.strip():
        return "its text is not known"
    if statement.kind not in PLANNABLE:
        return statement.safety_reason or "the server has no plan for statements of this kind"
    return ""
