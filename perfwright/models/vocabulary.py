"""The two kinds of model everything is said in.

`Input` is what people write (workflow inputs, decisions, the registry): strict, frozen, unknown fields refused, no NaN or infinity.
`Model` is what activities record in workflow histories: frozen, but tolerant of fields it does not know, so that a worker of
the previous release can replay what a newer one wrote.

Both carry units in field names: `_s` seconds, `_ms` milliseconds, `_bytes`, `_hz` per second, `_share` a fraction of one.
"""

import ast
import inspect
import textwrap
from itertools import pairwise
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, GetJsonSchemaHandler, StringConstraints
from pydantic_core import CoreSchema


class _Described(BaseModel):
    """The text below a field is its description in the JSON Schema. Read when a schema is asked for: `use_attribute_docstrings` would
    read the source of every model at its import, a tenth of the time that a worker takes to start."""

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        schema = handler(core_schema)
        told = handler.resolve_ref_schema(schema).get("properties", {})
        for name, text in field_texts(cls).items():
            if name in told:
                told[name].setdefault("description", text)
        return schema


class Input(_Described):
    """Written by people: refused when anything is missing, extra, mistyped or absurd."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)


class Model(_Described):
    """Recorded by activities: new fields always have defaults, unknown ones are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


def field_texts(model: type[BaseModel]) -> dict[str, str]:
    """The text below each field of a model in its source; of an inherited field that of the class that has it."""
    texts: dict[str, str] = {}
    for owner in reversed(model.__mro__):
        if issubclass(owner, _Described) and owner is not _Described and "[" not in owner.__name__:
            body = ast.parse(textwrap.dedent(inspect.getsource(owner))).body[0]
            assert isinstance(body, ast.ClassDef), "the source of a class is a class"
            for field, below in pairwise(body.body):
                match field, below:
                    case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                        texts[name] = inspect.cleandoc(text)
                    case ast.AnnAssign(target=ast.Name(id=name)), _:
                        texts.pop(name, None)
    return texts


Share = Annotated[float, Field(ge=0.0, le=1.0)]
"""A fraction of one."""

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$"
NAME_IN_WORDS = "letters, digits, dots, dashes and underscores, beginning with a letter or digit, at most 63"
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]
"""Names of targets, hosts and environments: letters, digits, dot, dash and underscore, at most 63 characters."""

ShortText = Annotated[str, StringConstraints(max_length=2_000)]
"""What a person types: bounded, because it is kept in histories and shown in details."""
