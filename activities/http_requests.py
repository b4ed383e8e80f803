"""One HTTP/1.1 connection that stays open and asks for one thing after the other: enough to time a service, and bounded.

A full client would bring redirects, cookies and pools of its own between the clock and the socket.
"""

import asyncio
import time
from dataclasses import dataclass

LARGEST_HEAD_BYTES = 64 * 1024
LARGEST_BODY_BYTES = 64 << 20
PIECE_BYTES = 256 * 1024


@dataclass(frozen=True)
class Answer:
    """Status and time from the first byte sent to the last one received."""

    status: int
    seconds: float


class NoAnswer(Exception):
    """The connection broke, timed out, or what came was no HTTP."""


class Connection:
    """To one port of this machine. Opened with the first request, and again after it was closed."""

    def __init__(self, port: int, *, limit_s: float) -> None:
        self._port, self._limit_s = port, limit_s
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> Answer:
        """Raises NoAnswer. A kept connection that the server has closed meanwhile is opened once more."""
        kept = self._streams is not None
        try:
            return await self._within_limit(path)
        except NoAnswer:
            if not kept:
                raise
            return await self._within_limit(path)

    def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            self._streams = None

    async def _within_limit(self, path: str) -> Answer:
        try:
            async with asyncio.timeout(self._limit_s):
                return await self._exchange(path)
        except (OSError, EOFError, ValueError, TimeoutError, asyncio.LimitOverrunError) as trouble:
            self.close()
            raise NoAnswer(f"{type(trouble).__name__}: {trouble}"[:200]) from None
        except BaseException:
            self.close()
            raise

    async def _exchange(self, path: str) -> Answer:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=LARGEST_HEAD_BYTES)
        reader, writer = self._streams
        began = time.perf_counter()
        writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\nAccept: */*\r\n\r\n".encode("ascii"))
        head = await reader.readuntil(b"\r\n\r\n")
        first, *lines = head.decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        if not version.startswith("HTTP/1."):
            raise ValueError("no HTTP/1")
        fields = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        ends = await _read_body(reader, int(status[:3]), fields)
        answer = Answer(int(status[:3]), time.perf_counter() - began)
        if ends or fields.get("connection", "").lower() == "close" or version == "HTTP/1.0":
            self.close()
        return answer


async def _read_body(reader: asyncio.StreamReader, status: int, fields: dict[str, str]) -> bool:
    """True where its end is the end of the connection."""
    if status in (204, 304) or 100 <= status < 200:
        return False
    if "chunked" in fields.get("transfer-encoding", "").lower():
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            await _skip(reader, size + 2)
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass
        return False
    if "content-length" in fields:
        await _skip(reader, int(fields["content-length"]))
        return False
    read = 0
    while piece := await reader.read(PIECE_BYTES):
        read += len(piece)
        if read > LARGEST_BODY_BYTES:
            raise ValueError("the answer is too large")
    return True


async def _skip(reader: asyncio.StreamReader, size: int) -> None:
    if not 0 <= size <= LARGEST_BODY_BYTES:
        raise ValueError("the answer is too large")
    while size:
        size -= len(await reader.readexactly(min(size, PIECE_BYTES)))
