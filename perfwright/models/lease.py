"""Who may measure what: the recorded state of a lease, and what its holder and its lease say to each other.

A *resource* is what a measurement disturbs: `target/shop`, `host/local`. Each has one entity workflow, `target-lease/<resource>`.
A *token* names one bracket of one run; a *ticket* is what a parent gives to a child that works under its lease.
"""

import hashlib
from typing import Annotated, Literal
from urllib.parse import quote

from pydantic import Field, StringConstraints

from perfwright.models.gate import RefusedDecision
from perfwright.models.vocabulary import Model

LEASE_WORKFLOW = "TargetLease"
LEASE_GRANTED = "lease_granted"
"""Signal of a lease to a process that waits: ask again now. What it then answers is what counts."""

Resource = Annotated[str, StringConstraints(pattern=r"^(target|host)/[^\x00-\x1f]+$", max_length=300)]
"""`target/<name>` or `host/<name>`."""
Token = Annotated[str, StringConstraints(min_length=1, max_length=200)]
Identifier = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
Seconds = Annotated[float, Field(ge=0.05, le=86_400.0)]

WAITERS_LIMIT = 300
"""Who comes later is told to wait and asks again; 300 waiters with long ids still fit in one payload."""
ENDED_LIMIT = 100
"""How many ended tokens a lease remembers, to answer a release that is asked twice."""
REFUSED_LIMIT = 30
"""How many refused messages are carried through continue-as-new."""
ID_LIMIT = 255
SUMMARY_LIMIT_BYTES = 400
"""What Temporal takes as the summary of a step or timer."""


class LeaseSettings(Model):
    """How patient a lease is; every duration is an input, so that tests run in real time."""

    watch_every_s: Seconds = 2.0
    """While someone waits, how often the holder is looked at."""
    watch_for_s: Seconds = 600.0
    """How long one watching step lasts before the next one is scheduled."""
    look_every_s: Seconds = 300.0
    """While nobody waits, how often the holder is looked at, so that a dead one's lease does not stand for ever."""
    settle_s: Annotated[float, Field(ge=0.0, le=3_600.0)] = 15.0
    """How long a holder must have been closed without a release before its lease is given on: its profilers hear of it by heartbeat."""
    idle_s: Seconds = 30.0
    """How long a free lease stays open before it completes."""
    max_grants: Annotated[int, Field(ge=1, le=500)] = 150
    """Continue as new after so many grants (a run takes 2,000 updates at most)."""


class LeaseHolderId(Model):
    """A workflow execution that holds, waits, or works under a ticket."""

    workflow_id: Identifier
    first_run_id: Identifier
    """Unchanged by continue-as-new and reset: tells a later run of the same id from the one that asked."""
    run_id: Identifier
    workflow_type: str = ""


class LeaseMember(Model):
    """One bracket that keeps the lease from being given on: the holder's own, or a child's."""

    token: Token
    holder: LeaseHolderId


class Hold(Model):
    """Who has it. It ends when the last member has left or is closed."""

    token: Token
    """The ticket: that of the bracket that took the lease."""
    since: str
    """ISO 8601, UTC."""
    owner: LeaseHolderId
    members: tuple[LeaseMember, ...]
    """The owner's bracket and those of children under its ticket."""


class Waiter(Model):
    """Who waits for it."""

    token: Token
    holder: LeaseHolderId
    since: str
    """ISO 8601, UTC."""


class EndedToken(Model):
    """A bracket that is over; remembered for a release that is asked again and for a request that comes late."""

    token: Token
    run_id: str
    held: bool
    """Whether it still held when it ended."""


class LeaseState(Model):
    """All that a TargetLease knows; carried through continue-as-new, and its input."""

    resource: str = ""
    hold: Hold | None = None
    waiters: tuple[Waiter, ...] = ()
    """First come first served."""
    ended: tuple[EndedToken, ...] = ()
    """The latest last."""
    grants: int = 0
    """Grants in all runs of this entity."""
    settings: LeaseSettings = LeaseSettings()
    refused: tuple[RefusedDecision, ...] = ()
    """Messages that were not taken, the latest."""


