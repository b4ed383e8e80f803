"""Marks on Grafana's dashboards: when a change was applied, and when it was undone.

`POST /api/annotations` with a token (Grafana documentation, HTTP API, Annotations). What cannot be marked is told and stops nothing.
"""

import asyncio
import json
import urllib.error
import urllib.request
from collections.abc import Mapping
from datetime import UTC, datetime

from temporalio import activity

from activities.registry_file import RegistryFile
from perfwright.models.delivery import AnnotationOrder
from perfwright.models.registry import RegistryInvalid
from perfwright.models.secrets import without_secrets

LIMIT_S = 5.0


class Annotations:
    """Speaks to the Grafana that the registry names."""

    def __init__(self, registry_file: RegistryFile, environ: Mapping[str, str]) -> None:
        self._registry_file, self._environ = registry_file, environ

    @activity.defn
    async def annotate_change(self, order: AnnotationOrder) -> str:
        """Why there is no mark; empty where there is one, or where no Grafana is named."""
        try:
            grafana = (await asyncio.to_thread(self._registry_file.read)).grafana
        except RegistryInvalid as invalid:
            return without_secrets(str(invalid))[:300]
        if grafana.url is None:
            return ""
        headers = {"Content-Type": "application/json", "User-Agent": "perfwright"}
        if grafana.token_env:
            if not (token := self._environ.get(grafana.token_env, "")):
                return f"{grafana.token_env} is not set for this worker"
            headers["Authorization"] = f"Bearer {token}"
        body = {
            "time": round(datetime.now(UTC).timestamp() * 1_000),
            "tags": ["perfwright", order.word, order.target],
            "text": f"{order.title[:300]} was {order.word} on {order.target} ({order.workflow_id}, {order.change_id})",
        }
        request = urllib.request.Request(  # noqa: S310  # the registry takes http and https only
            f"{grafana.url.rstrip('/')}/api/annotations", json.dumps(body).encode(), headers, method="POST"
        )
        return await asyncio.to_thread(_sent, request)


def _sent(request: urllib.request.Request) -> str:
    try:
        with _NO_REDIRECTS.open(request, timeout=LIMIT_S) as answer:
            answer.read(4_096)
    except urllib.error.HTTPError as refused:
        return f"Grafana answered {refused.code} {refused.reason}"[:300]
    except (OSError, ValueError) as trouble:
        return without_secrets(f"Grafana does not answer: {getattr(trouble, 'reason', trouble)}")[:300]
    return ""


class _Stay(urllib.request.HTTPRedirectHandler):
    """A token is sent to nobody else."""

    def redirect_request(self, *_: object) -> None:
        return None


_NO_REDIRECTS = urllib.request.build_opener(_Stay)
