"""The artifact store: profiles, series and reports, in a local folder or an object store.

Only an `ArtifactRef` crosses the workflow boundary. Every read checks the content against its hash.
"""

import hashlib
import os
import re
import secrets
import tempfile
from asyncio import to_thread
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, contextmanager
from datetime import timedelta
from pathlib import Path
from urllib.parse import unquote

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore, from_url

from activities.errors import refuse
from perfwright.models.artifact import ArtifactRef
from perfwright.models.errors import ErrorType
from perfwright.models.registry_checks import ARTIFACT_SCHEMES
from perfwright.models.secrets import without_secrets

LIMIT_BYTES = 256 * 1024 * 1024
CHUNK_BYTES = 1024 * 1024
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@=+-]{0,199}")
_MAX_PATH = 1_000
_FULL = "No space left on device"
_READ_ONLY = ("Read-only file system", "Permission denied")
_MISSING = ("NoSuchBucket", "404 Not Found", "ContainerNotFound")


class ArtifactStore:
    """Artifacts by path in one store.

    `url` is `file://./folder` (relative to `folder_of_relative`), `file:///folder`, or what obstore takes (`s3://bucket/prefix`, `gs://`,
    `az://`), with credentials from the environment. Writes are atomic: a reader sees all of an artifact or none of it.
    Errors: InvalidInput (path, URL), StoreUnavailable (retried), OutputTooLarge, ArtifactCorrupt.
    """

    def __init__(self, url: str, *, folder_of_relative: Path | None = None, limit_bytes: int = LIMIT_BYTES) -> None:
        self.shown_url = without_secrets(url)
        self._limit_bytes = limit_bytes
        self._folder: Path | None = None
        if url.partition("://")[0] not in ARTIFACT_SCHEMES:
            raise refuse(
                ErrorType.INVALID_INPUT,
                f"{self.shown_url} is no artifact store",
                way_out=f"store.artifacts begins with one of {', '.join(f'{scheme}://' for scheme in ARTIFACT_SCHEMES)}",
            )
        with self._told("open"):
            if url.startswith("file://"):
                self._folder = local_folder(url, folder_of_relative or Path.cwd())
                self._folder.mkdir(parents=True, exist_ok=True)
                self._store: obstore.store.ObjectStore = LocalStore(self._folder)
            else:
                # Bounded to seconds: Temporal retries the activity, and says so; obstore's own default is three minutes of silence.
                self._store = from_url(
                    url,
                    client_options={
                        "connect_timeout": timedelta(seconds=3),
                        "timeout": timedelta(seconds=60),
                        "allow_http": _plain_http(os.environ),
                    },
                    retry_config={"max_retries": 3, "retry_timeout": timedelta(seconds=8)},
                )

    async def check(self) -> None:
        """Write, and take away again, a small object: whether the store can be used is known before anything is measured."""
        path = f"check-{os.getpid()}-{secrets.token_hex(8)}"
        with self._told("write to"):
            await obstore.put_async(self._store, path, b"perfwright", use_multipart=False)
            await obstore.delete_async(self._store, path)

    async def put(self, path: str, data: bytes, media_type: str, title: str = "") -> ArtifactRef:
        """Store `data` at `path`; the same again changes nothing, other content replaces it."""
        _check_path(path)
        if len(data) > self._limit_bytes:
            raise self._too_large(path, len(data))
        with self._told(f"write {path} to"):
            await obstore.put_async(self._store, path, data, attributes=self._attributes(media_type))
        digest = await to_thread(lambda: hashlib.sha256(data).hexdigest())
        return ArtifactRef(uri=path, sha256=digest, size_bytes=len(data), media_type=media_type, title=title)

    async def put_file(self, path: str, file: Path, media_type: str, title: str = "") -> ArtifactRef:
        """Store the content of `file` at `path`, a chunk at a time."""
        _check_path(path)
        digest = hashlib.sha256()
        size = 0

        async def chunks() -> AsyncIterator[bytes]:
            nonlocal size
            with file.open("rb") as opened:
                while chunk := await to_thread(opened.read, CHUNK_BYTES):
                    size += len(chunk)
                    if size > self._limit_bytes:
                        # What obstore makes of an exception in its source is not ours to shape: stop, and refuse below.
                        return
                    digest.update(chunk)
                    yield chunk

        try:
            expected = (await to_thread(file.stat)).st_size
        except OSError as trouble:
            raise refuse(ErrorType.INVALID_INPUT, f"cannot read {file}: {trouble.strerror}") from None
        if expected > self._limit_bytes:
            raise self._too_large(path, expected)
        with self._told(f"write {path} to"):
            await obstore.put_async(self._store, path, chunks(), attributes=self._attributes(media_type), max_concurrency=4)
        if size > self._limit_bytes:
            with self._told(f"take {path} back from"):
                await obstore.delete_async(self._store, path)
            raise self._too_large(path, size)
        return ArtifactRef(uri=path, sha256=digest.hexdigest(), size_bytes=size, media_type=media_type, title=title)

    async def get(self, ref: ArtifactRef) -> bytes:
        """The content, checked against `ref.sha256`."""
        return b"".join([chunk async for chunk in self._checked(ref)])

    async def get_file(self, ref: ArtifactRef, file: Path) -> None:
        """Write the content to `file`, a chunk at a time; the file appears only when its hash was right."""
        try:
            with tempfile.TemporaryDirectory(prefix=".perfwright-", dir=file.parent) as folder:
                part = Path(folder) / "part"
                with part.open("xb") as opened:
                    async with aclosing(self._checked(ref)) as chunks:
                        async for chunk in chunks:
                            await to_thread(opened.write, chunk)
                await to_thread(part.replace, file)
        except OSError as trouble:
            raise refuse(ErrorType.STORE_UNAVAILABLE, f"cannot write {file}: {trouble.strerror}", way_out="Make room there") from None

    async def _checked(self, ref: ArtifactRef) -> AsyncGenerator[bytes, None]:
        _check_path(ref.uri)
        if ref.size_bytes > self._limit_bytes:
            raise self._too_large(ref.uri, ref.size_bytes)
        digest = hashlib.sha256()
        size = 0
        with self._told(f"read {ref.uri} from", missing=ref):
            found = await obstore.get_async(self._store, ref.uri)
            async for chunk in found.stream(min_chunk_size=CHUNK_BYTES):
                data = bytes(chunk)
                size += len(data)
                if size > ref.size_bytes:
                    break
                digest.update(data)
                yield data
        if size != ref.size_bytes or digest.hexdigest() != ref.sha256:
            raise refuse(
                ErrorType.ARTIFACT_CORRUPT,
                f"{ref.uri} in {self.shown_url} is not what was stored: {_difference(ref, size, digest.hexdigest())}",
                way_out="Somebody changed or cut it; run the process again",
            )

    def _attributes(self, media_type: str) -> dict[str, str] | None:
        # Local folders keep no attributes, and obstore refuses them there.
        return None if self._folder else {"Content-Type": media_type}

    def _too_large(self, path: str, size_bytes: int) -> Exception:
        return refuse(
            ErrorType.OUTPUT_TOO_LARGE,
            f"{path} has {size_bytes:,} bytes; at most {self._limit_bytes:,} are kept",
            way_out="Record for a shorter time or at a lower rate",
        )

    @contextmanager
    def _told(self, attempt: str, missing: ArtifactRef | None = None) -> Iterator[None]:
        """What the store raises, as one of our errors."""
        try:
            yield
        except FileNotFoundError as trouble:
            if missing and "NoSuchBucket" not in str(trouble) and (self._folder is None or self._folder.is_dir()):
                raise refuse(
                    ErrorType.ARTIFACT_CORRUPT,
                    f"{missing.uri} is not in {self.shown_url}",
                    way_out="It was deleted, or written to a store that this machine does not share",
                ) from None
            raise self._unavailable(attempt, trouble) from None
        except (BaseError, OSError, ValueError) as trouble:
            raise self._unavailable(attempt, trouble) from None

    def _unavailable(self, attempt: str, trouble: Exception) -> Exception:
        # After the first line comes obstore's debug text, with every header and configuration value in it.
        cause = without_secrets(str(trouble).strip().splitlines()[0] if str(trouble).strip() else type(trouble).__name__)[:500]
        told = str(trouble)
        if _FULL in told:
            way = "The disk is full: make room there, or name another store in store.artifacts"
        elif any(word in told for word in _READ_ONLY):
            way = "The worker may not write there: grant it, or name another store in store.artifacts"
        elif self._folder is None and (isinstance(trouble, FileNotFoundError) or any(word in told for word in _MISSING)):
            way = "The bucket is missing: create it, or correct store.artifacts"
        else:
            way = "Check store.artifacts, and the network and credentials of the worker"
        return refuse(ErrorType.STORE_UNAVAILABLE, f"cannot {attempt} the artifact store {self.shown_url}: {cause}", way_out=way)


