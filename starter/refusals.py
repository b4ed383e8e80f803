"""What people are told when a request of theirs is not taken: one clear line with the way out, never a stack trace.

Refused                 exit code 2: what was asked for does not exist or is not allowed
├── UnknownProcess
├── UnknownTarget
├── UnknownRun          also: a name that several runs go by
├── InvalidRequest      fields; all mistakes at once
└── DecisionRefused     the run did not take the decision, and says why
NotCarriedOut           exit code 5: it was right, and could not be done
├── AlreadyRunning      one run per process and target at a time
├── NoWorkerAnswers     nobody polls, or the worker does not answer
├── NoStoreHere         artifacts or history are not reached from this machine
└── ProcessFailed       the run ended with an error, a cancellation or a termination
"""

import difflib
from collections.abc import Iterable, Sequence

from starter.failures import CANNOT_BE_CARRIED_OUT

BAD_USAGE = 2
LISTED = 30


class _Told(Exception):
    exit_code = CANNOT_BE_CARRIED_OUT

    def __init__(self, what_happened: str, *, way_out: str = "") -> None:
        self.what_happened = what_happened
        self.way_out = way_out
        super().__init__(f"{what_happened}. {way_out}" if way_out else what_happened)


class Refused(_Told):
    """Asked for something that does not exist or is not allowed."""

    exit_code = BAD_USAGE


class UnknownProcess(Refused):
    def __init__(self, what_happened: str) -> None:
        super().__init__(what_happened, way_out="`perfwright processes` lists them")


class UnknownTarget(Refused): ...


class UnknownRun(Refused): ...


class InvalidRequest(Refused):
    """`mistakes` has one line for each."""

    def __init__(self, subject: str, mistakes: Sequence[str], *, way_out: str = "") -> None:
        self.mistakes = tuple(mistakes)
        many = "1 mistake" if len(mistakes) == 1 else f"{len(mistakes)} mistakes"
        told = f"{subject}: {many}\n" + "\n".join(f"  {line}" for line in mistakes)
        super().__init__(f"{told}\n{way_out}" if way_out else told)
        self.way_out = way_out


class DecisionRefused(Refused): ...


class NotCarriedOut(_Told):
    """Asked for rightly, and not possible now."""


class AlreadyRunning(NotCarriedOut): ...


class NoWorkerAnswers(NotCarriedOut): ...


class NoStoreHere(NotCarriedOut): ...


class ProcessFailed(NotCarriedOut):
    """`error_type` is one of `perfwright.models.errors.ErrorType`, or `Cancelled`, `Terminated`, `TimedOut`."""

    def __init__(self, error_type: str, message: str) -> None:
        self.error_type = error_type
        super().__init__(f"{error_type}: {message}")


def nearest(name: str, known: Iterable[str]) -> str:
    """`; nearest: shop, shop-db`, or the names there are when none is near and they are few.

    What begins like that comes first; capital letters do not matter.
    """
    by_lower = {word.lower(): word for word in known}
    near = [word for word in by_lower if len(name) > 2 and word.startswith(name.lower())][:3]
    near = near or difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.5)
    if near:
        return f"; nearest: {', '.join(by_lower[word] for word in near)}"
    names = sorted(by_lower.values())
    more = f" and {len(names) - LISTED} more" if len(names) > LISTED else ""
    return f" (there are: {', '.join(names[:LISTED])}{more})" if names else " (there are none)"
