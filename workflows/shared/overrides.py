"""What a reviewer may change with `request_changes`: checked when the decision arrives, so that the sender is told and not the run."""

from typing import Any, Protocol

from pydantic import BaseModel, ValidationError

from workflows.plugin.mistakes import describe_mistakes


class Revisable(Protocol):
    """A request that takes a person's overrides."""

    def revised(self, overrides: dict[str, Any]) -> BaseModel:
        """The request with the overrides, validated as a whole; raises ValidationError."""
        ...


def override_problems(request: Revisable, overrides: dict[str, Any]) -> list[str]:
    """What is wrong with the overrides, one sentence each. The gate itself refuses fields that its question does not name."""
    try:
        request.revised(overrides)
    except ValidationError as mistakes:
        return list(describe_mistakes(mistakes, type(request)))
    return []
