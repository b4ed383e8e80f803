"""Changes that come from outside of a process: submitted by a person, or made by a command that the team configures."""

from typing import Annotated, Any, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.change import PATCH_CHARACTERS, PatchSpec, Revision
from perfwright.models.target import Target
from perfwright.models.vocabulary import Input, Model, ShortText

SUBMIT_CHANGE = "submit_change"
BRIEF_CHARACTERS = 100_000


class ChangeSubmission(Input):
    """The one argument of the signal `submit_change`: a patch, or a ref that the target's repository has."""

    patch: Annotated[str, StringConstraints(max_length=PATCH_CHARACTERS)] = ""
    """A unified diff as `git diff` writes it."""
    ref: Revision | None = None
    """A commit, branch or tag, instead of a patch."""
    base: Revision = "HEAD"
    """What the patch applies to, or the ref is compared with."""
    by: Annotated[str, StringConstraints(min_length=1, max_length=200)]
    """Whose change it is."""
    comment: ShortText = ""
    """What it does, and why it should help."""
    item: Annotated[str, StringConstraints(max_length=200)] = ""
    """The work item that it answers; empty: whichever waits."""
    submission_id: Annotated[str, StringConstraints(min_length=1, max_length=100)] | None = None
    """The sender's own id: what is sent twice counts once."""

    @model_validator(mode="after")
    def _one_of_both(self) -> Self:
        if bool(self.patch.strip()) == (self.ref is not None):
            raise ValueError("exactly one of patch or ref is allowed")
        return self

    @property
    def spec(self) -> PatchSpec:
        """The change itself."""
        message = self.comment or f"Submitted by {self.by}"
        return PatchSpec(patch=self.patch, ref=self.ref, base=self.base, message=message)


class TakenSubmission(Model):
    """A submission as the run has it, for queries."""

    submission_id: str
    by: str
    comment: str = ""
    item: str = ""
    at: str = ""
    """ISO 8601, UTC."""
    taken: bool = False
    """Whether the process has begun with it."""


class BriefLocation(Model):
    """A place in the target's source that costs what is to be saved."""

    file: str
    """Relative to the repository."""
    line: int = 0
    function: str = ""
    share: float | None = None
    """Of the cost."""
    told: str = ""
    """What is wrong there."""


class ChangeBrief(Model):
    """The work item as a command gets it: JSON on standard input."""

    title: str
    goal: str
    """What has to become better, by how much, and how that is measured."""
    locations: tuple[BriefLocation, ...] = ()
    """The costliest first."""
    evidence: tuple[str, ...] = ()
    rules: tuple[str, ...] = ("Results stay equal, exceptions included.", "Commit what is to be tried.")
    tests: tuple[str, ...] = ()
    """Command that has to pass."""
    more: dict[str, Any] = {}


class ChangeCommandOrder(Model):
    """What the target's `change_command` is to make a change for."""

    target: Target
    brief: ChangeBrief
    """At most 100,000 characters as JSON."""
    base: str = "HEAD"
    """What its worktree is at when it starts."""
    limit_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 1_800.0


class ProducedChange(Model):
    """What it left."""

    spec: PatchSpec
    """Its last commit, compared with where it began."""
    commits: int
    seconds: float
    output_tail: str = ""
