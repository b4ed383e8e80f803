"""How a target is exercised while it is measured."""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from perfwright.models.target import Argument, EnvironmentVariable
from perfwright.models.vocabulary import Input


class Workload(Input):
    """A command that loads the target for the time of a measurement: a load maker, a replay, a batch run."""

    kind: Literal["command"] = "command"
    command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=256)]
    """Program and arguments (no shell); started before the recording and stopped after it."""
    working_directory: Annotated[str, StringConstraints(min_length=1, max_length=4_096)] | None = None
    """Where it runs; the worker's directory when not given."""
    environment_names: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = ()
    """Variables of the worker's environment that it inherits, by name."""
    warm_up_s: Annotated[float, Field(ge=0, le=3_600)] = 0.0
    """Seconds to let it run before the recording begins."""
