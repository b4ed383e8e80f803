"""Where a launch says how many workers a program has, as people name it."""

from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.target import EnvironmentVariable
from perfwright.models.vocabulary import Input


class WorkerCount(Input):
    """Where the program's launch says how many workers, processes or threads it has: by a flag or by a variable."""

    flag: Annotated[str, StringConstraints(pattern=r"^--?[A-Za-z][A-Za-z0-9-]{0,63}$")] | None = None
    """`--workers`: the number stands behind it, as a word of its own or after `=`."""
    variable: EnvironmentVariable | None = None
    """`WEB_CONCURRENCY`."""
    now: Annotated[int, Field(ge=1, le=1_024)] = 1
    """How many it has as it is launched now."""
    most: Annotated[int, Field(ge=2, le=1_024)]
    """How many may be tried."""
    memory_mb: Annotated[float, Field(ge=1.0, le=10_000_000.0)] = 2_048.0
    """What all of them together may take, reckoned from what the program takes now."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if (self.flag is None) == (self.variable is None):
            raise ValueError("exactly one of flag or variable is allowed")
        if self.most <= self.now:
            raise ValueError("most has to be more than now")
        return self
