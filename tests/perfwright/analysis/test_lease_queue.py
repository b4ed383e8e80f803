"""The state machine of one lease, without Temporal."""

from hypothesis import given, settings
from hypothesis import strategies as st

from perfwright.analysis.lease_queue import acquire, describe, forget, release, view
from perfwright.models.lease import (
    ENDED_LIMIT,
    WAITERS_LIMIT,
    LeaseAnswer,
    LeaseHolderId,
    LeaseRequest,
    LeaseState,
    lease_workflow_id,
)

NOW = "2026-01-31T10:00:00+00:00"
LATER = "2026-01-31T10:05:00+00:00"


def asks(token: str, *, under: str | None = None, run_id: str = "run-1") -> LeaseRequest:
    holder = LeaseHolderId(workflow_id=f"process/{token}", first_run_id="run-1", run_id=run_id, workflow_type="Process")
    return LeaseRequest(token=token, holder=holder, under=under)


def lease(*requests: LeaseRequest) -> LeaseState:
    state = LeaseState(resource="target/shop")
    for request in requests:
        state, _ = acquire(state, request, NOW)
    return state


def line(state: LeaseState) -> list[str]:
    """Owner, then waiters in order."""
    return ([state.hold.token] if state.hold else []) + [w.token for w in state.waiters]


def test_first_come_first_served() -> None:
    """Whoever asks first holds; the others get it in the order in which they asked."""
    state = lease(asks("a"), asks("b"), asks("c"))
    assert line(state) == ["a", "b", "c"]
    state, answer = release(state, "a", "run-1", LATER)
    assert answer.held and line(state) == ["b", "c"]
    assert state.hold is not None and state.hold.since == LATER
    state, _ = release(state, "b", "run-1", LATER)
    state, _ = release(state, "c", "run-1", LATER)
    assert line(state) == [] and state.grants == 3


def test_who_waits_learns_who_holds_it() -> None:
    """The answer to a waiter names the holder, since when, and the place in line, in one sentence."""
    state = lease(asks("a"), asks("b"))
    _, answer = acquire(state, asks("c"), LATER)
    assert answer.standing == "waiting" and answer.wait is not None
    assert answer.wait.sentence == f"Waiting for target/shop: held by process/a since {NOW}; number 2 in line."
    _, answer = acquire(state, asks("b"), LATER)
    assert answer.wait is not None and answer.wait.sentence.endswith("next in line.")


def test_asking_again_changes_nothing() -> None:
    """A request that is repeated (a retried step, a reminder) keeps its place and its grant."""
    state = lease(asks("a"), asks("b"), asks("c"))
    for token, standing in (("a", "granted"), ("b", "waiting"), ("c", "waiting")):
        state, answer = acquire(state, asks(token), LATER)
        assert answer.standing == standing
    assert line(state) == ["a", "b", "c"] and state.grants == 1


def test_a_release_asked_twice_gives_the_same_answer() -> None:
    """A release whose answer was lost on the way is not mistaken for a lost lease, also after the next one holds."""
    state = lease(asks("a"), asks("b"))
    state, first = release(state, "a", "run-1", LATER)
    state, second = release(state, "a", "run-1", LATER)
    assert first.held and second.held and line(state) == ["b"]


def test_who_did_not_hold_learns_it_at_the_release() -> None:
    """A holder that was taken for dead, or whose lease was terminated, is told that it did not hold to the end."""
    state = forget(lease(asks("a"), asks("b")), {"a"}, LATER)
    assert line(state) == ["b"]
    state, answer = release(state, "a", "run-1", LATER)
    assert not answer.held and line(state) == ["b"]
    _, answer = release(LeaseState(resource="target/shop"), "a", "run-1", LATER)
    assert not answer.held


def test_a_waiter_withdraws() -> None:
    """A release of a token that waits takes it out of the line."""
    state, answer = release(lease(asks("a"), asks("b"), asks("c")), "b", "run-1", LATER)
    assert not answer.held and line(state) == ["a", "c"]


def test_a_request_that_comes_after_its_release_is_lost() -> None:
    """A step that was cancelled and yet arrives later does not block the line for ever."""
    state, _ = release(lease(), "a", "run-1", NOW)
    state, answer = acquire(state, asks("a"), LATER)
    assert answer.standing == "lost" and line(state) == []


def test_a_run_that_was_reset_asks_again_with_its_old_token() -> None:
    """Reset to before the request: granted again, whether it still held, waited, or had released under its earlier run."""
    again = asks("a", run_id="run-2")
    state, answer = acquire(lease(asks("a")), again, LATER)
    assert answer.standing == "granted" and state.hold is not None and state.hold.owner.run_id == "run-2"
    assert state.hold.members[0].holder.run_id == "run-2"
    released, _ = release(lease(asks("a")), "a", "run-1", NOW)
    _, answer = acquire(released, again, LATER)
    assert answer.standing == "granted"
    state, answer = acquire(lease(asks("b"), asks("a")), again, LATER)
    assert answer.standing == "waiting" and state.waiters[0].holder.run_id == "run-2"


