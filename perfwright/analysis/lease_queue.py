"""First come first served for one resource: the state machine behind TargetLease, without Temporal and without a clock.

    free --acquire--> held by its members --the last one leaves or is over--> the first waiter holds, or free
                          ^ join (a child under the ticket)

Every function takes the state and returns the next one; none raises, whatever comes in whatever order.
Times are ISO 8601 strings that the caller gives.
"""

from collections.abc import Collection

from perfwright.models.lease import (
    ENDED_LIMIT,
    WAITERS_LIMIT,
    EndedToken,
    Hold,
    LeaseAnswer,
    LeaseMember,
    LeaseRequest,
    LeaseState,
    LeaseView,
    LeaseWait,
    ReleaseAnswer,
    Waiter,
)


def acquire(state: LeaseState, request: LeaseRequest, now: str) -> tuple[LeaseState, LeaseAnswer]:
    """Grant, or put at the end of the line; the same token asks again without losing its place.

    A token that has ended in this run is `lost` (its request came late). A ticket (`under`) joins the hold that it names, or is `lost`.
    """
    if _ended(state, request.token, request.holder.run_id) is not None:
        return state, LeaseAnswer(standing="lost")
    member = LeaseMember(token=request.token, holder=request.holder)
    hold = state.hold
    if hold is not None and any(m.token == request.token for m in hold.members):
        return state.model_copy(update={"hold": _refreshed(hold, member)}), LeaseAnswer(standing="granted")
    if request.under is not None:
        if hold is None or hold.token != request.under:
            return state, LeaseAnswer(standing="lost")
        joined = hold.model_copy(update={"members": (*hold.members, member)})
        return state.model_copy(update={"hold": joined}), LeaseAnswer(standing="granted")
    waiter = Waiter(token=request.token, holder=request.holder, since=now)
    if hold is None:
        return _granted(state, waiter, now), LeaseAnswer(standing="granted")
    waiting = [w.token for w in state.waiters]
    if request.token in waiting:
        position = waiting.index(request.token) + 1
        refreshed = tuple(w if w.token != request.token else w.model_copy(update={"holder": request.holder}) for w in state.waiters)
        state = state.model_copy(update={"waiters": refreshed})
    else:
        position = len(waiting) + 1
        if position <= WAITERS_LIMIT:
            state = state.model_copy(update={"waiters": (*state.waiters, waiter)})
    wait = LeaseWait(resource=state.resource, holder=hold.owner, since=hold.since, position=position)
    return state, LeaseAnswer(standing="waiting", wait=wait)


def release(state: LeaseState, token: str, run_id: str, now: str) -> tuple[LeaseState, ReleaseAnswer]:
    """End a bracket: a member leaves, a waiter withdraws. Asked again, it gives the same answer."""
    if (before := _ended(state, token, run_id)) is not None:
        return state, ReleaseAnswer(held=before.held)
    hold = state.hold
    held = hold is not None and any(m.token == token for m in hold.members)
    ended = EndedToken(token=token, run_id=run_id, held=held)
    state = state.model_copy(update={"ended": (*state.ended, ended)[-ENDED_LIMIT:]})
    return forget(state, {token}, now), ReleaseAnswer(held=held)


def forget(state: LeaseState, tokens: Collection[str], now: str) -> LeaseState:
    """Take out members and waiters that are over; when no member is left, the first waiter holds."""
    waiters = tuple(w for w in state.waiters if w.token not in tokens)
    hold = state.hold
    if hold is not None:
        members = tuple(m for m in hold.members if m.token not in tokens)
        hold = hold.model_copy(update={"members": members}) if members else None
    state = state.model_copy(update={"hold": hold, "waiters": waiters})
    if hold is not None or not waiters:
        return state
    return _granted(state.model_copy(update={"waiters": waiters[1:]}), waiters[0], now)


def view(state: LeaseState) -> LeaseView:
    """What people see: holder, since when, waiters in order."""
    hold = state.hold
    return LeaseView(
        resource=state.resource,
        holder=hold.owner if hold else None,
        since=hold.since if hold else None,
        ticket=hold.token if hold else None,
        members=tuple(m.holder for m in hold.members) if hold else (),
        waiters=state.waiters,
        grants=state.grants,
    )


def describe(state: LeaseState, shown: int = 20) -> str:
    """Markdown for the details of the lease in the Temporal UI."""
    if state.hold is None:
        return "Free."
    lines = [f"Held by `{state.hold.owner.workflow_id}` since {state.hold.since}."]
    lines += [f"- works under it: `{m.holder.workflow_id}`" for m in state.hold.members if m.token != state.hold.token][:shown]
    if state.waiters:
        lines += ["", f"{len(state.waiters)} waiting:", ""]
        lines += [f"{i}. `{w.holder.workflow_id}` since {w.since}" for i, w in enumerate(state.waiters[:shown], start=1)]
    return "\n".join(line[:300] for line in lines)


def _granted(state: LeaseState, waiter: Waiter, now: str) -> LeaseState:
    member = LeaseMember(token=waiter.token, holder=waiter.holder)
    hold = Hold(token=waiter.token, since=now, owner=waiter.holder, members=(member,))
    return state.model_copy(update={"hold": hold, "grants": state.grants + 1})


def _refreshed(hold: Hold, member: LeaseMember) -> Hold:
    """A run that was reset asks again with its old token under a new run id."""
    members = tuple(member if m.token == member.token else m for m in hold.members)
    owner = member.holder if hold.token == member.token else hold.owner
    return hold.model_copy(update={"members": members, "owner": owner})


def _ended(state: LeaseState, token: str, run_id: str) -> EndedToken | None:
    return next((e for e in state.ended if e.token == token and e.run_id == run_id), None)
