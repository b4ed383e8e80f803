"""`perfwright start --dry-run`: everything that can be known without starting anything."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from starter.cli.output import console, facts, heading, lines, say_json, table

if TYPE_CHECKING:
    from starter.catalogue import ProcessEntry
    from starter.client import Perfwright

BLOCKED = 5


async def show_plan(perf: "Perfwright", entry: "ProcessEntry", given: Mapping[str, Any], mistakes: Sequence[str], *, json: bool) -> int:
    """Print what would run; 0 when nothing stands in its way, else 5."""
    from starter.planning import plan

    made = await plan(perf, entry, given, mistakes)
    if json:
        say_json(made)
        return 0 if made.ready else BLOCKED
    print(f"{entry.name} on {made.target}: nothing is started")
    heading("Checks")
    words = {True: ("ok", "green"), False: ("missing", "red"), None: ("not checked", "dim")}
    table(["", "what", "found"], [(words[check.passed], check.name, check.told) for check in made.checks], empty="")
    heading("Input, with defaults")
    facts(made.request)
    heading("Steps")
    table(["step", "what happens"], entry.steps, empty="none")
    heading("Gates")
    table(
        ["gate", "kind", "question", "answered by"],
        [(g.name, g.kind, g.question, made.policies.get(g.name, "")) for g in entry.gates],
        empty="none",
    )
    heading("Changes on the target")
    lines(entry.changes or ["none: it only reads"])
    console().print()
    if made.ready:
        print(f"It would run as {made.workflow_id}.")
        return 0
    console().print("It would not run now: see the checks.", style="red")
    return BLOCKED
