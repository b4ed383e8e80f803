"""Flags and environment of a target's own command: a file in the worker's state folder that every launch of the target reads.

The change takes effect with the next launch, and so does its undo. What runs already keeps what it was started with, and ends with the
step that launched it.
"""

import asyncio
import contextlib
import hashlib
import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from activities.changes.kind import NotAllowed, Prepared, Site, only, passed
from activities.errors import refuse
from perfwright.analysis.changes.launches import LaunchRefused, changed_command, changed_environment, decoded, encoded
from perfwright.models.change import Change, LaunchSpec
from perfwright.models.errors import ErrorType
from perfwright.models.target import Operation, Target
from perfwright.models.undo import ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import LaunchUndo

FOLDER = "launches"


class Launches:
    """Changes how a target's command is launched."""

    spec: ClassVar = LaunchSpec
    operation: ClassVar[Operation | None] = None  # the command is launched by us and ends with us
    looks_itself: ClassVar[bool] = False

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription:
        spec = only(order.spec, LaunchSpec)
        before, after = _commands(order, site)
        variables = [f"{name}={shlex.quote(value)}" if value is not None else f"-u {name}" for name, value in spec.environment.items()]
        return ChangeDescription(
            change=Change(
                kind="command",
                title=f"Launch {order.target.name} with other flags",
                apply=" ".join(["env", *variables, shlex.join(after)] if variables else [shlex.join(after)]),
                undo=f"launched as before: {shlex.join(before)}",
                risk="observe",
                undo_cost="none: the next launch is as before",
                spec=spec,
            ),
            blast_radius=f"every launch of {order.target.name} by Perfwright on this host, until it is undone; nothing that runs already",
            cost="none by itself",
            survives_restart=True,
        )

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]:
        _commands(order, site)
        return (passed("command"),)

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared:
        spec = only(order.spec, LaunchSpec)
        _commands(order, site)
        before = _text(site.state_folder, order.target.name)
        after = encoded([*_standing(before, order.target.name), (order.change_id, spec)])
        undo = LaunchUndo(file=f"{FOLDER}/{_name(order.target.name)}", before=before, after=after)
        return Prepared("launch", f"Launch {order.target.name} with other flags", undo)

    async def apply(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, LaunchUndo)
        await asyncio.to_thread(_write, site.state_folder / undo.file, undo.after)

    async def look(self, record: UndoRecord, site: Site) -> Standing:
        undo = only(record.undo, LaunchUndo)
        found = _text(site.state_folder, record.target.name)
        if found == undo.before:
            return Standing(word="before")
        if found == undo.after:
            return Standing(word="changed", told="the next launch has it")
        return Standing(word="foreign", told=f"{site.state_folder / undo.file} was changed by something else")

    async def revert(self, record: UndoRecord, site: Site) -> None:
        undo = only(record.undo, LaunchUndo)
        await asyncio.to_thread(_write, site.state_folder / undo.file, undo.before)


def launched_as(
    state_folder: Path, target: str, command: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """Command and environment with the changes that stand for this target. Raises InvalidInput where they no longer fit the command."""
    return changed_by(_text(state_folder, target), target, command, environment)


def changed_by(
    text: str | None, target: str, command: tuple[str, ...], environment: Mapping[str, str]
) -> tuple[tuple[str, ...], dict[str, str]]:
    """The same, with the changes that a record's `before` or `after` holds."""
    changed = dict(environment)
    try:
        for _, spec in _standing(text, target):
            command, changed = changed_command(command, spec), changed_environment(changed, spec)
    except LaunchRefused as reason:
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"a change of {target}'s command does not fit it: {reason}",
            way_out="Undo it where it is an earlier one (`perfwright undo list`), or give the command as the target has it",
        ) from None
    return command, changed


def _commands(order: ChangeOrder, site: Site) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """As it is launched now, and as it would be. Raises NotAllowed."""
    selector = order.target.process
    if selector is None or selector.command is None:
        raise NotAllowed("command", f"{order.target.name} has no command of its own: give process = {{ command = [...] }} in the registry")
    before, _ = launched_as(site.state_folder, order.target.name, selector.command, {})
    try:
        return before, changed_command(before, only(order.spec, LaunchSpec))
    except LaunchRefused as reason:
        raise NotAllowed("command", str(reason)) from None


def _standing(text: str | None, target: str) -> list[tuple[str, LaunchSpec]]:
    if text is None:
        return []
    try:
        return decoded(text)
    except (ValueError, KeyError, TypeError):
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"the file of {target}'s launches was changed by something else",
            way_out=f"Remove {FOLDER}/{_name(target)} from the worker's state folder",
        ) from None


def _text(state_folder: Path, target: str) -> str | None:
    try:
        return (state_folder / FOLDER / _name(target)).read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None


def _write(file: Path, text: str | None) -> None:
    """Whole or not at all; None: removed."""
    file.parent.mkdir(parents=True, exist_ok=True)
    temporary = file.with_suffix(".new")
    if text is None:
        file.unlink(missing_ok=True)
        temporary.unlink(missing_ok=True)  # of an attempt that was killed
    else:
        with temporary.open("w", encoding="utf-8") as opened:
            opened.write(text)
            opened.flush()
            os.fsync(opened.fileno())
        temporary.rename(file)
    with contextlib.suppress(OSError):  # some file systems have no fsync of folders
        folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _name(target: Target | str) -> str:
    """Of an inline target too: whatever the name, one plain file."""
    name = target if isinstance(target, str) else target.name
    plain = "".join(c if c.isalnum() or c in "._-" else "-" for c in name)[:63]
    return f"{plain}-{hashlib.sha256(name.encode()).hexdigest()[:8]}.json"
