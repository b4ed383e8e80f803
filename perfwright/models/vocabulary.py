"""The two kinds of model everything is said in.

`Input` is what people write (workflow inputs, decisions, the registry): strict, frozen, unknown fields refused, no NaN or infinity.
`Model` is what activities record in workflow histories: frozen, but tolerant of fields it does not know, so that a worker of
the previous release can replay what a newer one wrote.

Both carry units in field names: `_s` seconds, `_ms` milliseconds, `_bytes`, `_hz` per second, `_share` a fraction of one.
"""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints


class Input(BaseModel):
    """Written by people: refused when anything is missing, extra, mistyped or absurd."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Model(BaseModel):
    """Recorded by activities: new fields always have defaults, unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore", use_attribute_docstrings=True)


Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A fraction of one."""

Name = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$")]
"""Names of targets, hosts and environments: letters, digits, dot, dash and underscore, at most 63 characters."""

ShortText = Annotated[str, StringConstraints(max_length=2_000)]
"""What a person types: bounded, because it is kept in histories and shown in details."""
