"""What in a registry refers to something else, or contradicts it.

The checks read the raw TOML table and tolerate any shape, so that they speak together with the checks of single fields.
"""

import difflib
from collections.abc import Iterable, Iterator
from typing import Any

from perfwright.models.secrets import holds_secret, secret_argument
from perfwright.models.target import INLINE_ENVIRONMENT, LOCAL_HOST
from perfwright.models.toml_lines import KeyPath

PRODUCTION = "production"
KNOWN_ENVIRONMENTS = ("lab", "staging", PRODUCTION)
"""Environments that may be named without a table of their own; every gate of theirs asks."""
DEFAULT_ARTIFACTS = "file://./.perfwright/artifacts"
DEFAULT_HISTORY = "sqlite+aiosqlite:///.perfwright/history.db"

ARTIFACT_SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss", "https")
HISTORY_SCHEMES = ("sqlite+aiosqlite", "postgresql+asyncpg")
NEEDED = {"process": ("process",), "http": ("url",), "postgresql": ("dsn_env",), "mysql": ("dsn_env",), "cache": ("url", "dsn_env")} | {
    "repository": ("repository",),
    "filesystem": ("url",),
}
"""Kind of target -> keys of which one at least is needed."""
URL_SCHEMES = {"http": ("http", "https"), "cache": ("redis", "rediss", "memcached", "valkey"), "filesystem": ("file",)}
SELECTORS = ("pid", "port", "name", "pid_file", "command")

Problem = tuple[KeyPath, str]


