"""The artifact store on real folders, full and read-only disks, and an S3 endpoint that does not answer."""

import asyncio
import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore, local_folder
from activities.context import WorkerContext
from perfwright.models.artifact import ArtifactRef
from perfwright.models.registry import RegistryInvalid
from tests.disks import read_only_folder, tiny_disk

__all__ = ["read_only_folder", "tiny_disk"]

SECRET = "very-secret-word"


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    return ArtifactStore("file://./.perfwright/artifacts", folder_of_relative=tmp_path, limit_bytes=5_000_000)


@contextmanager
def refusal(error: str, *, retried: bool = False) -> Iterator[pytest.ExceptionInfo[ApplicationError]]:
    with pytest.raises(ApplicationError) as refused:
        yield refused
    assert (refused.value.type, refused.value.non_retryable) == (error, not retried)
    assert SECRET not in str(refused.value)


async def test_what_is_put_is_got(store: ArtifactStore, tmp_path: Path) -> None:
    """Content comes back as it was stored, found by a path inside a folder that was made for it."""
    ref = await store.put("cpu/web/1/stacks.json.gz", b"stacks", "application/gzip", "Stacks")
    assert ref == ArtifactRef(
        uri="cpu/web/1/stacks.json.gz",
        sha256=hashlib.sha256(b"stacks").hexdigest(),
        size_bytes=6,
        media_type="application/gzip",
        title="Stacks",
    )
    assert await store.get(ref) == b"stacks"
    assert (tmp_path / ".perfwright/artifacts/cpu/web/1/stacks.json.gz").read_bytes() == b"stacks"
    assert await store.get(await store.put("empty", b"", "text/plain")) == b""


async def test_putting_again_is_harmless(store: ArtifactStore) -> None:
    """A retried activity may put the same again, or other content in its place; a reference to what was there is then refused."""
    first = await store.put("a/b", b"one", "text/plain")
    assert await store.put("a/b", b"one", "text/plain") == first
    second = await store.put("a/b", b"two", "text/plain")
    assert await store.get(second) == b"two"
    with refusal("ArtifactCorrupt"):
        await store.get(first)


async def test_large_files_are_streamed(store: ArtifactStore, tmp_path: Path) -> None:
    """Files go in and come out a chunk at a time, and have the same reference as when put at once."""
    data = os.urandom(4_500_001)
    source, copy = tmp_path / "source", tmp_path / "copy"
    source.write_bytes(data)
    ref = await store.put_file("large/file", source, "application/octet-stream")
    assert ref == await store.put("large/file", data, "application/octet-stream")
    await store.get_file(ref, copy)
    assert copy.read_bytes() == data
    assert sorted(path.name for path in tmp_path.iterdir()) == [".perfwright", "copy", "source"]


async def test_too_large_is_refused(store: ArtifactStore, tmp_path: Path) -> None:
    """What is larger than the limit is refused before it is written."""
    (tmp_path / "large").write_bytes(b"x" * 5_000_001)
    with refusal("OutputTooLarge") as refused:
        await store.put("large", b"x" * 5_000_001, "text/plain")
    assert "5,000,001 bytes; at most 5,000,000" in refused.value.message
    with refusal("OutputTooLarge"):
        await store.put_file("large", tmp_path / "large", "text/plain")
    with refusal("OutputTooLarge"):
        await store.put_file("endless", Path("/dev/zero"), "text/plain")
    assert [path.name for path in (tmp_path / ".perfwright/artifacts").iterdir()] == []
    with refusal("OutputTooLarge"):
        await store.get(ArtifactRef(uri="x", sha256="0", size_bytes=5_000_001, media_type="text/plain"))


@pytest.mark.parametrize("content", [b"changed!", b"stack", b"stacks and more", b""])
async def test_changed_content_is_noticed(store: ArtifactStore, tmp_path: Path, content: bytes) -> None:
    """Content that somebody changed, cut or lengthened is refused, and leaves no file behind."""
    ref = await store.put("a", b"stacks" if len(content) != 8 else b"original", "text/plain")
    (tmp_path / ".perfwright/artifacts/a").write_bytes(content)
    with refusal("ArtifactCorrupt"):
        await store.get(ref)
    with refusal("ArtifactCorrupt"):
        await store.get_file(ref, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir()] == [".perfwright"]


