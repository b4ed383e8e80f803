"""Old and new code answered the same calls: are the answers equal, exceptions included?"""

from collections.abc import Sequence

from perfwright.models.cpu_optimization import Checked, Difference, Differential

SHOWN = 3
SHOWN_CHARACTERS = 300
NOT_CALLED_TOLD = 10
_SKIPPED, _UNREAD, _RAISED = "skipped", "unread", "raised"


def compare_answers(old: Sequence[Sequence[object]], new: Sequence[Sequence[object]]) -> Differential:
    """Each answer: kind, digest, what it is in short, the call in short, whether its arguments were varied.

    A call that the old side could not answer in time, or whose arguments it could not read, tells nothing; one that only the new side, with
    ten times as long, cannot answer or read is a difference.
    """
    recorded = varied = raised = skipped = differences = 0
    first: list[Difference] = []
    unread = ""
    if len(old) != len(new):
        return Differential(differences=1, why_none="one side answered fewer calls than the other")
    for was, now in zip(old, new, strict=True):
        if was[0] == _UNREAD:
            unread = unread or str(was[2])
            continue
        if was[0] == _SKIPPED:
            skipped += 1
            continue
        if was[4]:
            varied += 1
        else:
            recorded += 1
        raised += was[0] == _RAISED
        if (was[0], was[1]) != (now[0], now[1]):
            differences += 1
            if len(first) < SHOWN:
                first.append(Difference(call=_short(was[3]), old=_short(was[2]), new=_short(now[2])))
    why = "" if recorded else (f"arguments could not be read again: {unread}" if unread else "no call could be made again")
    return Differential(
        recorded=recorded,
        varied=varied,
        raised=raised,
        skipped=skipped,
        differences=differences,
        first=tuple(first),
        why_none=why[:SHOWN_CHARACTERS],
    )


def first_difference(old: Sequence[Sequence[object]], new: Sequence[Sequence[object]]) -> int:
    """Number of the first call that tells of one; there has to be one."""
    return next(number for number, was in enumerate(old) if was[0] not in (_UNREAD, _SKIPPED) and not is_steady(old, new, number))


def is_steady(old: Sequence[Sequence[object]], again: Sequence[Sequence[object]], number: int) -> bool:
    """Whether the call was answered alike both times."""
    return number < len(again) and tuple(old[number][:2]) == tuple(again[number][:2])


def steady(old: Sequence[Sequence[object]], again: Sequence[Sequence[object]]) -> list[Sequence[object]]:
    """The old side's answers; those that it gave otherwise the second time tell nothing: nobody can say whether a change is at fault."""
    return [one if is_steady(old, again, number) else (_SKIPPED, *one[1:]) for number, one in enumerate(old)]


def together(found: Sequence[tuple[str, Differential]], left: Sequence[str]) -> Differential:
    """What several functions answered, by name. `left`: those that were not called, with the reason."""
    called = [(name, one) for name, one in found if one.recorded or one.differences]
    not_called = [*left, *(f"{name}: {one.why_none}" for name, one in found if not one.recorded and not one.differences)]
    failed = next((f"{name}: {one.why_none}" for name, one in called if one.differences and one.why_none), "")
    if len(found) == 1 and not left:
        return found[0][1].model_copy(update={"functions": (found[0][0],)})
    first = [one.model_copy(update={"call": _short(f"{name}({one.call})")}) for name, of_it in called for one in of_it.first]
    return Differential(
        recorded=sum(one.recorded for _, one in called),
        varied=sum(one.varied for _, one in called),
        raised=sum(one.raised for _, one in called),
        skipped=sum(one.skipped for _, one in found),
        differences=sum(one.differences for _, one in called),
        first=tuple(first[:SHOWN]),
        why_none=failed or ("" if called else "; ".join(not_called[:SHOWN]))[:SHOWN_CHARACTERS],
        functions=tuple(name for name, _ in called),
        not_called=tuple(_short(one) for one in not_called[:NOT_CALLED_TOLD]),
    )


def told_calls(calls: Differential | None) -> str:
    """What was called again and what was not, in a sentence."""
    if calls is None or not calls.recorded:
        return "no call was made again"
    made = f"{calls.recorded} recorded calls and {calls.varied} varied ones of {', '.join(calls.functions[:SHOWN]) or 'the function'}"
    more = f" and {len(calls.functions) - SHOWN} other functions" if len(calls.functions) > SHOWN else ""
    left = f"; not called again: {'; '.join(calls.not_called)}" if calls.not_called else ""
    return f"{made}{more} are answered alike{left}"


def check_problem(checked: Checked, *, candidate: bool) -> str:
    """Why the code is not to be measured; empty: it may. No data is no pass."""
    if checked.tests is not None and not checked.tests.passed:
        return f"the project's tests do not pass: {checked.tests.told}"[:1_000]
    if not candidate:
        return ""
    calls = checked.differential
    if calls is None:
        return "no recorded call covers this change"
    if calls.differences and calls.why_none:
        return f"calls made again are not answered: {calls.why_none}"[:1_000]
    if calls.differences:
        shown = f": {calls.first[0].call} gives {calls.first[0].new} where it gave {calls.first[0].old}" if calls.first else ""
        return f"{calls.differences} of {calls.recorded + calls.varied} calls are answered differently{shown}"[:1_000]
    if not calls.recorded:
        return f"no recorded call covers this change: {calls.why_none}"[:1_000]
    return ""


def _short(text: object) -> str:
    return str(text)[:SHOWN_CHARACTERS]
