"""Marks on dashboards, at a real HTTP server on loopback; what cannot be marked is told and stops nothing."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from temporalio.testing import ActivityEnvironment

from activities.annotations import Annotations
from activities.registry_file import RegistryFile
from perfwright.models.delivery import AnnotationOrder

TOKEN = "glsa_s3cr3t-t0ken"
ORDER = AnnotationOrder(target="shop", change_id="run/1", word="applied", title='a "better" index', workflow_id="trial/7")


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
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.fixture
def grafana() -> Iterator[Grafana]:
    started = Grafana()
    yield started
    started.server.shutdown()
    started.server.server_close()


async def marked(folder: Path, registry: str, environ: dict[str, str] | None = None) -> str:
    (folder / "perfwright.toml").write_text(registry)
    file = RegistryFile(folder / "perfwright.toml", environ=environ or {}, working_directory=folder)
    return await ActivityEnvironment().run(Annotations(file, environ or {}).annotate_change, ORDER)


async def test_a_mark_says_what_happened_where(grafana: Grafana, tmp_path: Path) -> None:
    """Time, tags and text, with the token of the worker's environment."""
    registry = f'[grafana]\nurl = "{grafana.url}/"\ntoken_env = "GRAFANA_TOKEN"\n'
    assert await marked(tmp_path, registry, {"GRAFANA_TOKEN": TOKEN}) == ""
    [(path, headers, body)] = grafana.received
    assert path == "/api/annotations" and headers["Authorization"] == f"Bearer {TOKEN}"
    assert body["tags"] == ["perfwright", "applied", "shop"] and body["time"] > 1_000_000_000_000
    assert body["text"] == 'a "better" index was applied on shop (trial/7, run/1)'


async def test_nothing_is_sent_where_none_is_named(grafana: Grafana, tmp_path: Path) -> None:
    """No Grafana in the registry: no mark, and nothing to tell."""
    assert await marked(tmp_path, "") == "" and not grafana.received


@pytest.mark.parametrize(("status", "told"), [(401, "401"), (500, "500"), (302, "302")])
async def test_what_it_answers_is_told(grafana: Grafana, tmp_path: Path, status: int, told: str) -> None:
    """Refused, broken, or sent elsewhere, where the token is not sent after it."""
    grafana.status = status
    note = await marked(tmp_path, f'[grafana]\nurl = "{grafana.url}"\ntoken_env = "GRAFANA_TOKEN"\n', {"GRAFANA_TOKEN": TOKEN})
    assert told in note and TOKEN not in note and len(grafana.received) == 1


async def test_what_is_missing_is_told(grafana: Grafana, tmp_path: Path) -> None:
    """A token that is not set, a server that is not there, a registry that cannot be read."""
    registry = f'[grafana]\nurl = "{grafana.url}"\ntoken_env = "GRAFANA_TOKEN"\n'
    assert "GRAFANA_TOKEN is not set" in await marked(tmp_path, registry)
    assert "does not answer" in await marked(tmp_path, '[grafana]\nurl = "http://127.0.0.1:9"\n')
    assert "password" not in await marked(tmp_path, '[grafana]\nurl = "https://me:password@grafana"\n')
    assert not grafana.received
