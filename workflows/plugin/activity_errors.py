"""What an activity may end with: an `ApplicationError` with a type that users can match on, and a bounded message.

Activities raise `activities.errors.refuse(...)`; what they did not expect is mapped here, under the name of its Python type. Only
what passes by itself is repeated: connections, timeouts, and the operating system's trouble. A bug, or input that no code can
read, would fail again.
"""

from pydantic import ValidationError
from temporalio.exceptions import ApplicationError, FailureError

from workflows.plugin.mistakes import cut, describe_mistakes, one_line

MESSAGE_LIMIT = 1_000

PASSING = (ConnectionError, TimeoutError, OSError, MemoryError, EOFError)
"""May go away by itself."""
STANDING = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
"""Operating system errors that stay until a person acts."""


def as_application_error(error: Exception) -> Exception:
    """An unexpected exception as an `ApplicationError`; what already speaks Temporal is returned as it is."""
    if isinstance(error, FailureError):
        return error
    if isinstance(error, ValidationError):
        text = f"{error.title}: {one_line(describe_mistakes(error), MESSAGE_LIMIT)}"
    else:
        text = cut(str(error), MESSAGE_LIMIT) or "no message"
    name = type(error).__name__
    retryable = isinstance(error, PASSING) and not isinstance(error, STANDING)
    mapped = ApplicationError(cut(f"{name}: {text}", MESSAGE_LIMIT + 100), type=name, non_retryable=not retryable)
    return mapped.with_traceback(error.__traceback__)
