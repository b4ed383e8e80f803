"""A command that runs beside a measurement: the launched target, or a workload that loads it."""

from perfwright.models.target import Argument, EnvironmentVariable
from perfwright.models.vocabulary import Model


class CommandRun(Model):
    """What to run, and under which key the other steps of the recording find it."""

    key: str
    """Folder of the recording, unique per recording and role."""
    title: str
    command: tuple[Argument, ...]
    working_directory: str | None = None
    environment_names: tuple[EnvironmentVariable, ...] = ()
    limit_s: float
    """It is stopped after this long, whatever happens."""
    target: str = ""
    """Whose own command it is: flags and environment that a change gives it are added. Empty: a workload."""
    profiling_flags: bool = False
    """Whether runtime flags that make profiles exact are added by environment (JAVA_TOOL_OPTIONS, ...)."""

    @property
    def program(self) -> str:
        """`python3`, for what people read; arguments may be long, and are in the request."""
        return self.command[0].rpartition("/")[2][:100]


class CommandEnd(Model):
    """How it ended."""

    pid: int
    returncode: int | None
    stopped_by_us: bool
    seconds: float
    output_tail: str = ""
    left_over: int = 0
    """Processes that it left behind when it ended by itself; they were ended with it."""


class RunningCommand(Model):
    """Where the running command is found."""

    pid: int
    create_time_s: float
