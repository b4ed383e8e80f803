"""A first perfwright.toml from what runs here: commented, valid, and strict where it cannot know better."""

import json
import re
from collections.abc import Iterable, Sequence

from perfwright.models.registry import parse_registry
from starter.discovery import FoundContainer, FoundProcess

HEAD = """\
# The target registry: what may be examined, where it is, and who answers gates. docs/registry.md has every key.
# `perfwright targets` shows it and whether each target answers; `perfwright doctor` says what is missing here.

[store]
artifacts = "file://./.perfwright/artifacts"              # s3://, gs:// or az:// where workers run on several hosts
history = "sqlite+aiosqlite:///.perfwright/history.db"    # postgresql+asyncpg:// likewise

# How gates are answered. review: nothing changes on the target. change: exactly this is applied. keep: keep the measured effect or undo it.
# ask (default): a person answers.  notify (review only): go on, take objections.  auto: answer when the quality gates passed.
[environments.lab]
review = "ask"
change = "ask"
keep = "ask"

# [environments.production]
# approvers = ["your-team"]

# [notify]
# urls_env = "PERFWRIGHT_NOTIFY"    # environment variable with Apprise URLs: Slack, Teams, mail, webhooks
"""

EXAMPLE = """\
# Nothing that listens on a TCP port was found here. A target looks like this:
#
# [targets.shop]
# kind = "process"                  # or http, postgresql, mysql, cache, repository, filesystem
# environment = "lab"               # without it: production, the strictest
# process = { port = 8700 }         # or pid, name, pid_file, command
"""


def draft_registry(processes: Sequence[FoundProcess], containers: Sequence[FoundContainer]) -> str:
    """TOML that `parse_registry` accepts."""
    taken: set[str] = set()
    parts = [HEAD]
    ordinary = [one for one in processes if one.kind == "process"]
    databases = [one for one in processes if one.kind != "process"]
    parts += [_process(one, _name(_subject(one), one.ports, taken)) for one in ordinary]
    parts += [_database(one, _name(one.scheme, one.ports, taken)) for one in databases]
    if not processes:
        parts.append(EXAMPLE)
    if containers:
        parts.append(_containers(containers))
    text = "\n".join(parts)
    parse_registry(text)
    return text


def _process(one: FoundProcess, name: str) -> str:
    others = f"          # it listens on {', '.join(map(str, one.ports[1:]))} as well" if len(one.ports) > 1 else ""
    return f"""\
# pid {one.pid}: {one.command}
[targets.{name}]
kind = "process"                  # if it speaks HTTP: kind = "http" and url = "http://127.0.0.1:{one.ports[0]}"
environment = "lab"               # what is not yours to try things on: production
process = {{ port = {one.ports[0]} }}{others}
{_repository(one)}"""


def _repository(one: FoundProcess) -> str:
    usable = one.folder.isprintable() and one.folder not in ("", "/") and not one.folder.startswith(("/proc", "/var/lib"))
    return f"repository = {_text(one.folder)}   # its working directory: where its source is, if it is there\n" if usable else ""


def _database(one: FoundProcess, name: str) -> str:
    port = one.ports[0]
    if one.kind == "cache":
        return f"""\
# pid {one.pid}: {one.command}
[targets.{name}]
kind = "cache"
url = "{one.scheme}://127.0.0.1:{port}"   # with a password: dsn_env instead
environment = "lab"
process = {{ port = {port} }}
"""
    variable = re.sub(r"[^A-Z0-9]", "_", name.upper()) + "_DSN"
    scheme = "postgresql" if one.kind == "postgresql" else "mysql"
    return f"""\
# pid {one.pid}: {one.command}
# Set {variable} for the worker: export {variable}={scheme}://USER:PASSWORD@127.0.0.1:{port}/DATABASE
[targets.{name}]
kind = "{one.kind}"
dsn_env = "{variable}"
environment = "lab"
process = {{ port = {port} }}
"""


def _containers(containers: Iterable[FoundContainer]) -> str:
    lines = ["# Containers here. What runs inside is examined by a worker inside, or on the host where it may see their processes:"]
    for one in containers:
        published = f", published on {', '.join(map(str, one.ports))}" if one.ports else ""
        lines.append(f"#   {_comment(one.name)} ({_comment(one.image)}){published}")
    return "\n".join(lines) + "\n"


def _subject(one: FoundProcess) -> str:
    """The program's own name where it says something, else the folder it runs in."""
    interpreter = re.fullmatch(r"(python|node|java|ruby|php|perl|sh|bash)[\d.]*", one.program)
    folder = one.folder.rstrip("/").rpartition("/")[2]
    return folder if interpreter and folder and one.folder not in ("/", "/root") else one.program


def _name(subject: str, ports: Sequence[int], taken: set[str]) -> str:
    slug = re.sub(r"[^A-Za-z0-9_-]+", "-", subject).strip("-_").lower()[:40] or "program"
    names = [slug, f"{slug}-{ports[0]}", *(f"{slug}-{ports[0]}-{count}" for count in range(2, len(taken) + 3))]
    name = next(one for one in names if one not in taken)
    taken.add(name)
    return name


def _comment(text: str) -> str:
    return "".join(c if c.isprintable() else " " for c in text)[:100]


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's, but for pairs of surrogates."""
    return json.dumps(value, ensure_ascii=False)
