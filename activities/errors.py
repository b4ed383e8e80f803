"""How activities refuse: one line that names the cause, and the way out."""

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from perfwright.models.errors import RETRYABLE, ErrorType

MESSAGE_LIMIT = 2_000
EXPECTED = frozenset(
    {ErrorType.INVALID_INPUT, ErrorType.UNKNOWN_TARGET, ErrorType.TARGET_REFUSED, ErrorType.TARGET_GONE, ErrorType.TARGET_STOPPED}
    | {ErrorType.DATABASE_REFUSED, ErrorType.DATABASE_UNREACHABLE}
)
"""What users run into in ordinary use: logged without a stack trace."""


def refuse(error: ErrorType, message: str, *, way_out: str = "", retryable: bool | None = None) -> ApplicationError:
    """Build the error to raise; retried only if the type is in `RETRYABLE` or the caller knows better.

    >>> raise refuse(ErrorType.TOOL_MISSING, "py-spy is not installed", way_out="pip install py-spy")
    """
    text = f"{message}. {way_out}" if way_out else message
    return ApplicationError(
        text[:MESSAGE_LIMIT],
        type=error.value,
        non_retryable=not (error in RETRYABLE if retryable is None else retryable),
        category=ApplicationErrorCategory.BENIGN if error in EXPECTED else ApplicationErrorCategory.UNSPECIFIED,
    )
