"""The connection that times a service, against servers that answer in every way HTTP/1 allows."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from activities.http_requests import Connection, NoAnswer

Replies = Callable[[int], bytes]


@asynccontextmanager
async def serving(reply: Replies, *, close_after: int = 0) -> AsyncIterator[tuple[int, list[int]]]:
    """Answers the n-th request of a connection with `reply(n)`; port, and requests by connection."""
    counts: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        place = len(counts)
        counts.append(0)
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(reply(counts[place]))
                await writer.drain()
                counts[place] += 1
                if counts[place] == close_after:
                    break
        except (EOFError, OSError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1], counts


@pytest.mark.parametrize(
    "reply",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\ncontent-length:0\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n6;x=1\r\n world\r\n0\r\nT: 1\r\n\r\n",
    ],
)
async def test_a_connection_is_kept(reply: bytes) -> None:
    """Ten answers of a known length come over one connection."""
    async with serving(lambda _: reply) as (port, counts):
        connection = Connection(port, limit_s=20)
        answers = [await connection.get("/") for _ in range(10)]
        connection.close()
        assert {answer.status for answer in answers} <= {200, 204} and all(answer.seconds > 0 for answer in answers)
        assert counts == [10]


@pytest.mark.parametrize("head", [b"HTTP/1.0 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"])
async def test_the_end_of_a_connection_is_the_end_of_an_answer(head: bytes) -> None:
    """Without a length; the next request opens another one."""
    async with serving(lambda _: head + b"hello", close_after=1) as (port, counts):
        connection = Connection(port, limit_s=20)
        assert [(await connection.get("/")).status for _ in range(3)] == [200] * 3
        assert counts == [1, 1, 1]


async def test_a_kept_connection_that_was_closed_is_opened_again() -> None:
    """A server that closes after each second answer costs no request."""
    async with serving(lambda _: b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", close_after=2) as (port, counts):
        connection = Connection(port, limit_s=20)
        assert [(await connection.get("/")).status for _ in range(6)] == [200] * 6
        connection.close()
        assert sum(counts) == 6


@pytest.mark.parametrize(
    "reply",
    [b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"],
)
async def test_what_is_no_answer_is_told(reply: bytes) -> None:
    """Another protocol, an absurd length, an answer that breaks off."""
    async with serving(lambda _: reply, close_after=1) as (port, _):
        with pytest.raises(NoAnswer):
            await Connection(port, limit_s=20).get("/")


async def test_nobody_there_is_told() -> None:
    """A port that nobody listens on."""
    async with serving(lambda _: b"") as (port, _):
        pass
    with pytest.raises(NoAnswer):
        await Connection(port, limit_s=20).get("/")
