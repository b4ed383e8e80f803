"""The lab's targets as a `perfwright.toml`."""

import json
from collections.abc import Mapping, Sequence

from lab import problems
from lab.database.dsn import VARIABLE
from lab.starting import ROOT

_HEAD = """\
# The targets of the lab, written by `python -m lab.up --registry`.

[environments.lab]
review = "notify"
change = "auto"
keep = "auto"
"""


DATABASE_TARGET = "shop-db"


def registry(shop_port: int, pids: Mapping[str, int], commands: Mapping[str, Sequence[str]], *, database: bool = False) -> str:
    """The shop by its port; each other program by its pid where it runs, otherwise by the command that runs it; the database if it is up.

    A launched program takes `LAB_PROBLEMS`, and the database its connection string, from the worker's environment.
    """
    shop = [
        'kind = "http"',
        f'url = "http://127.0.0.1:{shop_port}"',
        f"process = {{ port = {shop_port} }}",
        f"repository = {_text(str(ROOT / 'lab' / 'shop'))}",
    ]
    parts = [_HEAD]
    if database:
        shop.append(f'database = "{DATABASE_TARGET}"')
        parts.append(_target(DATABASE_TARGET, ['kind = "postgresql"', f'dsn_env = "{VARIABLE}"', 'allow = ["analyze"]']))
    parts.append(_target("shop", shop))
    for name, command in commands.items():
        if name in pids:
            process = f"process = {{ pid = {pids[name]} }}"
        else:
            words = ", ".join(_text(word) for word in command)
            process = f'process = {{ command = [{words}], environment_names = ["{problems.VARIABLE}"] }}'
        entry = ['kind = "process"', process, f"repository = {_text(str(ROOT / 'lab' / name))}"]
        # The inspector of a Node.js program that runs already is opened from outside.
        parts.append(_target(name, [*entry, 'allow = ["inject"]'] if name == "node" else entry))
    return "\n".join(parts)


def _target(name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"[targets.{name}]", *lines, 'environment = "lab"', ""])


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(value)
