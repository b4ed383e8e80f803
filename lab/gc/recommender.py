"""Recommends articles to visitors over HTTP: `python -m lab.gc.recommender PORT`. Standard library alone.

`GET /visit/N` answers what visitor N may like; `GET /ready` once all articles are loaded.
"""

import gc
import json
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from lab import problems

ARTICLES = 60_000
WORDS = ("cotton", "linen", "wool", "silk", "oak", "steel", "brass", "glass", "clay", "cork", "felt", "slate")
RELATED = 6
PLACES = 480
SHOWN = 5
VISITS_KEPT = 60
"""Latest visits, for what others looked at."""


class Article:
    """With everything that is known of it."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.words = [WORDS[(number * step) % len(WORDS)] for step in (1, 5, 7)]
        self.prices = {"net": (number * 7_919) % 20_000, "gross": (number * 7_919) % 20_000 * 119 // 100}
        self.related = [(number + step * step * 37) % ARTICLES for step in range(1, RELATED + 1)]


def keep_as_objects(kept: deque[object], articles: Iterable[Article]) -> list[str]:
    """Every place of a visit is an object, and lives as long as the visit is kept."""
    places = [{"words": [*one.words], "number": one.number, "price": one.prices["gross"]} for one in articles]
    kept.append(places)  # planted: recommender-visits
    dearest = sorted(places, key=lambda place: (place["price"], place["number"]), reverse=True)[:SHOWN]
    return [f"{place['price']:05} {place['number']:05} {' '.join(place['words'])}" for place in dearest]  # type: ignore[arg-type]


def keep_as_text(kept: deque[object], articles: Iterable[Article]) -> list[str]:
    """A place is a line of text, which no collector has to look at."""
    places = [f"{one.prices['gross']:05} {one.number:05} {' '.join(one.words)}" for one in articles]
    kept.append("\n".join(places))
    return sorted(places, reverse=True)[:SHOWN]


class Recommender:
    """Knows all articles, and keeps the latest visits."""

    def __init__(self) -> None:
        self._articles = [Article(number) for number in range(ARTICLES)]
        gc.collect()  # what the start left behind is not left to the first visitors
        self._visits: deque[object] = deque(maxlen=VISITS_KEPT)
        self._keep = problems.version("recommender-visits", planted=keep_as_objects, sound=keep_as_text)

    def visit(self, visitor: int) -> dict[str, object]:
        return {"visitor": visitor, "articles": self._keep(self._visits, self._near(visitor * 97))}

    def _near(self, start: int) -> Iterator[Article]:
        for step in range(PLACES // RELATED):
            for number in self._articles[(start + step) % ARTICLES].related:
                yield self._articles[number]


class Handler(BaseHTTPRequestHandler):
    """Answers with JSON, on connections that stay open."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # head and body in one packet
    recommender: Recommender

    def do_GET(self) -> None:
        body = b"{}"
        if self.path.startswith("/visit/"):
            body = json.dumps(self.recommender.visit(int(self.path.rpartition("/")[2]))).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *arguments: object) -> None:
        """Silent."""


def main() -> None:
    Handler.recommender = Recommender()
    ThreadingHTTPServer.daemon_threads = True
    with ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Handler) as server:
        print("ready", flush=True)
        server.serve_forever()


if __name__ == "__main__":
    main()
