"""`perfwright describe PROCESS`."""

from typing import Annotated

import typer

from starter.catalogue import ProcessEntry, find_process
from starter.cli.output import console, facts, heading, lines, say_json, table
from starter.cli.processes import complete_process


def describe(
    process: Annotated[str, typer.Argument(help="Name of the process.", autocompletion=complete_process)],
    schema: Annotated[bool, typer.Option("--schema", help="The JSON Schema of its input.")] = False,
    example: Annotated[bool, typer.Option("--example", help="An input as JSON, with every default.")] = False,
    json: Annotated[bool, typer.Option("--json", help="JSON instead of text.")] = False,
) -> None:
    """What a process asks, its inputs with defaults and units, its steps, gates, changes and outputs."""
    entry = find_process(process)
    if schema:
        say_json(entry.request.model_json_schema())
    elif example:
        from starter.input_table import example as example_of

        say_json(example_of(entry))
    elif json:
        _as_json(entry)
    else:
        _as_text(entry)


def _as_json(entry: ProcessEntry) -> None:
    from starter.input_table import input_rows

    fields = ("name", "category", "question", "targets", "steps", "gates", "changes", "outputs", "short_form")
    from dataclasses import asdict

    told = asdict(entry)
    say_json({name: told[name] for name in fields} | {"inputs": [asdict(row) for row in input_rows(entry)]})


def _as_text(entry: ProcessEntry) -> None:
    from rich.text import Text

    from starter.input_table import input_rows

    out = console()
    out.print(Text(entry.name, style="bold") + Text(f"  ({entry.category})", style="dim"))
    lines([entry.question])
    heading("Inputs")
    rows: list[tuple[object, ...]] = []
    for row in input_rows(entry):
        rows.append(((row.name, "bold"), row.allowed, row.default, row.meaning))
        rows += [(f"  .{inner.name}", inner.allowed, inner.default, inner.meaning) for inner in row.inner]
    table(["field", "allowed", "default", "meaning"], rows, empty="none")
    heading("Steps")
    table(["step", "what happens"], entry.steps, empty="none")
    heading("Gates")
    gates = [(gate.name, gate.kind, gate.question, gate.may_change or "comments only") for gate in entry.gates]
    table(["gate", "kind", "question", "request-changes"], gates, empty="none")
    heading("Changes on the target")
    lines(entry.changes or ["none: it only reads"])
    heading("Outputs")
    lines([*entry.outputs, "HTML report (offline), Markdown, result.json"])
    heading("Start it")
    short = {"a first look, under `perfwright up`": f"perfwright {entry.short_form} --pid PID"} if entry.short_form else {}
    facts({"on a target": f"perfwright start {entry.name} --target NAME --wait", **short})
