"""Whether targets answer, seen from this machine: a connection is opened and closed again, a process is looked up; nothing is sent."""

import asyncio
import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from temporalio.exceptions import ApplicationError

from activities.finding_processes import describe, find_process
from perfwright.models.registry import Registry
from perfwright.models.target import LOCAL_HOST, ProcessSelector, Target

CONNECT_S = 3.0
AT_ONCE = 32
DEFAULT_PORTS = {
    "http": 80,
    "https": 443,
    "redis": 6379,
    "rediss": 6379,
    "valkey": 6379,
    "memcached": 11211,
    "postgresql": 5432,
    "mysql": 3306,
}


@dataclass(frozen=True)
class Reached:
    """A target, and what became of the attempt."""

    target: Target
    answers: bool | None
    """None: it cannot be told from here."""
    told: str


async def reach_targets(registry: Registry, environ: Mapping[str, str] = os.environ) -> list[Reached]:
    """Every target of the registry, in its order."""
    turns = asyncio.Semaphore(AT_ONCE)

    async def one(name: str) -> Reached:
        target = registry.target(name)
        assert target is not None
        async with turns:
            return await reach(target, environ)

    return list(await asyncio.gather(*(one(name) for name in registry.targets)))


async def reach(target: Target, environ: Mapping[str, str] = os.environ) -> Reached:
    """Its network address first, then its process: what a measurement needs of it."""
    if target.host != LOCAL_HOST:
        return Reached(target, None, f"on host {target.host}: not seen from here")
    seen = [await _network(target, environ), await asyncio.to_thread(_process, target.process), _files(target)]
    for answers, told in seen:
        if answers is False:
            return Reached(target, False, told)
    found = next((told for _, told in seen if told), "")
    return Reached(target, True if any(answers for answers, _ in seen) else None, found)


async def _network(target: Target, environ: Mapping[str, str]) -> tuple[bool | None, str]:
    url = target.url if target.url and not target.url.startswith("file:") else ""
    if target.dsn_env:
        url = environ.get(target.dsn_env, "")
        if not url:
            return None, f"the environment variable {target.dsn_env} is not set here; the worker uses its own"
    if not url:
        return None, ""
    parts = urlsplit(url)
    scheme = parts.scheme.partition("+")[0].replace("postgres", "postgresql").replace("postgresqlql", "postgresql")
    try:
        port = parts.port or DEFAULT_PORTS.get(scheme)
    except ValueError:
        return False, "its URL has no valid port"
    if not parts.hostname or port is None:
        return None, ""
    try:
        async with asyncio.timeout(CONNECT_S):
            _, writer = await asyncio.open_connection(parts.hostname, port, ssl=ssl.create_default_context() if scheme == "https" else None)
        writer.close()
    except TimeoutError:
        return False, f"{parts.hostname}:{port}: no answer within {CONNECT_S:g} s"
    except ssl.SSLError as trouble:
        return False, f"{parts.hostname}:{port}: {trouble.reason or 'TLS failed'}"
    except OSError as trouble:
        return (
            False,
            f"{parts.hostname}:{port}: {(os.strerror(trouble.errno) if trouble.errno and trouble.errno > 0 else str(trouble)).lower()}",
        )
    return True, ""


def _process(selector: ProcessSelector | None) -> tuple[bool | None, str]:
    if selector is None:
        return None, ""
    if selector.command is not None:
        return None, "started for each recording"
    try:
        found = describe(find_process(selector))
    except ApplicationError as refused:
        return False, refused.message
    return True, f"pid {found.pid} {found.program}, {found.runtime_version or found.runtime}, {found.state}"


def _files(target: Target) -> tuple[bool | None, str]:
    if target.kind == "filesystem" and target.url:
        folder = Path(unquote(target.url.removeprefix("file://")))
        return (True, "") if folder.is_dir() else (False, f"{folder} is no folder")
    if target.kind == "repository" and target.repository and "://" not in target.repository:
        return (True, "") if Path(target.repository).expanduser().is_dir() else (False, f"{target.repository} is no folder")
    return None, ""
