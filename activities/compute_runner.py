"""The other side of `activities/compute.py`: runs one function with bounded memory, in a process of its own.

Standard input holds the pickled function and arguments, standard output gets the pickled `Outcome`; what the function prints goes to
standard error, so that it cannot spoil the outcome.
"""

import os
import pickle
import resource
import sys
import traceback
from dataclasses import dataclass
from typing import Any

TEXT_LIMIT = 4_000
EXCEPTION_LIMIT_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Outcome:
    """A result, or how it failed."""

    result: Any = None
    out_of_memory: bool = False
    error_type: str = ""
    error_message: str = ""
    traceback: str = ""
    exception: bytes = b""
    """Pickled; empty if it cannot be carried over."""


def main() -> None:
    results = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    # Not RLIMIT_AS: numpy and the allocator reserve address space by the gigabyte on machines with many cores.
    limit = int(sys.argv[1])
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301  # from our own worker
        outcome = pickle.dumps(Outcome(result=function(*arguments)), pickle.HIGHEST_PROTOCOL)
    except MemoryError:
        resource.setrlimit(resource.RLIMIT_DATA, (hard, hard))  # room to say so
        outcome = pickle.dumps(Outcome(out_of_memory=True))
    except Exception as error:
        outcome = pickle.dumps(described(error))
    with results:
        results.write(outcome)


def described(error: Exception) -> Outcome:
    try:
        carried = pickle.dumps(error)
        pickle.loads(carried)  # noqa: S301  # some exceptions pickle well and fail only here
    except Exception:
        carried = b""
    return Outcome(
        error_type=type(error).__name__,
        error_message=str(error)[:TEXT_LIMIT],
        traceback="".join(traceback.format_exception(error))[-TEXT_LIMIT:],
        exception=carried if len(carried) <= EXCEPTION_LIMIT_BYTES else b"",
    )


if __name__ == "__main__":
    # Under its own name, not as `__main__`, so that the worker can read the outcome.
    from activities import compute_runner

    compute_runner.main()
