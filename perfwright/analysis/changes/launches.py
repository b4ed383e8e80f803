"""How a target is launched while a change of its command stands."""

import json
from collections.abc import Mapping, Sequence

from perfwright.models.change import LaunchSpec


class LaunchRefused(ValueError):
    """The reason."""


def changed_command(command: Sequence[str], spec: LaunchSpec) -> tuple[str, ...]:
    """The command with the spec's words. Raises LaunchRefused where a word to leave out is not there, or is the program itself."""
    program, *arguments = command
    for word in spec.without:
        if word not in arguments:
            raise LaunchRefused(f'without: "{word[:200]}" is no argument of the command')
        arguments.remove(word)
    return (program, *spec.after_program, *arguments, *spec.append)


def changed_environment(environment: Mapping[str, str], spec: LaunchSpec) -> dict[str, str]:
    """Variables as the spec has them."""
    kept = {name: value for name, value in environment.items() if name not in spec.environment}
    return kept | {name: value for name, value in spec.environment.items() if value is not None}


def encoded(specs: Sequence[tuple[str, LaunchSpec]]) -> str:
    """The file of a target: changes that stand, in the order in which they were applied."""
    return json.dumps([{"change_id": change_id, "launch": spec.model_dump(mode="json")} for change_id, spec in specs], indent=1) + "\n"


def decoded(text: str) -> list[tuple[str, LaunchSpec]]:
    """Raises ValueError for what is no such file."""
    return [(str(one["change_id"]), LaunchSpec.model_validate(one["launch"])) for one in json.loads(text)]
