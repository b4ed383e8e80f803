"""The lab's targets as a `perfwright.toml`."""

import json
from collections.abc import Mapping, Sequence

from lab import problems
from lab.starting import ROOT

_HEAD = """\
# The targets of the lab, written by `python -m lab.up --registry`.

[environments.lab]
review = "notify"
change = "auto"
keep = "auto"
"""


def registry(shop_port: int, pids: Mapping[str, int], commands: Mapping[str, Sequence[str]]) -> str:
    """The shop by its port; each other program by its pid where it runs, otherwise by the command that runs it.

    A launched program takes `LAB_PROBLEMS` from the worker's environment.
    """
    shop = [
        'kind = "http"',
        f'url = "http://127.0.0.1:{shop_port}"',
        f"process = {{ port = {shop_port} }}",
        f"repository = {_text(str(ROOT / 'lab' / 'shop'))}",
    ]
    parts = [_HEAD, _target("shop", shop)]
    for name, command in commands.items():
        if name in pids:
            process = f"process = {{ pid = {pids[name]} }}"
        else:
            words = ", ".join(_text(word) for word in command)
            process = f'process = {{ command = [{words}], environment_names = ["{problems.VARIABLE}"] }}'
        parts.append(_target(name, ['kind = "process"', process, f"repository = {_text(str(ROOT / 'lab' / name))}"]))
    return "\n".join(parts)


def _target(name: str, lines: Sequence[str]) -> str:
    return "\n".join([f"[targets.{name}]", *lines, 'environment = "lab"', ""])


def _text(value: str) -> str:
    """A TOML basic string; JSON's escapes are a part of TOML's."""
    return json.dumps(value)
