"""How a target is exercised while it is measured."""

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.secrets import secret_argument
from perfwright.models.target import SECRETS_BY_ENVIRONMENT, Argument, EnvironmentVariable
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

    @model_validator(mode="after")
    def _no_secret(self) -> Self:
        if place := secret_argument(self.command):
            raise ValueError(f"command: {place} looks like a secret, and commands are recorded; {SECRETS_BY_ENVIRONMENT}")
        return self