async def test_a_missing_artifact_is_told(store: ArtifactStore) -> None:
    """An artifact that is not there is told at once, with what may have happened."""
    with refusal("ArtifactCorrupt") as refused:
        await store.get(ArtifactRef(uri="gone/file", sha256="0", size_bytes=1, media_type="text/plain"))
    assert "gone/file is not in file://./.perfwright/artifacts" in refused.value.message


@pytest.mark.parametrize(
    "path",
    ["../x", "a/../../x", "/etc/passwd", "a//b", "", ".", "a/.", "a/.hidden", "a\\b", "a\0b", "a/b\n", "é", "x" * 201, "a/" * 501 + "a"],
)
async def test_paths_stay_inside(store: ArtifactStore, tmp_path: Path, path: str) -> None:
    """No path leaves the store or means two things, neither to write nor to read."""
    with refusal("InvalidInput") as refused:
        await store.put(path, b"x", "text/plain")
    assert "Allowed: names of letters" in refused.value.message
    with refusal("InvalidInput"):
        await store.put_file(path, tmp_path, "text/plain")
    with refusal("InvalidInput"):
        await store.get(ArtifactRef(uri=path, sha256="0", size_bytes=1, media_type="text/plain"))


async def test_a_file_that_cannot_be_read_is_told(store: ArtifactStore, tmp_path: Path) -> None:
    """A file to store that does not exist is no trouble of the store."""
    with refusal("InvalidInput") as refused:
        await store.put_file("a", tmp_path / "nothing", "text/plain")
    assert "No such file" in refused.value.message


async def test_a_full_disk_is_told(tiny_disk: Path, tmp_path: Path) -> None:
    """A full disk is told as such and tried again, leaves no half of an artifact, and takes artifacts again when there is room."""
    store = ArtifactStore(f"file://{tiny_disk}/artifacts")
    kept = await store.put("kept", b"x" * 100_000, "text/plain")
    (tmp_path / "large").write_bytes(b"x" * 1_000_000)
    with refusal("StoreUnavailable", retried=True) as refused:
        await store.put("run/large", b"x" * 1_000_000, "text/plain")
    assert "disk is full" in refused.value.message and f"file://{tiny_disk}/artifacts" in refused.value.message
    with refusal("StoreUnavailable", retried=True):
        await store.put_file("run/large", tmp_path / "large", "text/plain")
    assert [path.name for path in tiny_disk.rglob("*") if path.is_file()] == ["kept"]
    assert len(await store.get(kept)) == 100_000
    await store.put("run/small", b"x", "text/plain")
    large = await ArtifactStore(f"file://{tmp_path}/artifacts").put("large", b"x" * 1_000_000, "text/plain")
    with refusal("StoreUnavailable", retried=True):
        await ArtifactStore(f"file://{tmp_path}/artifacts").get_file(large, tiny_disk / "copy")
    assert not (tiny_disk / "copy").exists()


async def test_a_read_only_folder_is_told(read_only_folder: Path) -> None:
    """A folder that cannot be written is told when the worker starts."""
    with refusal("StoreUnavailable", retried=True) as refused:
        await ArtifactStore(f"file://{read_only_folder}").check()
    assert "may not write there" in refused.value.message
    with refusal("StoreUnavailable", retried=True):
        ArtifactStore(f"file://{read_only_folder}/deeper")


async def test_checking_leaves_nothing(store: ArtifactStore, tmp_path: Path) -> None:
    """The check at start leaves no object behind."""
    await store.check()
    assert list((tmp_path / ".perfwright/artifacts").iterdir()) == []


@pytest.fixture
def s3_environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIAEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    return monkeypatch


async def test_an_endpoint_that_refuses_is_told(s3_environment: pytest.MonkeyPatch) -> None:
    """An object store that takes no connection is given up within seconds, and told with its URL and without credentials."""
    s3_environment.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = ArtifactStore("s3://bucket/prefix")
    async with asyncio.timeout(30):
        with refusal("StoreUnavailable", retried=True) as refused:
            await store.check()
    assert "s3://bucket/prefix" in refused.value.message and "HTTP error" in refused.value.message
    assert "network and credentials" in refused.value.message


