"""How commands speak: tables that fold on narrow terminals, plain text when piped, JSON when asked."""

import json
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

NARROW = 72
"""Columns below which a table is told row by row."""
PIPED_WIDTH = 10_000
"""Nothing is folded for programs: paths stay whole, lines can be searched."""
VERDICT_STYLES = {"passed": "green", "failed": "red", "inconclusive": "yellow", "rejected": "red", "cancelled": "yellow"}


def console(*, stderr: bool = False) -> "Console":
    """Rich on a terminal; where nobody looks (a pipe), the same without colour and with room for long lines. NO_COLOR is respected."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    piped = not stream.isatty()
    width = int(os.environ["COLUMNS"]) if os.environ.get("COLUMNS", "").isdigit() else (PIPED_WIDTH if piped else None)
    return Console(file=stream, width=width, highlight=False, soft_wrap=False, no_color=True if piped else None, emoji=False)


def show(renderable: object) -> None:
    """Print it; without the blanks that fill up lines where nobody looks."""
    out = console()
    if out.file.isatty():
        out.print(renderable)
        return
    with out.capture() as captured:
        out.print(renderable)
    print("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")), flush=True)


def say_json(value: object) -> None:
    print(json.dumps(value, indent=2, default=_plain, ensure_ascii=False))


def say_json_line(value: object) -> None:
    print(json.dumps(value, default=_plain, ensure_ascii=False), flush=True)


def note(line: str) -> None:
    """Something beside the answer: to stderr, so that the answer can be piped."""
    print(line, file=sys.stderr, flush=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], *, empty: str, header: bool = True) -> None:
    """Rows as a table, or row by row on a narrow terminal; `empty` where there are none. A cell is text, `(text, style)`, or None."""
    out = console()
    if not rows:
        print(empty)
        return
    from rich.table import Table
    from rich.text import Text

    def cell(value: object) -> Text:
        text, style = value if isinstance(value, tuple) else (value, "")
        return Text("" if text is None else str(text), style=style, overflow="fold")

    if out.width < NARROW and len(columns) > 2:
        wide = max(len(column) for column in columns)
        for index, row in enumerate(rows):
            if index:
                out.print()
            for column, value in zip(columns, row, strict=True):
                if (text := cell(value)).plain:
                    show(Text(f"{column:{wide}}  ", style="dim") + text)
        return
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", show_header=header)
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in rows:
        drawn.add_row(*(cell(value) for value in row))
    show(drawn)


def facts(pairs: Mapping[str, object], *, whole: bool = False) -> None:
    """`name  value` lines; what is empty is left out. `whole`: values are paths or commands, which are copied and so never broken."""
    from rich.table import Table
    from rich.text import Text

    shown = {name: str(value) for name, value in pairs.items() if value not in (None, "", ())}
    if whole:
        wide = max(map(len, shown), default=0)
        for name, value in shown.items():
            console().print(Text(f"{name:{wide}}  ", style="dim") + Text(value), soft_wrap=True)
        return
    drawn = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), show_header=False)
    drawn.add_column(style="dim", no_wrap=True)
    drawn.add_column(overflow="fold")
    for name, value in shown.items():
        drawn.add_row(name, Text(value))
    show(drawn)


def heading(text: str) -> None:
    from rich.text import Text

    out = console()
    out.print()
    out.print(Text(text, style="bold"))


def lines(texts: Sequence[str], *, indent: str = "  ", style: str = "") -> None:
    """Each text folded with its indentation, never taken for markup."""
    from rich.padding import Padding
    from rich.text import Text

    for text in texts:
        show(Padding(Text(text, style=style, overflow="fold"), (0, 0, 0, len(indent))))


def commands(texts: Sequence[str]) -> None:
    """Lines to be copied into a shell: indented, never broken."""
    from rich.text import Text

    for text in texts:
        console().print(Text(f"    {text}", style="cyan"), soft_wrap=True)


def duration(seconds: float) -> str:
    """`0.42 s`, `12.3 s`, `4 min 10 s`, `2 h 5 min`, `3 days`."""
    if seconds >= 172_800:
        return f"{seconds / 86_400:.0f} days"
    from perfwright.report.words import seconds as told

    return told(seconds)


def moment(iso: str) -> str:
    """A UTC time in the reader's own time zone, to the second."""
    from datetime import datetime

    try:
        return datetime.fromisoformat(iso).astimezone().strftime("%Y-%m-%d %H:%M:%S")
    except ValueError:
        return iso


def _plain(value: object) -> Any:
    from dataclasses import asdict, is_dataclass

    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    return str(value)