def local_folder(url: str, folder_of_relative: Path) -> Path:
    """The folder that a `file://` URL means: `file:///x` and `file://localhost/x` are absolute, `file://./x` is relative."""
    path = unquote(url.removeprefix("file://")).removeprefix("localhost")
    return (folder_of_relative / Path(path or ".").expanduser()).absolute()


def _plain_http(environ: Mapping[str, str]) -> bool:
    """Whether the environment names an endpoint without TLS (a MinIO or Azurite of one's own).

    obstore forgets AWS_ALLOW_HTTP as soon as any client option is given.
    """
    asked = (environ.get("AWS_ALLOW_HTTP", ""), environ.get("AZURE_ALLOW_HTTP", ""))
    endpoints = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")
    return any(word.lower() in ("1", "true") for word in asked) or any(environ.get(name, "").startswith("http://") for name in endpoints)


def _check_path(path: str) -> None:
    segments = path.split("/")
    if len(path) > _MAX_PATH or not all(_SEGMENT.fullmatch(segment) for segment in segments):
        raise refuse(
            ErrorType.INVALID_INPUT,
            f"{path[:200]!r} is no artifact path",
            way_out="Allowed: names of letters, digits and ._@=+- separated by single slashes, none of them beginning with a dot",
        )


def _difference(ref: ArtifactRef, size: int, digest: str) -> str:
    if size != ref.size_bytes:
        return f"{'more than ' if size > ref.size_bytes else ''}{min(size, ref.size_bytes):,} bytes instead of {ref.size_bytes:,}"
    return f"sha256 {digest[:12]} instead of {ref.sha256[:12]}"
