"""What the steps of a query analysis hand each other as artifacts: one gzipped JSON document per model.

`ObservedWindow`, `LogDigest`, `Catalog`, `StatementTable` and `PlanSet` are written and read here and nowhere else.
"""

import gzip
import io
import zlib
from typing import TypeVar

from pydantic import ValidationError

from perfwright.models.vocabulary import Model

MEDIA_TYPE = "application/vnd.perfwright.statements+json"
"""Of the artifact; it is gzipped, as profiles are."""
MAX_DECODED_BYTES = 256 * 1024 * 1024
"""The largest of them, a window of 5,000 statements with long texts, is about 60 MB of JSON; more than this is not one of ours."""

Stored = TypeVar("Stored", bound=Model)


class DocumentTooLarge(ValueError):
    """A document that would not fit into memory when decoded."""


def encode(model: Model) -> bytes:
    """The bytes of the artifact; equal models give equal bytes. Raises DocumentTooLarge, and ValueError for text that is not Unicode."""
    text = model.model_dump_json().encode()
    if len(text) > MAX_DECODED_BYTES:
        raise DocumentTooLarge(_told(type(model)))
    return gzip.compress(text, compresslevel=4, mtime=0)


def decode(model_type: type[Stored], data: bytes) -> Stored:
    """The model again. Raises ValueError for what `encode` did not write, DocumentTooLarge for what would not fit into memory."""
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(data)) as stream:
            text = stream.read(MAX_DECODED_BYTES + 1)
    except (OSError, EOFError, zlib.error) as trouble:
        raise ValueError(f"not a gzipped {model_type.__name__}: {trouble}") from trouble
    if len(text) > MAX_DECODED_BYTES:
        raise DocumentTooLarge(_told(model_type))
    try:
        return model_type.model_validate_json(text)
    except ValidationError as trouble:
        first = trouble.errors(include_input=False, include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"not a {model_type.__name__}: {f'{where}: ' if where else ''}{first['msg']}") from None


def _told(model_type: type[Model]) -> str:
    return f"a {model_type.__name__} of more than {MAX_DECODED_BYTES >> 20} MiB is not read"