def contradictions(raw: dict[str, Any]) -> Iterator[Problem]:
    """Every mistake that no single field can see, as (key path, message)."""
    targets, environments, hosts = (_tables(raw, section) for section in ("targets", "environments", "hosts"))
    yield from _store(_table(raw, "store"), _names_of_hosts(targets, hosts))
    for name, environment in environments.items():
        yield from _environment(name, environment)
    link = _table(raw, "notify").get("link")
    if isinstance(link, str) and holds_secret(link):
        yield ("notify", "link"), "a password or token is written in the file; leave it out of the link"
    for name, target in targets.items():
        path: KeyPath = ("targets", name)
        yield from _references(path, target, targets, environments, hosts)
        yield from _completeness(path, target)
        yield from _secrets(path, target)
        yield from _twice(path, target, "allow")
        yield from _selector((*path, "process"), target.get("process"))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; nearest: shop, shop-db`, or nothing when none is near."""
    near = difflib.get_close_matches(name, list(known), n=3, cutoff=0.6)
    return f"; nearest: {', '.join(near)}" if near else ""


def shared_store_trouble(artifacts: str, history: str, hosts: Iterable[str]) -> Iterator[Problem]:
    """What keeps several hosts from sharing these stores."""
    names = ", ".join(sorted(hosts))
    reason = f"the registry names more than one host ({names}), and every host's worker must reach the same store"
    if artifacts.startswith("file:"):
        yield ("store", "artifacts"), f"file:// is one machine's folder, but {reason}: use s3://, gs:// or az://"
    if history.startswith("sqlite"):
        yield ("store", "history"), f"SQLite is one machine's file, but {reason}: use postgresql+asyncpg://"


def _store(store: dict[str, Any], hosts: set[str]) -> Iterator[Problem]:
    artifacts, history = _text(store, "artifacts", DEFAULT_ARTIFACTS), _text(store, "history", DEFAULT_HISTORY)
    for key, url, schemes in (("artifacts", artifacts, ARTIFACT_SCHEMES), ("history", history, HISTORY_SCHEMES)):
        scheme, separator, _ = url.partition("://")
        if separator and scheme not in schemes:
            yield ("store", key), f"Input should be a URL that begins with one of {', '.join(f'{s}://' for s in schemes)} (got {scheme}://)"
    if history.startswith("sqlite") and not history.partition("://")[2].strip("/"):
        yield ("store", "history"), "a file is needed after sqlite+aiosqlite:///; a history in memory would be lost with its worker"
    if holds_secret(artifacts):
        yield ("store", "artifacts"), "a credential is written in the file; leave it to the environment (AWS_..., GOOGLE_..., AZURE_...)"
    if holds_secret(history):
        yield ("store", "history"), "a password is written in the file; put the URL into an environment variable and name it: history_env"
    if "history" in store and "history_env" in store:
        yield ("store", "history_env"), "either history or history_env is allowed, not both"
    if len(hosts) > 1:
        yield from shared_store_trouble(artifacts, "" if "history_env" in store else history, hosts)


def _environment(name: str, environment: dict[str, Any]) -> Iterator[Problem]:
    path: KeyPath = ("environments", name)
    yield from _twice(path, environment, "approvers")
    change = environment.get("change")
    if name != PRODUCTION:
        return
    for key, word in change.items() if isinstance(change, dict) else ((None, change),):
        if word == "auto":
            yield (*path, "change", *((key,) if key else ())), "auto is not allowed for changes in production: a person approves each one"


def _references(
    path: KeyPath, target: dict[str, Any], targets: dict[str, Any], environments: dict[str, Any], hosts: dict[str, Any]
) -> Iterator[Problem]:
    environment = target.get("environment")
    known = {*KNOWN_ENVIRONMENTS, *environments} - {INLINE_ENVIRONMENT}
    if environment == INLINE_ENVIRONMENT:
        yield (*path, "environment"), f'"{INLINE_ENVIRONMENT}" is kept for targets given in the input; use one of {_list(known)}'
    elif isinstance(environment, str) and environment not in known:
        told = f'no environment "{environment}" (allowed: {_list(known)}{nearest(environment, known)})'
        yield (*path, "environment"), f"{told}; declare it with [environments.{environment}]"
    host = target.get("host")
    if isinstance(host, str) and hosts and host not in {*hosts, LOCAL_HOST}:
        told = f'no host "{host}" (allowed: {_list({*hosts, LOCAL_HOST})}{nearest(host, hosts)})'
        yield (*path, "host"), f"{told}; declare it with [hosts.{host}]"
    database = target.get("database")
    if not isinstance(database, str):
        return
    if database == path[-1]:
        yield (*path, "database"), "a target is not its own database"
    elif database not in targets:
        yield (*path, "database"), f'no target "{database}" (targets: {_list(targets)}{nearest(database, targets)})'
    elif (kind := targets[database].get("kind")) not in ("postgresql", "mysql"):
        yield (*path, "database"), f'target "{database}" is of kind {kind}; a database is of kind postgresql or mysql'


def _completeness(path: KeyPath, target: dict[str, Any]) -> Iterator[Problem]:
    root = target.get("files_root")
    if isinstance(root, str) and (not root.startswith("/") or ".." in root.split("/") or not root.strip("/")):
        yield (*path, "files_root"), "an absolute folder is needed, other than /, without .."
    kind, url = target.get("kind"), target.get("url")
    if not isinstance(kind, str):
        return
    needed = NEEDED.get(kind, ())
    if needed and not any(key in target for key in needed):
        yield path, f"a target of kind {kind} needs {' or '.join(needed)}"
    schemes = URL_SCHEMES.get(kind)
    if schemes and isinstance(url, str) and (parts := url.partition("://"))[1]:
        if parts[0].lower() not in schemes:
            allowed = ", ".join(f"{s}://" for s in schemes)
            yield (*path, "url"), f"the url of a target of kind {kind} begins with {allowed} (got {parts[0]}://)"
        elif not parts[2].strip("/") and kind != "filesystem":
            yield (*path, "url"), "a host is missing after ://"


def _secrets(path: KeyPath, target: dict[str, Any]) -> Iterator[Problem]:
    own = "leave it to the command's own configuration"
    ways = {"reload_command": own, "restart_command": own, "change_command": "name its variable in change_environment_names"}
    for key, way in ways.items():
        words = target.get(key)
        if isinstance(words, list) and (place := secret_argument([word for word in words if isinstance(word, str)])):
            yield (*path, key), f"{place} looks like a secret, and commands are recorded; {way}"
    for key in ("url", "repository"):
        value = target.get(key)
        if isinstance(value, str) and holds_secret(value):
            way = "put the connection string into an environment variable and name it: dsn_env" if key == "url" else "leave it to git"
            yield (*path, key), f"a password or token is written in the file; {way}"


def _selector(path: KeyPath, process: object) -> Iterator[Problem]:
    if not isinstance(process, dict):
        return
    given = [key for key in SELECTORS if key in process]
    if len(given) != 1:
        yield path, f"exactly one of pid, port, name, pid_file or command is allowed; {' and '.join(given) or 'none'} given"
    yield from _twice(path, process, "environment_names")


def _twice(path: KeyPath, table: dict[str, Any], key: str) -> Iterator[Problem]:
    values = table.get(key)
    if isinstance(values, list):
        for index, value in enumerate(values):
            if isinstance(value, str) and value in values[:index]:
                yield (*path, key, index), f'"{value}" is listed twice'


def _names_of_hosts(targets: dict[str, dict[str, Any]], hosts: dict[str, Any]) -> set[str]:
    return {*hosts, *(_text(target, "host", LOCAL_HOST) for target in targets.values())}


def _table(raw: dict[str, Any], section: str) -> dict[str, Any]:
    table = raw.get(section)
    return table if isinstance(table, dict) else {}


def _tables(raw: dict[str, Any], section: str) -> dict[str, dict[str, Any]]:
    return {name: table for name, table in _table(raw, section).items() if isinstance(table, dict)}


def _text(table: dict[str, Any], key: str, default: str) -> str:
    value = table.get(key, default)
    return value if isinstance(value, str) else default


def _list(names: Iterable[str], limit: int = 20) -> str:
    ordered = sorted(names)
    return ", ".join(ordered[:limit]) + (f" and {len(ordered) - limit} more" if len(ordered) > limit else "") or "none"