class LeaseRequest(Model):
    """Asks one lease for its resource. Asking again with the same token changes nothing."""

    token: Token
    holder: LeaseHolderId
    under: Token | None = None
    """A parent's ticket: join its hold instead of waiting."""


class LeaseRelease(Model):
    """Ends a bracket, or withdraws a request that still waits."""

    token: Token
    run_id: Identifier


class LeaseWait(Model):
    """Why a request is not granted yet: for the waiting process's details."""

    resource: str
    holder: LeaseHolderId
    since: str
    """Since when it is held; ISO 8601, UTC."""
    position: int
    """1: next."""

    @property
    def sentence(self) -> str:
        """`Waiting for target/shop: held by trial/7 since 2026-01-31T10:00:00+00:00; 2nd in line.`"""
        place = "next in line" if self.position == 1 else f"number {self.position} in line"
        return f"Waiting for {self.resource}: held by {self.holder.workflow_id} since {self.since}; {place}."


Standing = Literal["granted", "waiting", "lost"]


class LeaseGranted(Model):
    """The signal `lease_granted`."""

    resource: str
    token: Token


class LeaseAnswer(Model):
    """`granted`; `waiting`, with why; `lost`: the ticket no longer holds, or this token has ended."""

    standing: Standing
    wait: LeaseWait | None = None


class ReleaseAnswer(Model):
    """Whether the token held to the end; not when the lease was terminated, or given to another meanwhile."""

    held: bool


class LeaseView(Model):
    """The query `lease`: who holds, since when, who waits."""

    resource: str
    holder: LeaseHolderId | None = None
    since: str | None = None
    ticket: str | None = None
    members: tuple[LeaseHolderId, ...] = ()
    waiters: tuple[Waiter, ...] = ()
    grants: int = 0


class LeaseTicket(Model):
    """What a parent gives to a child that works under its lease: a field `ticket` of the child's input."""

    tokens: dict[Resource, Token]
    """Resource -> token."""


class LeaseSetRequest(Model):
    """Asks for several resources, in their order, until one is not granted."""

    resources: tuple[Resource, ...]
    token: Token
    holder: LeaseHolderId
    ticket: LeaseTicket | None = None


class LeaseSetAnswer(Model):
    """What was granted of a set."""

    granted: tuple[str, ...] = ()
    lost: tuple[str, ...] = ()
    """Resources that the ticket no longer holds."""
    wait: LeaseWait | None = None
    """Why it stopped; None when all are granted."""


class LeaseSetRelease(Model):
    """Gives several resources back."""

    resources: tuple[Resource, ...]
    token: Token
    run_id: Identifier


class LeaseSetReleased(Model):
    """What was no longer held when it was given back."""

    lost: tuple[str, ...] = ()


class Watch(Model):
    """What the lease asks of the watching step."""

    members: tuple[LeaseMember, ...]
    every_s: float
    for_s: float
    """0: look once."""
    settle_s: float


class Watched(Model):
    """Members that are closed, for at least `settle_s`."""

    over: tuple[str, ...] = ()
    """Their tokens."""


def lease_workflow_id(resource: str) -> str:
    """`target-lease/target/shop`; other than plain characters are percent-encoded, long ones end in a hash."""
    name = f"target-lease/{quote(resource, safe='/')}"
    if len(name) <= ID_LIMIT:
        return name
    return f"{name[:200]}~{hashlib.sha256(resource.encode()).hexdigest()[:32]}"


def target_of(resource: str) -> str | None:
    """The target's name; None of a host."""
    kind, _, name = resource.partition("/")
    return name if kind == "target" else None


def summary_of(text: str) -> str:
    """Cut to what fits into a summary."""
    return text.encode()[:SUMMARY_LIMIT_BYTES].decode(errors="ignore")
