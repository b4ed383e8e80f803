"""A Grafana on loopback, as far as marks need one."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest


class Grafana:
    """Takes annotations, or answers with another status."""

    def __init__(self) -> None:
        self.received: list[tuple[str, dict[str, str], Any]] = []
        self.status = 200
        grafana = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                grafana.received.append((self.path, dict(self.headers), body))
                self.send_response(grafana.status)
                if grafana.status == 302:
                    self.send_header("Location", f"{grafana.url}/elsewhere")
                self.end_headers()
                self.wfile.write(b'{"id": 1}')

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    started = Grafana()
    yield started
    started.server.shutdown()
    started.server.server_close()
