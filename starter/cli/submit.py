"""`perfwright submit`."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from starter.cli.output import note, say_json
from starter.cli.session import AsJson, RunName, connected

if TYPE_CHECKING:
    from starter.client import Perfwright
    from starter.submitting import Submitted


def submit(
    id: RunName,
    patch: Annotated[Path | None, typer.Option("--patch", metavar="FILE", help="A unified diff, as `git diff` writes it.")] = None,
    ref: Annotated[str, typer.Option("--ref", metavar="REF", help="A commit, branch or tag of the target's repository instead.")] = "",
    base: Annotated[str, typer.Option("--base", metavar="REF", help="What it is compared with.")] = "HEAD",
    item: Annotated[str, typer.Option("--item", metavar="NAME", help="The work item it answers (default: whichever waits).")] = "",
    comment: Annotated[str, typer.Option("--comment", "-m", metavar="TEXT", help="What it does, and why it should help.")] = "",
    by: Annotated[str, typer.Option("--by", metavar="NAME", help="Whose it is (default: your user name).")] = "",
    json: AsJson = False,
) -> None:
    """Submit a change of your own to a run that waits for one; it is tried like any other."""
    from starter.client import user_name
    from starter.refusals import InvalidRequest
    from starter.submitting import read_patch, submit_change

    if (patch is None) == (not ref):
        raise InvalidRequest("submit", ["give either --patch FILE or --ref REF"])
    text = read_patch(patch) if patch is not None else ""

    async def go(perf: "Perfwright") -> "Submitted":
        run = await perf.run(id)
        return await submit_change(run, patch=text, ref=ref, base=base, by=by or user_name(), comment=comment, item=item)

    submitted = connected(go)
    if json:
        say_json({"workflow_id": submitted.workflow_id, "submission_id": submitted.submission_id, "taken": submitted.taken})
        return
    print(f"{'taken by' if submitted.taken else 'sent to'} {submitted.workflow_id}")
    if not submitted.taken:
        note("no worker polls: it is taken when one is back; then `perfwright show` tells whether it counted")
