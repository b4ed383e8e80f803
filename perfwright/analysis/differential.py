"""Old and new code answered the same calls: are the answers equal, exceptions included?"""

from collections.abc import Sequence

from perfwright.models.cpu_optimization import Checked, Difference, Differential

SHOWN = 3
SHOWN_CHARACTERS = 300
_SKIPPED, _UNREAD, _RAISED = "skipped", "unread", "raised"


def compare_answers(old: Sequence[Sequence[object]], new: Sequence[Sequence[object]]) -> Differential:
    """Each answer: kind, digest, what it is in short, the call in short, whether its arguments were varied.

    A call that either side could not answer in time, or whose arguments could not be read on the old side, tells nothing; one that only
    the new side cannot read is a difference.
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
        if _SKIPPED in (was[0], now[0]):
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


def check_problem(checked: Checked, *, candidate: bool) -> str:
    """Why the code is not to be measured; empty: it may. No data is no pass."""
    if checked.tests is not None and not checked.tests.passed:
        return f"the project's tests do not pass: {checked.tests.told}"[:1_000]
    if not candidate:
        return ""
    calls = checked.differential
    if calls is None:
        return ""  # a given change that touches no function whose calls were recorded
    if calls.differences and calls.why_none:
        return f"calls made again are not answered: {calls.why_none}"[:1_000]
    if calls.differences:
        shown = f": {calls.first[0].call} gives {calls.first[0].new} where it gave {calls.first[0].old}" if calls.first else ""
        return f"{calls.differences} of {calls.recorded + calls.varied} calls are answered differently{shown}"[:1_000]
    if not calls.recorded:
        return f"no recorded call could be made again: {calls.why_none}"
    return ""


def _short(text: object) -> str:
    return str(text)[:SHOWN_CHARACTERS]
