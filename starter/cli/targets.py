"""`perfwright targets`."""

from typing import TYPE_CHECKING

from starter.cli.output import note, say_json, table
from starter.cli.session import AsJson, Config

if TYPE_CHECKING:
    from starter.reachable import Reached


def targets(json: AsJson = False, config: Config = "") -> None:
    """The registry, and whether each target answers."""
    import asyncio

    from starter.here import Here
    from starter.reachable import reach_targets

    here = Here(config or None)
    registry = here.require_registry()
    reached: list[Reached] = asyncio.run(reach_targets(registry))
    if json:
        say_json(reached)
        return
    rows = [
        (
            (one.target.name, "bold"),
            one.target.kind,
            one.target.environment,
            one.target.host,
            one.target.url or (one.target.process.title if one.target.process else "") or one.target.dsn_env or one.target.repository or "",
            (
                {True: "answers", False: "no answer", None: "not checked"}[one.answers],
                {True: "green", False: "red", None: "dim"}[one.answers],
            ),
            one.told,
        )
        for one in reached
    ]
    table(["target", "kind", "environment", "host", "where", "state", ""], rows, empty=f"{here.path} names no target.")
    note(f"from {here.path}")
