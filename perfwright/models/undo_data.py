"""What restores the earlier state, by kind of change: written before anything is done, complete without the code that wrote it.

None of it holds a secret: connection strings stay in the environment, under the name that the target gives.
"""

from typing import Annotated, Literal

from pydantic import Field

from perfwright.models.vocabulary import Model


class PatchUndo(Model):
    """A branch and a worktree to remove."""

    kind: Literal["patch"] = "patch"
    repository: str
    base: str
    """Commit that the patch was applied to, or that the ref's commit follows."""
    commit: str
    """Known before the branch is made: its author, dates and content are fixed."""
    tree: str
    branch: str
    worktree: str


class LaunchUndo(Model):
    """The file that says how the target is launched, before and after."""

    kind: Literal["command"] = "command"
    file: str
    """Name in the worker's state folder."""
    before: str | None
    """None: there was none."""
    after: str


class CollectorState(Model):
    """Of the garbage collector of a CPython process."""

    thresholds: tuple[int, int, int]
    enabled: bool
    frozen: bool


class InterpreterUndo(Model):
    """The process, and its settings."""

    kind: Literal["interpreter"] = "interpreter"
    pid: int
    create_time_s: float
    before: CollectorState
    after: CollectorState


class IndexUndo(Model):
    """An index to drop, or to make again."""

    kind: Literal["sql"] = "sql"
    action: Literal["create", "drop"]
    database: str
    schema_name: str
    name: str
    table_oid: int
    statement: str
    """`CREATE INDEX CONCURRENTLY ...`, complete: what was asked for, or what the server told of the index that is dropped."""
    definition: str
    """From the access method on, as the server writes it: what tells ours from another index of that name."""
    unique: bool = False
    oid: int = 0
    """Of the index that is dropped."""
    twins: dict[int, str] | None = None
    """Indexes of the table that were like the one to be made already, name by oid; None: not known."""
    tablespace: str = ""
    comment: str | None = None
    statistics: dict[int, int] = {}
    """Statistics target by column number, where one is set."""


class SettingUndo(Model):
    """The earlier entry, as it stood; None: there was none."""

    kind: Literal["settings"] = "settings"
    scope: Literal["system", "role", "database", "role in database"]
    name: str
    role: str = ""
    database: str = ""
    role_oid: int = 0
    database_oid: int = 0
    """They tell one that was renamed from one that was dropped; 0: not known, or none."""
    listed: bool = False
    """Its value is a list of names."""
    earlier: str | None = None
    wanted: tuple[str, ...]
    context: str = ""
    """`postmaster`: takes effect after a restart."""
    data_directory: str = ""
    """Where postgresql.auto.conf is, for a server that no longer starts."""

    @property
    def restarts(self) -> bool:
        return self.scope == "system" and self.context == "postmaster"


class FileUndo(Model):
    """The bytes that differ, and what the whole was and becomes."""

    kind: Literal["file"] = "file"
    root: str
    path: str
    offset: int
    old: str
    """Base64 of the bytes at `offset` that are replaced."""
    new: str
    sha256_before: str
    sha256_after: str
    mode: int
    uid: int
    gid: int
    reload: bool


UndoData = Annotated[PatchUndo | LaunchUndo | InterpreterUndo | IndexUndo | SettingUndo | FileUndo, Field(discriminator="kind")]
