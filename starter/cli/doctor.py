"""`perfwright doctor`."""

from typing import Annotated

import typer

from starter.cli.output import heading, say_json, table
from starter.cli.session import AsJson, Config

STYLES = {"ok": "green", "absent": "yellow", "missing": "red"}


def doctor(
    target: Annotated[str, typer.Option("--target", "-t", help="Only this target, and what it needs.")] = "",
    json: AsJson = False,
    config: Config = "",
) -> None:
    """What works here, what is missing, and the package or permission that gives it.

    Exit code 1 when a target cannot be served.
    """
    import asyncio

    from starter.diagnosis import diagnose
    from starter.here import Here

    looked = asyncio.run(diagnose(Here(config or None), target))
    if json:
        say_json(looked)
    else:
        for section in dict.fromkeys(one.section for one in looked):
            heading(section)
            table(
                ["", "what", "found"],
                [((one.state, STYLES[one.state]), one.name, one.told) for one in looked if one.section == section],
                empty="",
                header=False,
            )
    raise typer.Exit(int(any(one.state == "missing" for one in looked)))
