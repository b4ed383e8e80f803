"""A run followed on the terminal: a line for each thing that happened, and one line that lives."""

import sys
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from starter.cli.output import commands, console, duration, lines, note, say_json_line

if TYPE_CHECKING:
    from perfwright.models.gate import OpenGate
    from starter.following import Live, Moment
    from starter.run import Run

MARKS = {"done": "done", "failed": "failed", "stopped": "stopped", "started": "now", "note": "note"}
"""The word before a line; results have none."""
STYLES = {"failed": "red", "phase": "bold", "gate": "bold yellow", "started": "dim", "note": "yellow"}


async def watch(run: "Run", *, json: bool = False) -> None:
    """Follow until the run is closed. With `json`, a line of JSON for each thing that happens."""
    from starter.following import Moment, follow

    if json:
        async with aclosing(follow(run)) as told:
            async for one in told:
                if isinstance(one, Moment):
                    say_json_line(one)
        return
    status = _Status()
    try:
        async with aclosing(follow(run)) as told:
            async for one in told:
                if isinstance(one, Moment):
                    status.clear()
                    say_moment(run, one)
                else:
                    status.show(one)
    finally:
        status.clear()


def come_back(run: "Run") -> None:
    """Said when following is interrupted."""
    name = run.workflow_id
    note(f"\nThe run goes on. Come back with `perfwright show {name} --follow`, end it with `perfwright cancel {name}`.")


def say_moment(run: "Run", one: "Moment") -> None:
    if one.kind == "closed":
        return
    if one.kind == "gate" and one.gate is not None:
        say_gate(run.workflow_id, one.gate)
        return
    took = f"  {duration(one.seconds)}" if one.seconds is not None and one.seconds >= 0.05 else ""
    style = STYLES.get(one.kind, "dim" if one.kind == "done" and (one.seconds or 0) < 1 else "")
    lines(
        [one.text if one.kind == "phase" else f"{MARKS.get(one.kind, ''):8}{one.text}{took}"],
        indent="" if one.kind == "phase" else "  ",
        style=style,
    )


def say_gate(workflow_id: str, gate: "OpenGate") -> None:
    """An open gate with its evidence, and how to answer it."""
    from starter.cli.output import moment

    question = gate.question
    lines([f"{gate.name} waits for a person ({gate.kind}): {question.question}"], indent="", style="bold yellow")
    lines([f"- {line.replace('**', '')}" for line in question.evidence], indent="    ")
    if question.exact_change:
        lines(question.exact_change.splitlines(), indent="        ")
    lines([question.consequence, f"Until {moment(gate.deadline_at)}. On show: revision {gate.revision}, digest {gate.digest}."])
    digest = "" if gate.kind == "review" else f" --digest {gate.digest}"
    answers = [
        f"perfwright approve {workflow_id} {gate.name}{digest}",
        f"perfwright reject {workflow_id} {gate.name} --comment WHY{digest}",
    ]
    if gate.revisions_left:
        field = next(iter(question.overrides), "")
        change = f" --set {field}=VALUE" if field else ""
        answers.append(f"perfwright request-changes {workflow_id} {gate.name} --comment WHY{change}{digest}")
    commands(answers)


def numbers_line(numbers: dict[str, Any]) -> str:
    """`recorded 12.5 of 30 s, slices 2`: a heartbeat as a person reads it."""
    left = dict(numbers)
    told = []
    if "recorded_s" in left and "of_s" in left:
        told.append(f"{left.pop('recorded_s'):g} of {left.pop('of_s'):g} s")
    told += [f"{name.removesuffix('_s').replace('_', ' ')} {_short(value)}" for name, value in left.items() if value not in (None, "")]
    return ", ".join(told)


def _short(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3g}"
    return str(value)[:60]


class _Status:
    """The last line of a terminal; nothing where nobody looks."""

    def __init__(self) -> None:
        self._shown = False
        self._live = sys.stdout.isatty()

    def show(self, live: "Live") -> None:
        if not self._live:
            return
        parts = [live.waiting_for] if live.waiting_for else []
        for step in live.steps:
            told = numbers_line(step.numbers)
            parts.append(f"{step.text}: {told}" if told else f"{step.text}: {duration(step.seconds)}")
            if step.trouble:
                parts.append(step.trouble)
        width = console().width
        text = f"  … {' | '.join(parts)}" if parts else ""
        sys.stdout.write("\r\x1b[2K" + text[: width - 1])
        sys.stdout.flush()
        self._shown = bool(text)

    def clear(self) -> None:
        if self._shown:
            sys.stdout.write("\r\x1b[2K")
            sys.stdout.flush()
            self._shown = False
