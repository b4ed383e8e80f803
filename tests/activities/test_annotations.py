"""Marks on dashboards, at a real HTTP server on loopback; what cannot be marked is told and stops nothing."""

from pathlib import Path

import pytest
from temporalio.testing import ActivityEnvironment

from activities.annotations import Annotations
from activities.registry_file import RegistryFile
from perfwright.models.delivery import AnnotationOrder
from tests.grafana import Grafana, grafana

__all__ = ["grafana"]

TOKEN = "glsa_s3cr3t-t0ken"
ORDER = AnnotationOrder(target="shop", change_id="run/1", word="applied", title='a "better" index', workflow_id="trial/7")


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
