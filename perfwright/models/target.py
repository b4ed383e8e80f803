"""What is examined. Workflow inputs carry a target's *name*; secrets stay in the worker's environment."""

from hashlib import sha256
from itertools import pairwise
from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.secrets import secret_argument
from perfwright.models.vocabulary import Input, Model, Name

TargetKind = Literal["process", "http", "postgresql", "mysql", "cache", "repository", "filesystem"]
Operation = Literal["analyze", "ddl", "settings", "restart", "inject", "profile"]

EnvironmentVariable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Argument = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]

SECRETS_BY_ENVIRONMENT = "put it into a variable of the worker's environment and name that in environment_names"
LOCAL_HOST = "local"
"""The host of targets that name none: served by a worker started without `--host`."""
CODE_OPTIONS = ("-c", "-e", "--eval")
"""After which interpreters take a program's text."""
INLINE_ENVIRONMENT = "inline"
"""The environment of targets given in the input instead of the registry."""


class ProcessSelector(Input):
    """Which process: exactly one of pid, port, name, pid_file or command."""

    pid: Annotated[int, Field(ge=1, le=4_194_304)] | None = None
    """Process id."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """TCP port that the process listens on."""
    name: Annotated[str, StringConstraints(min_length=1, max_length=255)] | None = None
    """Program name, or a part of its command line; must fit exactly one process."""
    pid_file: Annotated[str, StringConstraints(min_length=1, max_length=4_096)] | None = None
    """File that holds the process id."""
    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)] | None = None
    """Program and arguments, launched by us for the time of the recording (no shell)."""
    working_directory: Annotated[str, StringConstraints(min_length=1, max_length=4_096)] | None = None
    """Where `command` runs."""
    environment_names: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = ()
    """Variables of the worker's environment that `command` inherits, by name."""

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        given = [field for field in ("pid", "port", "name", "pid_file", "command") if getattr(self, field) is not None]
        if len(given) != 1:
            told = " and ".join(given) if given else "none"
            raise ValueError(f"exactly one of pid, port, name, pid_file or command is allowed; {told} given")
        if self.command is None and (self.working_directory or self.environment_names):
            raise ValueError("working_directory and environment_names belong to command")
        if place := secret_argument(self.command or ()):
            raise ValueError(f"command: {place} looks like a secret, and commands are recorded; {SECRETS_BY_ENVIRONMENT}")
        return self

    @property
    def title(self) -> str:
        """`pid 4711`, `port 8700`, `name uvicorn`, `command python job.py`."""
        for field in ("pid", "port", "name", "pid_file"):
            if (value := getattr(self, field)) is not None:
                return f"{field.replace('_', ' ')} {value}"
        return f"command {' '.join(self.command or ())}"[:120]


class InlineTarget(Input):
    """A process on this machine, given in the input. Refused unless the worker's configuration allows it."""

    process: ProcessSelector
    """Which process."""

    @property
    def title(self) -> str:
        """`pid 4711`."""
        return self.process.title

    @property
    def slug(self) -> str:
        """The name used in workflow ids: `pid-4711`, `port-8700`, `command-python-job.py`."""
        word = self.process.title if self.process.command is None else f"command {_program(self.process.command)}"
        return "".join(c if (c.isascii() and c.isalnum()) or c in "._-" else "-" for c in word)[:63]


def _program(command: tuple[str, ...]) -> str:
    """`python job.py`, `python -m pip`, `java Main`: what runs. Two scripts of one interpreter are two targets, each with its history."""
    program, *rest = command
    words = [program.rsplit("/", 1)[-1]]
    for before, word in pairwise([program, *rest]):
        if not word.startswith("-") and "=" not in word:
            # Code in the command line has no name of its own.
            words.append(sha256(word.encode()).hexdigest()[:8] if before in CODE_OPTIONS else word.rstrip("/").rsplit("/", 1)[-1])
            break
    return " ".join(words)


class InlineDatabase(Input):
    """A database given in the input, by the environment variable that holds its connection string. Refused unless the worker allows it."""

    dsn_env: EnvironmentVariable
    """Variable of the worker's environment: `SHOP_DB_DSN`."""
    kind: Literal["postgresql", "mysql"] = "postgresql"
    """What answers there."""

    @property
    def title(self) -> str:
        """`postgresql by SHOP_DB_DSN`."""
        return f"{self.kind} by {self.dsn_env}"

    @property
    def slug(self) -> str:
        """The name used in workflow ids: `dsn-SHOP_DB_DSN`."""
        return f"dsn-{self.dsn_env}"[:63]


TargetName = Name


class Target(Model):
    """A target as resolved from the registry, without secrets: what workflows and activities pass on."""

    name: str
    kind: TargetKind
    environment: str
    host: str = LOCAL_HOST
    process: ProcessSelector | None = None
    url: str | None = None
    dsn_env: str | None = None
    """Name of the environment variable that holds the connection string; never the string itself."""
    repository: str | None = None
    database: str | None = None
    """Name of the target that is this one's database."""
    allow: tuple[Operation, ...] = ()
    inline: bool = False
    files_root: str | None = None
    """Folder below which its files may be edited."""
    reload_command: tuple[str, ...] | None = None
    restart_command: tuple[str, ...] | None = None
    change_command: tuple[str, ...] | None = None
    change_environment_names: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        return self.name

    @property
    def resources(self) -> tuple[str, ...]:
        """What a measurement disturbs, sorted: the target and its host; leases are taken in this order."""
        own = {f"host/{self.host}", f"target/{self.name}"}
        if self.database:
            own.add(f"target/{self.database}")
        return tuple(sorted(own))