@contextmanager
def an_endpoint(status: int, body: str) -> Iterator[str]:
    class Answer(BaseHTTPRequestHandler):
        def answer(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        do_GET = do_PUT = do_POST = answer

        def log_message(self, format: str, *args: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


@pytest.mark.parametrize(
    ("status", "code", "way_out"),
    [(404, "NoSuchBucket", "The bucket is missing"), (403, "AccessDenied", "credentials"), (503, "SlowDown", "Check store.artifacts")],
)
async def test_answers_of_an_endpoint_are_told(s3_environment: pytest.MonkeyPatch, status: int, code: str, way_out: str) -> None:
    """A missing bucket, denied access and an overloaded store each say what to do, in writing and in reading."""
    with an_endpoint(status, f"<Error><Code>{code}</Code></Error>") as endpoint:
        s3_environment.setenv("AWS_ENDPOINT_URL", endpoint)
        store = ArtifactStore("s3://bucket")
        for attempt in (store.check(), store.get(ArtifactRef(uri="a", sha256="0", size_bytes=1, media_type="text/plain"))):
            with refusal("StoreUnavailable", retried=True) as refused:
                await attempt
            assert way_out in refused.value.message


@pytest.mark.parametrize("url", ["ftp://h/d", "nonsense", "memory://", f"ftp://u:{SECRET}@h"])
def test_a_wrong_url_is_refused(url: str) -> None:
    """A URL that is no artifact store is refused with those that are."""
    with refusal("InvalidInput") as refused:
        ArtifactStore(url)
    assert "file://, s3://" in refused.value.message


def test_what_file_urls_mean(tmp_path: Path) -> None:
    """Relative folders start at the registry's, absolute ones stay, and escapes are understood."""
    assert local_folder("file://./x/y", tmp_path) == tmp_path / "x/y"
    assert local_folder("file:///x%20y", tmp_path) == Path("/x y")
    assert local_folder("file://localhost/x", tmp_path) == Path("/x")


async def test_a_killed_writer_leaves_no_half(tmp_path: Path) -> None:
    """A worker that is killed while it writes leaves either the whole artifact or none."""
    program = """
import asyncio, sys
from activities.artifacts import ArtifactStore
async def main():
    store = ArtifactStore(sys.argv[1])
    await store.put("first", b"y" * 50_000_000, "text/plain")
    print("ready", flush=True)
    while True:
        await store.put("large", b"x" * 50_000_000, "text/plain")
asyncio.run(main())
"""
    with subprocess.Popen([sys.executable, "-c", program, f"file://{tmp_path}/store"], stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None and writer.stdout.readline() == b"ready\n"
        deadline = asyncio.get_running_loop().time() + 20
        while not any(path.name.startswith("large") for path in (tmp_path / "store").iterdir()):
            assert asyncio.get_running_loop().time() < deadline
            await asyncio.sleep(0)
        writer.kill()
    sizes = {path.name: path.stat().st_size for path in (tmp_path / "store").iterdir()}
    assert sizes["first"] == 50_000_000
    assert sizes.get("large", 50_000_000) == 50_000_000


async def test_a_worker_opens_what_its_registry_names(tmp_path: Path) -> None:
    """A worker's stores stand beside its registry by default, wherever it is started."""
    (tmp_path / "perfwright.toml").write_text("[worker]\nallow_inline_targets = true\n")
    context = await WorkerContext.open(tmp_path / "perfwright.toml", "db1", environ={})
    try:
        assert (context.host, context.allow_inline_targets, context.state_folder) == ("db1", True, tmp_path / ".perfwright")
        await context.artifacts.put("a", b"x", "text/plain")
        assert sorted(path.name for path in context.state_folder.iterdir() if "-" not in path.name) == ["artifacts", "history.db"]
    finally:
        await context.close()


async def test_a_worker_without_its_history_variable_does_not_start(tmp_path: Path) -> None:
    """A history URL that the environment should hold is asked for by name, and held to the same rules."""
    file = tmp_path / "perfwright.toml"
    file.write_text('[store]\nartifacts = "s3://b/p"\nhistory_env = "HISTORY"\n[hosts.a]\n[hosts.b]\n')
    with pytest.raises(RegistryInvalid, match="environment variable HISTORY is not set"):
        await WorkerContext.open(file, environ={})
    with pytest.raises(RegistryInvalid, match="more than one host"):
        await WorkerContext.open(file, environ={"HISTORY": "sqlite+aiosqlite:///x.db"})


async def test_a_worker_where_nothing_can_be_written_says_so(read_only_folder: Path) -> None:
    """A worker that cannot make its folder names it when it starts."""
    with refusal("StoreUnavailable", retried=True) as refused:
        await WorkerContext.open(environ={}, working_directory=read_only_folder, allow_inline_targets=True)
    assert str(read_only_folder / ".perfwright") in refused.value.message
