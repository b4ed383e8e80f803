"""What every kind of change can do. A new kind is one module with these functions in a class, and one line in `kinds.py`.

describe   -> what exactly happens, to whom, at which cost; reads the target, changes nothing
check      -> preconditions, each with the cause and the way out
prepare    -> the same preconditions, and what an undo needs, read from the target; it is recorded before `apply`
apply      -> carried out; again from any point where an earlier attempt was killed
look       -> what stands on the target itself, told from the record alone
revert     -> undone; again from any point; only what is ours is touched, the caller has looked
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol, TypeVar, runtime_checkable

from activities.errors import refuse
from perfwright.models.change import ChangeSpec
from perfwright.models.errors import ErrorType
from perfwright.models.target import Operation, Target
from perfwright.models.undo import ChangeCheck, ChangeDescription, ChangeOrder, Standing, UndoRecord
from perfwright.models.undo_data import UndoData

T = TypeVar("T")


@dataclass(frozen=True)
class Site:
    """Where changes are carried out: this host, as this worker sees it."""

    environ: Mapping[str, str]
    """Where connection strings are."""
    state_folder: Path
    heartbeat: Callable[..., Any] = lambda *_: None
    """Called while something runs for long."""
    registered: Callable[[str], Target | None] = lambda _: None
    """The registry's target of a name, as it is now."""


@dataclass(frozen=True)
class Prepared:
    """What is recorded before anything is done."""

    subject: str
    """What is changed, within the target: changes of one subject are stacked."""
    title: str
    undo: UndoData


class KindOfChange(Protocol):
    """One kind. `spec` is what it takes; `operation` must be allowed by the target's registry entry, where there is one."""

    spec: ClassVar[type[Any]]
    operation: ClassVar[Operation | None]
    looks_itself: ClassVar[bool]
    """`apply` and `revert` compare what they find with both states, and look at what they left, in one step: every look of its own would
    cost the target as much as the step. They refuse what is neither state."""

    async def describe(self, order: ChangeOrder, site: Site) -> ChangeDescription: ...

    async def check(self, order: ChangeOrder, site: Site) -> tuple[ChangeCheck, ...]: ...

    async def prepare(self, order: ChangeOrder, site: Site) -> Prepared: ...

    async def apply(self, record: UndoRecord, site: Site) -> None: ...

    async def look(self, record: UndoRecord, site: Site) -> Standing: ...

    async def revert(self, record: UndoRecord, site: Site) -> None: ...


@runtime_checkable
class TidiesKept(Protocol):
    """A kind that needs less of what it made once the change is kept. Its `look` knows a kept one without that."""

    async def tidy_kept(self, record: UndoRecord, site: Site) -> None: ...


class NotAllowed(Exception):
    """A precondition that does not hold, so that nothing further can be told. Raised by `describe`, `check` and `prepare`; the caller
    makes a failed check of it, or the refusal."""

    def __init__(self, name: str, told: str) -> None:
        super().__init__(f"{name}: {told}")
        self.check = ChangeCheck(name=name, passed=False, told=told)


def refused(target: Target, reason: str, *, way_out: str = "") -> Exception:
    """The error for a change that is not carried out on this target."""
    return refuse(ErrorType.TARGET_REFUSED, f"{target.title}: {reason}", way_out=way_out)


def passed(name: str, told: str = "") -> ChangeCheck:
    return ChangeCheck(name=name, passed=True, told=told)


def allowed(target: Target, operation: Operation) -> ChangeCheck:
    """Whether the registry allows it."""
    if operation in target.allow:
        return passed("allowed", f'the registry allows "{operation}"')
    told = f'the registry does not allow "{operation}" on {target.name}; add it to `allow` of [targets."{target.name}"]'
    return ChangeCheck(name="allowed", passed=False, told=told)


def only(given: ChangeSpec | UndoData, wanted: type[T]) -> T:
    """The spec or undo as this kind knows it; another kind's is a mistake of ours."""
    assert isinstance(given, wanted), f"{type(given).__name__} is no {wanted.__name__}"
    return given
