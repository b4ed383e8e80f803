"""`perfwright gates`, `approve`, `reject`, `request-changes`."""

import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from starter.cli.output import duration, moment, note, say_json, table
from starter.cli.session import AsJson, RunName, connected

if TYPE_CHECKING:
    from perfwright.models.gate import Action
    from starter.client import Perfwright
    from starter.run import Answered, Run

GateArgument = Annotated[str, typer.Argument(metavar="GATE", help="Name of the gate, as `perfwright gates` shows it.")]
Comment = Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="Why.")]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides (default: your user name).")]
Digest = Annotated[str, typer.Option("--digest", help="The eight characters shown with the gate: what you decide on.")]


def gates(
    target: Annotated[str, typer.Option("--target", "-t", help="Only gates of this target.")] = "",
    json: AsJson = False,
) -> None:
    """Everything that waits for a person, oldest first, with its deadline."""
    waiting = connected(lambda perf: perf.gates(target=target or None))
    if waiting.more_runs:
        note(f"These are gates of the runs that started first; {waiting.more_runs} more runs wait (--target narrows it down).")
    if json:
        say_json(waiting)
        return
    rows = [
        (
            one.workflow_id,
            (one.name, "bold"),
            one.gate.kind if one.gate else "",
            one.gate.question.question if one.gate else "(no worker answers for this run)",
            one.environment,
            one.gate.digest if one.gate else "",
            _until(one.gate.deadline_at) if one.gate else "",
        )
        for one in waiting
    ]
    table(["run", "gate", "kind", "question", "environment", "digest", "until"], rows, empty="Nothing waits for a person.")
    if waiting:
        note("Answer with `perfwright approve|reject|request-changes RUN GATE`; `perfwright show RUN` has the evidence.")


def approve(id: RunName, gate: GateArgument, comment: Comment = "", by: By = "", digest: Digest = "", json: AsJson = False) -> None:
    """Approve an open gate."""
    _decide("approve", id, gate, comment, by, digest, json)


def reject(id: RunName, gate: GateArgument, comment: Comment = "", by: By = "", digest: Digest = "", json: AsJson = False) -> None:
    """Reject an open gate; a comment is needed."""
    _decide("reject", id, gate, comment, by, digest, json)


def request_changes(
    id: RunName,
    gate: GateArgument,
    comment: Comment = "",
    assignments: Annotated[list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="A field to change; JSON, or text.")] = None,
    by: By = "",
    digest: Digest = "",
    json: AsJson = False,
) -> None:
    """Have a step done again with other settings; a comment is needed."""
    _decide("request_changes", id, gate, comment, by, digest, json, assignments or [])


def _decide(
    action: "Action", name: str, gate: str, comment: str, by: str, digest: str, json: bool, assignments: list[str] | None = None
) -> None:
    from starter.client import user_name
    from starter.inputs import read_assignments
    from starter.refusals import InvalidRequest

    mistakes: list[str] = []
    overrides = read_assignments(assignments or [], mistakes)
    if action != "approve" and not comment.strip():
        mistakes.append("--comment: say why; whoever started the run reads it")
    if mistakes:
        raise InvalidRequest(action.replace("_", "-"), mistakes)

    async def go(perf: "Perfwright") -> None:
        run = await perf.run(name)
        seen = digest or await _digest_on_show(run, gate, action)
        answered = await run.decide(action, gate, by=by or user_name(), comment=comment, overrides=overrides, digest=seen or None)
        _say(answered, json)

    connected(go)


async def _digest_on_show(run: "Run", gate: str, action: "Action") -> str:
    """Nobody approves a change blind: it is shown and confirmed here, or its digest has to be given. Reviews need none."""
    from starter.cli.watching import say_gate
    from starter.refusals import DecisionRefused, NoWorkerAnswers

    try:
        shown = await run.gate(gate)
    except (DecisionRefused, NoWorkerAnswers):
        return ""  # the run says itself why it does not take it
    if shown.kind == "review":
        return ""
    say_gate(run.workflow_id, shown)
    if not sys.stdin.isatty():
        raise DecisionRefused(f"{gate} is a {shown.kind} gate: say what you decide on", way_out=f"Add --digest {shown.digest}")
    if not typer.confirm(f"{action.replace('_', ' ')} exactly this?"):
        raise typer.Exit(2)
    return shown.digest


def _say(answered: "Answered", json: bool) -> None:
    if json:
        say_json({"workflow_id": answered.workflow_id, "gate": answered.gate, "decision": answered.decision})
        return
    taken: Any = answered.decision
    if taken is None:
        print(f"sent to {answered.workflow_id}: {answered.gate}")
        note("no worker polls: it is taken when one is back (`perfwright worker`); then `perfwright show` tells whether it counted")
        return
    word = taken.outcome.replace("_", " ")
    print(f"{word}: {answered.gate} of {answered.workflow_id} (revision {taken.revision}, by {taken.by})")


def _until(iso: str) -> str:
    from datetime import UTC, datetime

    try:
        left_s = (datetime.fromisoformat(iso) - datetime.now(UTC)).total_seconds()
    except ValueError:
        return iso
    return f"{moment(iso)} (in {duration(left_s)})" if left_s > 0 else f"{moment(iso)} (over)"
