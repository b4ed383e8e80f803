"""Where a target's connection string is: in the worker's environment, under the name that the registry gives."""

from collections.abc import Mapping

from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target


def connection_string(target: Target, environ: Mapping[str, str], example: str) -> str:
    """The text. Raises TargetRefused, with the name of the variable and nothing of its value; `example` is told as the way out."""
    if target.dsn_env is None:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"{target.title} has no connection string",
            way_out='Name the environment variable that holds it: dsn_env = "SHOP_DB_DSN"',
        )
    if not (text := environ.get(target.dsn_env, "").strip()):
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"the environment variable {target.dsn_env} of {target.title} is not set for this worker",
            way_out=f"Start the worker of host {target.host} with {target.dsn_env}={example}",
        )
    return text
