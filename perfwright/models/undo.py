"""Applying a change and undoing it: what is asked of the steps, and the record that is written before anything is done.

recorded   written, perhaps carried out      ─┬─> applied ─┬─> kept ─── its undo has begun ──> applied
                                              │            │
                                              └────────────┴─> reverted, or conflict: what stands there is neither ours nor the earlier
"""

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from perfwright.models.change import Change, ChangeSpec
from perfwright.models.lease import LeaseTicket
from perfwright.models.target import Target
from perfwright.models.undo_data import UndoData
from perfwright.models.vocabulary import Input, Model, Name

UNDO_JANITOR = "UndoJanitor"
"""The workflow that undoes what has no living owner."""
UndoState = Literal["recorded", "applied", "kept", "reverted", "conflict"]
OPEN_STATES: tuple[UndoState, ...] = ("recorded", "applied")
"""Somebody is responsible for it; without a living owner it is undone. So is what was kept, once its undo has begun."""
UNDO_BEGUN = "its undo has begun"
"""Note of a change that was kept and comes off."""
STANDING_STATES: tuple[UndoState, ...] = ("recorded", "applied", "kept", "conflict")
"""May be on the target."""

ChangeId = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._/-]{0,199}$")]
"""Unique for ever: run id and number, `0198f.../1`."""


class ChangeOwner(Model):
    """The run that is responsible: while it is open, nobody else undoes the change. Empty: a person, by hand."""

    workflow_id: str = ""
    first_run_id: str = ""
    """Unchanged by continue-as-new and reset."""
    run_id: str = ""
    server: str = ""
    """Cluster id and namespace of the Temporal server; another server knows nothing of the owner."""


class ChangeOrder(Model):
    """A change, on a target, of an owner."""

    change_id: ChangeId
    target: Target
    spec: ChangeSpec
    owner: ChangeOwner = ChangeOwner()
    mask_literals: bool = False
    """Whether what is told of it is without values; the record of its undo has them."""


class ChangeDescription(Model):
    """What a person decides on."""

    change: Change
    blast_radius: str
    """Whom it concerns besides the target's own work."""
    cost: str
    """What applying it takes: time, locks, disk, a pause."""
    survives_restart: bool
    """Of the target: whether it still stands afterwards."""
    warnings: tuple[str, ...] = ()

    @property
    def digest(self) -> str:
        return self.change.digest


class ChangeCheck(Model):
    """One precondition."""

    name: str
    passed: bool
    told: str = ""
    """What was seen; where it did not pass: the cause and the way out."""


class ChangeChecked(Model):
    """All preconditions."""

    checks: tuple[ChangeCheck, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)

    @property
    def told(self) -> str:
        """What does not pass, in one line."""
        return "; ".join(f"{check.name}: {check.told}" for check in self.checks if not check.passed)


class UndoRecord(Model):
    """All that is needed to undo a change."""

    sequence: int = 0
    """Grows with time: what stands on top comes off first."""
    change_id: str
    state: UndoState = "recorded"
    title: str
    target: Target
    subject: str
    """What is changed: changes of one subject are stacked."""
    owner: ChangeOwner = ChangeOwner()
    spec: ChangeSpec
    undo: UndoData
    recorded_at: str = ""
    updated_at: str = ""
    place: str = ""
    """`HOST:STATE FOLDER` of the worker that carried it out: what it put into files and processes is there. Empty: not known."""
    note: str = ""
    """Why it ended as it did."""


StandingWord = Literal["before", "changed", "partial", "foreign", "gone"]


class Standing(Model):
    """What was read of the target itself.

    `before`: as it was. `changed`: ours, whole. `partial`: something of ours is there, not all. `foreign`: neither. `gone`: what was
    changed no longer exists (a process that ended), and nothing is left to undo.
    """

    word: StandingWord
    told: str = ""


class ChangeOutcome(Model):
    """How a step left a change."""

    change_id: str
    state: UndoState
    standing: Standing
    """What was read of the target after the step."""
    title: str = ""
    note: str = ""


class NotUndone(Model):
    """A change whose undo by hand failed; it stands as its state says."""

    change_id: str
    state: UndoState
    title: str = ""
    failed: str
    """The cause and the way out."""


class ChangeReference(Model):
    """A change that has a record."""

    change_id: ChangeId


class UndoQuery(Model):
    """Which records."""

    states: tuple[UndoState, ...] = ()
    """Empty: all."""
    run_id: str = ""
    workflow_id: str = ""
    target: str = ""
    limit: Annotated[int, Field(ge=1, le=1_000)] = 200


class AbandonedQuery(Model):
    """What the janitor looks for."""

    target: str = ""
    """Empty: any."""
    settle_s: float = 60.0
    """How long ago the record was last written, and its owner closed, at least: an owner's last steps may still go on."""


class AbandonedChange(Model):
    """A change without a living owner."""

    change_id: str
    target: Target
    title: str
    state: UndoState
    owner: ChangeOwner
    reason: str
    """`trial/shop-1 is terminated`."""
    owner_unknown: bool = False
    """The owner ran on another Temporal server: whether it lives is not known here, so a person is asked."""
    limit_s: float = 0.0
    """How long its undo may take by its own limits (`change.limit_s`)."""


class AbandonedChanges(Model):
    """What was found, the latest first: in the order in which they come off."""

    changes: tuple[AbandonedChange, ...] = ()
    left_out: int = 0


class JanitorRequest(Input):
    """One look for abandoned changes."""

    target: Name | None = None
    """Only of this target; without: of all."""
    ask: bool = False
    """Ask here before anything is undone; else what has to be asked for is asked by a run of its own."""
    settle_s: Annotated[float, Field(ge=0.0, le=86_400.0)] = 60.0
    """Seconds since the owner closed, at least: its last steps may still go on."""
    deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] = 86_400.0
    """Seconds that the question waits for a person."""
    ticket: LeaseTicket | None = None
    """The lease of a run that waits until the target is as it was; None: the janitor takes leases itself."""


class JanitorReport(Model):
    """What became of them."""

    outcomes: tuple[ChangeOutcome, ...] = ()
    asked: tuple[str, ...] = ()
    """Targets for which a person is asked."""
    handed_on: tuple[str, ...] = ()
    """Targets that a run of its own undoes, when it has their lease."""
    refused: tuple[str, ...] = ()
    """Changes that a person let stand for now."""
    failed: tuple[str, ...] = ()
    """Changes that could not be undone, with the reason; tried again at the next look."""

    @property
    def summary(self) -> str:
        done = sum(one.state == "reverted" for one in self.outcomes)
        conflicts = sum(one.state == "conflict" for one in self.outcomes)
        words = [f"{done} undone"]
        for count, word in (
            (conflicts, "in conflict"),
            (len(self.handed_on), "handed on"),
            (len(self.asked), "asked for"),
            (len(self.refused), "refused"),
        ):
            if count:
                words.append(f"{count} {word}")
        if self.failed:
            words.append(f"{len(self.failed)} failed")
        return ", ".join(words)
