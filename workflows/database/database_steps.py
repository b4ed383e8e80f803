"""The activities that talk to a database, by what answers there: the processes are the same, the tools are not."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from activities.errors import refuse
from activities.mysql import Mysql
from activities.mysql_log import MysqlLog
from activities.postgres import Postgres
from activities.postgres_explain import PostgresExplain
from activities.postgres_log import PostgresLog
from activities.postgres_trying import PostgresTrying
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target, TargetKind

Step = Callable[..., Any]


@dataclass(frozen=True)
class DatabaseSteps:
    """One activity for each thing that is asked of a server."""

    inspect: Step
    observe: Step
    sample: Step
    read_log: Step
    read_catalog: Step
    explain: Step
    try_advice: Step


STEPS: dict[TargetKind, DatabaseSteps] = {
    "postgresql": DatabaseSteps(
        inspect=Postgres.inspect_database,
        observe=Postgres.observe_statements,
        sample=Postgres.sample_activity,
        read_log=PostgresLog.read_log,
        read_catalog=Postgres.read_catalog,
        explain=PostgresExplain.explain_statements,
        try_advice=PostgresTrying.try_advice,
    ),
    "mysql": DatabaseSteps(
        inspect=Mysql.inspect_mysql,
        observe=Mysql.observe_mysql_statements,
        sample=Mysql.sample_mysql_activity,
        read_log=MysqlLog.read_slow_log,
        read_catalog=Mysql.read_mysql_catalog,
        explain=Mysql.explain_mysql_statements,
        try_advice=Mysql.try_mysql_advice,
    ),
}


def steps_of(target: Target, *, only: TargetKind | None = None) -> DatabaseSteps:
    """What serves this target; refused for what is no database, or of another kind than the only one that a process knows."""
    kinds = (only,) if only else tuple(STEPS)
    if (steps := STEPS.get(target.kind)) is None or target.kind not in kinds:
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"target {target.name} is of kind {target.kind}, not {only or 'a database'}",
            way_out=f"Name a target of kind {' or '.join(kinds)}" + (f": its database is {target.database}" if target.database else ""),
        )
    return steps