def test_a_child_works_under_its_parents_ticket() -> None:
    """A child with the ticket is let in at once, before those who wait, and the lease is not given on before both have left."""
    state = lease(asks("parent"), asks("other"), asks("child", under="parent"))
    assert [m.token for m in state.hold.members] == ["parent", "child"] and line(state) == ["parent", "other"]
    state, answer = release(state, "parent", "run-1", LATER)
    assert answer.held and line(state) == ["parent", "other"]
    state, answer = release(state, "child", "run-1", LATER)
    assert answer.held and line(state) == ["other"]


def test_a_ticket_that_no_longer_holds_is_lost() -> None:
    """A child that comes after its parent's lease was given on, or to a lease that is free, is told so instead of measuring."""
    for state in (lease(), lease(asks("other"))):
        after, answer = acquire(state, asks("child", under="parent"), NOW)
        assert answer.standing == "lost" and after == state


def test_a_dead_parents_child_keeps_the_lease() -> None:
    """Only when the holder and its children are over is the lease given on."""
    state = lease(asks("parent"), asks("child", under="parent"), asks("other"))
    state = forget(state, {"parent"}, LATER)
    assert line(state) == ["parent", "other"]
    state = forget(state, {"child"}, LATER)
    assert line(state) == ["other"]


def test_everything_is_bounded() -> None:
    """Ten thousand askers leave a state that fits into a payload; who finds the line full waits, and may ask again."""
    state = lease(*(asks(f"t{i}") for i in range(WAITERS_LIMIT + 1)))
    state, answer = acquire(state, asks("late"), NOW)
    assert len(state.waiters) == WAITERS_LIMIT and answer.standing == "waiting"
    assert answer.wait is not None and answer.wait.position == WAITERS_LIMIT + 1
    for i in range(ENDED_LIMIT + 50):
        state, _ = release(state, f"t{i}", "run-1", NOW)
    assert len(state.ended) == ENDED_LIMIT and len(state.model_dump_json()) < 128 * 1024


def test_people_see_who_holds_and_who_waits() -> None:
    """View and details name holder, time, children and waiters in order."""
    state = lease(asks("a"), asks("b"), asks("child", under="a"))
    seen = view(state)
    assert seen.holder is not None and seen.holder.workflow_id == "process/a" and seen.since == NOW
    assert [w.holder.workflow_id for w in seen.waiters] == ["process/b"]
    text = describe(state)
    assert "Held by `process/a`" in text and "1. `process/b`" in text and "`process/child`" in text
    assert describe(LeaseState()) == "Free." and view(LeaseState()).holder is None


def test_ids_are_safe_and_distinct() -> None:
    """Any name makes a workflow id of plain characters and bounded length, and different names make different ids."""
    assert lease_workflow_id("target/shop") == "target-lease/target/shop"
    assert lease_workflow_id("host/build 7") == "target-lease/host/build%207"
    long = [lease_workflow_id(f"target/{'é' * 280}{i}") for i in range(3)]
    assert len(set(long)) == 3 and all(len(name) < 256 and name.isascii() for name in long)


TOKENS = st.sampled_from("abcdefgh")
MESSAGES = st.lists(
    st.one_of(
        st.tuples(st.just("acquire"), TOKENS, st.none()),
        st.tuples(st.just("acquire"), TOKENS, TOKENS),
        st.tuples(st.just("release"), TOKENS, st.none()),
        st.tuples(st.just("forget"), TOKENS, st.none()),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(MESSAGES)
def test_any_messages_in_any_order(messages: list[tuple[str, str, str | None]]) -> None:
    """Nothing raises; one holds at a time; nobody who asked, and neither left nor died, is forgotten; order is by arrival.

    The slow twin is a list: [who holds, who waits...] and the children of who holds.
    """
    state = LeaseState(resource="target/shop")
    held: list[str] = []
    waiting: list[str] = []
    ticket = ""
    ended: set[str] = set()

    def promote() -> None:
        nonlocal ticket
        if not held and waiting:
            ticket = waiting.pop(0)
            held.append(ticket)

    for what, token, under in messages:
        if what == "acquire":
            state, answer = acquire(state, asks(token, under=under), NOW)
            if token in ended:
                expected = "lost"
            elif token in held:
                expected = "granted"
            elif under is not None:
                expected = "granted" if held and ticket == under else "lost"
                held += [token] if expected == "granted" else []
            elif not held:
                expected, ticket = "granted", token
                held.append(token)
            else:
                expected = "waiting"
                waiting += [token] if token not in waiting else []
            assert answer.standing == expected
        else:
            if what == "release":
                state, _ = release(state, token, "run-1", NOW)
                ended.add(token)
            else:
                state = forget(state, {token}, NOW)
            held, waiting = [t for t in held if t != token], [t for t in waiting if t != token]
            promote()
        members = [m.token for m in state.hold.members] if state.hold else []
        assert members == held and [w.token for w in state.waiters] == waiting
        assert not state.hold or state.hold.token == ticket
    assert LeaseState.model_validate_json(state.model_dump_json()) == state


def test_an_answer_of_a_newer_release_is_read() -> None:
    """Recorded answers with fields that this release does not know are read, so that workers can be upgraded one by one."""
    assert LeaseAnswer.model_validate({"standing": "granted", "priority": 3}).standing == "granted"
