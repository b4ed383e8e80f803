"""Something that can be applied and reverted: how it is told to people (`Change`), and exactly what it is (`ChangeSpec`).

A spec holds no secret and no command: what restarts or reloads a target, and where its files are, stands in the registry.
"""

import hashlib
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.secrets import secret_argument
from perfwright.models.vocabulary import Model

RiskClass = Literal["observe", "reload", "restart", "irreversible"]
"""What applying it does to the target: nothing, a reload, a restart, or something no undo restores."""

ChangeKind = Literal["sql", "settings", "patch", "command", "file", "cache", "sysctl", "mount", "interpreter"]

PATCH_CHARACTERS = 100_000
FILE_CHARACTERS = 50_000
"""A changed file and its undo travel through histories, which take 256 KiB at a time."""
_Word = Annotated[str, StringConstraints(min_length=1, max_length=4_096, pattern=r"^[^\x00]*$")]
_Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
_Value = Annotated[str, StringConstraints(max_length=4_096, pattern=r"^[^\x00]*$")]
_Identifier = Annotated[str, StringConstraints(min_length=1, max_length=63, pattern=r"^[^\x00]*$")]
_SettingName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_$]{0,62}(\.[A-Za-z_][A-Za-z0-9_$]{0,62})?$")]
_SettingValue = Annotated[str, StringConstraints(max_length=2_000, pattern=r"^[^\x00\n\r]*$")]
Revision = Annotated[str, StringConstraints(min_length=1, max_length=250, pattern=r"^[^-\x00-\x20~^:?*\[\\][^\x00-\x20~^:?*\[\\]*$")]


class PatchSpec(Model):
    """A patch, or a ref that holds the change, on a branch and in a worktree of its own; the repository's checkout is left alone."""

    kind: Literal["patch"] = "patch"
    patch: Annotated[str, StringConstraints(max_length=PATCH_CHARACTERS)] = ""
    """A unified diff as `git diff` writes it."""
    ref: Revision | None = None
    """A commit, branch or tag that is in the repository, instead of a patch."""
    base: Revision = "HEAD"
    """What a patch applies to."""
    message: Annotated[str, StringConstraints(max_length=2_000)] = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.patch.strip()) == (self.ref is not None):
            raise ValueError("exactly one of patch or ref is allowed")
        return self


class LaunchSpec(Model):
    """Flags and environment of the target's own command, for every launch of it while the change stands."""

    kind: Literal["command"] = "command"
    after_program: Annotated[tuple[_Word, ...], Field(max_length=64)] = ()
    """Words put behind the program: flags of a runtime (`-Xmx2g`)."""
    append: Annotated[tuple[_Word, ...], Field(max_length=64)] = ()
    """Words put at the end."""
    without: Annotated[tuple[_Word, ...], Field(max_length=64)] = ()
    """Words of the command that are left out; each must be there."""
    environment: Annotated[dict[_Variable, _Value | None], Field(max_length=64)] = {}
    """Variables and their values; None: unset."""

    @model_validator(mode="after")
    def _something_and_no_secret(self) -> Self:
        words = (*self.after_program, *self.append)
        if not (words or self.without or self.environment):
            raise ValueError("nothing would change")
        assigned = tuple(f"{name}={value}" for name, value in self.environment.items() if value is not None)
        if place := secret_argument(words) or secret_argument(assigned):
            raise ValueError(f"{place} looks like a secret, and changes are recorded; put it into the worker's environment")
        return self


class InterpreterSpec(Model):
    """Settings of the garbage collector inside a running CPython process."""

    kind: Literal["interpreter"] = "interpreter"
    gc_thresholds: Annotated[tuple[int, int, int], Field(min_length=3, max_length=3)] | None = None
    """As `gc.set_threshold` takes them."""
    gc_enabled: bool | None = None
    gc_freeze: bool = False
    """Collect once, then move all that lives out of the collector's sight."""

    @model_validator(mode="after")
    def _something_within_bounds(self) -> Self:
        if self.gc_thresholds is None and self.gc_enabled is None and not self.gc_freeze:
            raise ValueError("nothing would change")
        if any(not 0 <= one <= 2**31 - 1 for one in self.gc_thresholds or ()):
            raise ValueError("gc_thresholds: each is from 0 to 2147483647")
        return self


