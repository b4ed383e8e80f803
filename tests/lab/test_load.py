import asyncio
import itertools
import subprocess
import sys
from collections import Counter

import pytest

from lab.load import NotLoopback, loopback, make_load
from lab.mix import DECK, Request, requests
from lab.starting import ROOT

SKUS = [f"GAR-{number:05d}" for number in range(200)]


@pytest.mark.parametrize("url", ["http://192.0.2.1:80", "http://0.0.0.0:8700", "http://[2001:db8::1]:80", "http://10.0.0.1"])
def test_only_loopback_is_loaded(url: str) -> None:
    """Load for any other address is refused before anything is sent."""
    with pytest.raises(NotLoopback, match="only loopback addresses"):
        loopback(url)


@pytest.mark.parametrize("url", ["https://127.0.0.1:80", "127.0.0.1:80", "http://127.0.0.1:80/shop", ""])
def test_other_urls_are_refused(url: str) -> None:
    """What is not the plain address of a server is refused."""
    with pytest.raises(NotLoopback, match="not of the form"):
        loopback(url)


def test_loopback_is_accepted() -> None:
    """Every way to say this machine is fine."""
    assert loopback("http://127.0.0.1:8700").port == 8700
    assert loopback("http://127.3.2.1:1/").ip == "127.3.2.1"
    assert loopback("http://[::1]:80").ip == "::1"
    assert loopback("http://localhost:80").ip in ("127.0.0.1", "::1")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--rate", "1000000"),
        ("--rate", "0"),
        ("--duration", "-1"),
        ("--duration", "nan"),
        ("--concurrency", "100000"),
        ("--url", "http://192.0.2.1"),
    ],
)
def test_absurd_numbers_are_refused(option: str, value: str) -> None:
    """The program refuses loads without bounds and says what is allowed."""
    command = [sys.executable, "-m", "lab.load", "--url", "http://127.0.0.1:1", option, value]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30)
    assert done.returncode == 2
    assert option in done.stderr


def test_the_mix_is_the_same_for_a_seed() -> None:
    """The same seed asks the same; each 40 requests hold each kind as often as the deck says."""
    first, again, other = (list(itertools.islice(requests(SKUS, ["garden"], seed), 80)) for seed in (1, 1, 2))
    assert first == again != other
    assert Counter(request.kind for request in first[40:]) == DECK


async def test_the_rate_is_kept_and_errors_are_counted() -> None:
    """Requests go out at the rate, refusals and broken connections are counted, nothing is retried."""
    seen = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while head := await reader.readline():
            seen.append(head)
            while (await reader.readline()).strip():
                pass
            path = head.split()[1]
            if path == b"/broken":
                break
            status = b"200 OK" if path == b"/ok" else b"500 Oh"
            writer.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n\r\nhi")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    address = loopback(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    series = itertools.cycle(
        [Request("a", "GET", "/ok"), Request("b", "GET", "/no"), Request("c", "GET", "/broken"), Request("d", "GET", "/ok")]
    )
    summary = await make_load(address, series, rate_per_s=200, duration_s=0.2, most_requests=1_000, concurrency=4)
    server.close()
    assert summary["sent"] == len(seen) == 40
    assert summary["ok"] == 20
    assert summary["errors"] == 20
    assert summary["error_kinds"] == {"b: 500": 10, "IncompleteReadError": 10}
    assert summary["dropped"] == 0
    assert summary["duration_s"] >= 0.19
    assert summary["p50_ms"] <= summary["p99_ms"]


async def test_requests_are_bounded_and_a_stuck_shop_is_not_flooded() -> None:
    """A shop that never answers gets as many requests as there are connections; the rest is dropped and counted."""
    arrived = 0
    over = asyncio.Event()

    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal arrived
        arrived += 1
        await over.wait()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    address = loopback(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    load = asyncio.create_task(
        make_load(address, itertools.repeat(Request("a", "GET", "/")), rate_per_s=1_000, duration_s=60, most_requests=100, concurrency=3)
    )
    async with asyncio.timeout(20):
        while arrived < 3:
            await asyncio.sleep(0.01)
        done, _ = await asyncio.wait([load], timeout=0.5)
        assert not done
        over.set()
        summary = await load
    server.close()
    assert summary["sent"] + summary["dropped"] == 100
    assert summary["dropped"] == 100 - 3 - 12
    assert summary["ok"] == 0
