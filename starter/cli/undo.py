"""`perfwright undo`."""

import sys
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from starter.cli.output import moment, note, say_json, table
from starter.cli.session import AsJson, Config

if TYPE_CHECKING:
    from perfwright.models.undo import UndoRecord

STATE_STYLES = {"applied": "cyan", "recorded": "yellow", "conflict": "red", "kept": "green"}


def undo(
    action: Annotated[Literal["list", "run"], typer.Argument(metavar="[list|run]", help="What stands; or undo what a run left.")] = "list",
    id: Annotated[str, typer.Argument(metavar="[ID]", help="A run: its run id, workflow id or name (shop#12); or one change.")] = "",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    leave: Annotated[bool, typer.Option("--leave", help="Close the records and leave the target as it is.")] = False,
    here: Annotated[bool, typer.Option("--here", help="This is where it was carried out, under another name (a new container).")] = False,
    all: Annotated[bool, typer.Option("--all", help="List what was undone as well.")] = False,
    json: AsJson = False,
    config: Config = "",
) -> None:
    """Changes that stand on targets, and their undo by hand; needs no Temporal server.

    Works on this machine, with the history that the registry names; connection strings come from the environment, as a worker has them. A
    change that is neither as it was made nor as it was before is a conflict: it is told and left alone, until --leave closes its record.
    Files, launches, worktrees and processes are undone only on the host, and with the state folder, that their record names.
    """
    from starter.refusals import InvalidRequest

    if action == "list":
        _list(everything=all, json=json, config=config)
        return
    if not id:
        raise InvalidRequest("undo run", ["ID: which run? `perfwright undo list` has them"])
    raise typer.Exit(_run(id, yes=yes, leave=leave, here=here, json=json, config=config))


def _list(*, everything: bool, json: bool, config: str) -> None:
    import asyncio

    from starter.undoing import undoing

    async def go() -> "list[UndoRecord]":
        async with undoing(config) as work:
            return await work.listed(everything=everything)

    records = asyncio.run(go())
    if json:
        say_json(records)
        return
    rows = [
        (
            record.change_id,
            (record.state, STATE_STYLES.get(record.state, "")),
            record.target.name,
            record.title,
            record.owner.workflow_id or "by hand",
            moment(record.recorded_at),
            record.note,
        )
        for record in records
    ]
    table(["change", "state", "target", "what", "run", "since", "note"], rows, empty="Nothing stands that could be undone.")


def _run(name: str, *, yes: bool, leave: bool, here: bool, json: bool, config: str) -> int:
    import asyncio

    from perfwright.models.undo import ChangeOutcome, NotUndone
    from starter.client import user_name
    from starter.failures import CANNOT_BE_CARRIED_OUT
    from starter.refusals import NotCarriedOut
    from starter.undoing import undoing

    async def go() -> list[ChangeOutcome | NotUndone]:
        """All of them, whatever became of those before."""
        async with undoing(config) as work:
            records = await work.of_run(name)
            _confirm(records, yes=yes, leave=leave)
            outcomes: list[ChangeOutcome | NotUndone] = []
            for record in records:
                try:
                    outcome = await (work.leave(record, user_name()) if leave else work.undo(record, here=here))
                except NotCarriedOut as trouble:
                    note(f"not undone: {trouble} ({record.change_id})")
                    outcomes.append(NotUndone(change_id=record.change_id, state=record.state, title=record.title, failed=str(trouble)))
                    continue
                outcomes.append(outcome)
                if not json:
                    print(f"{outcome.state}: {outcome.title} ({outcome.change_id}) {outcome.note}".rstrip())
            return outcomes

    outcomes = asyncio.run(go())
    if json:
        say_json(outcomes)
    elif not outcomes:
        print("Nothing of it is left to undo.")
    return CANNOT_BE_CARRIED_OUT if any(isinstance(one, NotUndone) or one.state == "conflict" for one in outcomes) else 0


def _confirm(records: "list[UndoRecord]", *, yes: bool, leave: bool) -> None:
    from starter.refusals import InvalidRequest

    if yes or not records:
        return
    for record in records:
        note(f"{record.target.name} ({record.target.environment}): {record.title} [{record.state}], {record.change_id}")
    note("A run that still goes on undoes its changes itself: `perfwright cancel RUN`.")
    word = "leave these as they are, and close their records" if leave else "undo these, in this order"
    if not sys.stdin.isatty():
        raise InvalidRequest("undo run", [f"--yes: needed to {word} without being asked"])
    if not typer.confirm(f"{word}?"):
        raise typer.Exit(2)