class IndexSpec(Model):
    """One index that is made or dropped, without a lock that stops writers."""

    kind: Literal["sql"] = "sql"
    create: Annotated[str, StringConstraints(max_length=8_000)] = ""
    """`CREATE INDEX CONCURRENTLY name ON schema.table (...)`; the name is needed."""
    drop: Annotated[str, StringConstraints(max_length=300)] = ""
    """Name of an index, with its schema, as it is written in SQL: `public.orders_old_idx`."""
    keeper: Annotated[str, StringConstraints(max_length=300)] = ""
    """Of a drop: the index that serves in its place, with its schema; where it does not stand, nothing is dropped."""
    lock_timeout_s: Annotated[float, Field(ge=0.01, le=600.0)] = 2.0
    """How long it waits for a lock, or for older transactions; others queue behind what waits."""
    limit_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 3_600.0

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.create.strip()) == bool(self.drop.strip()):
            raise ValueError("exactly one of create or drop is allowed")
        return self


class SettingSpec(Model):
    """One PostgreSQL setting: of the server (ALTER SYSTEM), of a role, of a database, or of a role in a database."""

    kind: Literal["settings"] = "settings"
    name: _SettingName
    value: _SettingValue | Annotated[tuple[_SettingValue, ...], Field(min_length=1, max_length=64)]
    """One text with its unit (`64MB`); a setting that is a list takes its parts, each by itself."""
    role: _Identifier | None = None
    database: _Identifier | None = None
    back_within_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 60.0
    """After a restart: how long the server may take until it answers; then the earlier line is put back and it is restarted again."""

    @property
    def parts(self) -> tuple[str, ...]:
        return (self.value,) if isinstance(self.value, str) else self.value


class Replacement(Model):
    """A text that stands in a file exactly once, and what stands there instead."""

    find: Annotated[str, StringConstraints(min_length=1, max_length=FILE_CHARACTERS)]
    replace: Annotated[str, StringConstraints(max_length=FILE_CHARACTERS)]


class FileSpec(Model):
    """An edit of one file below the target's `files_root`, and its `reload_command` afterwards."""

    kind: Literal["file"] = "file"
    path: Annotated[str, StringConstraints(min_length=1, max_length=1_000, pattern=r"^[^\x00]*$")]
    """Relative to the root."""
    replacements: Annotated[tuple[Replacement, ...], Field(max_length=100)] = ()
    content: Annotated[str, StringConstraints(max_length=FILE_CHARACTERS)] | None = None
    """The whole new content, instead of replacements."""
    reload: bool = True
    """Whether the target's reload command is run after the edit, and after its undo."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.replacements) == (self.content is not None):
            raise ValueError("exactly one of replacements or content is allowed")
        if sum(len(one.find) + len(one.replace) for one in self.replacements) > FILE_CHARACTERS:
            raise ValueError(f"replacements: at most {FILE_CHARACTERS:,} characters in all are allowed")
        return self


ChangeSpec = Annotated[
    PatchSpec | LaunchSpec | InterpreterSpec | IndexSpec | SettingSpec | FileSpec,
    Field(discriminator="kind"),
]


def limit_s(spec: ChangeSpec) -> float:
    """How long carrying it out, or its undo, may take by its own limits, in seconds; 0: moments."""
    if isinstance(spec, IndexSpec):
        return spec.limit_s
    if isinstance(spec, SettingSpec):
        return 2 * spec.back_within_s  # a server that does not come back is started again with the earlier line
    return 0.0


class Change(Model):
    """Describes itself exactly for the gate: what is done, and what undoes it."""

    kind: ChangeKind
    title: str
    apply: str
    """The exact DDL, diff or command."""
    undo: str
    """What restores the earlier state, with the values it restores."""
    risk: RiskClass
    undo_cost: str = ""
    """What the undo costs: how long a dropped index takes to rebuild."""
    spec: ChangeSpec | None = None
    """What is carried out; None: it is told only, for people to do."""

    @property
    def digest(self) -> str:
        """Sixteen hex digits over everything that would happen."""
        text = "\0".join((self.kind, self.apply, self.undo, self.risk))
        if self.spec is not None:
            text += "\0" + self.spec.model_dump_json()
        return hashlib.sha256(text.encode()).hexdigest()[:16]
