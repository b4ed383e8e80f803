"""The closed set of error types. A process *fails* only with one of these; a verdict is data.

    InvalidInput            a start, signal, update or registry that is missing, extra, mistyped or absurd   (never retried)
    ├── UnknownTarget       the name is not in the registry; the nearest names are told
    └── TargetRefused       inline target, environment or operation that the configuration does not allow
    TargetUnavailable       the target could not be examined
    ├── TargetGone          it exited, or its pid now belongs to another program
    ├── TargetStopped       it is stopped (SIGSTOP, debugger): nothing may attach to it
    ├── NotPermitted        ptrace, perf or file permissions; the permission to grant is told
    ├── RuntimeUnsupported  no tool here serves this runtime
    ├── DatabaseUnreachable nothing answers there, it takes no connections, or it went away   (retried where that passes)
    └── DatabaseRefused     login, database name, TLS or a right was refused; what to check or grant is told
    HostUnreachable         no worker polls the target's host queue; the command that starts one is told
    ToolTrouble             a tool could not do its work
    ├── ToolMissing         not installed; the package is named
    ├── ToolFailed          it ended with an error
    ├── ToolTimeout         it did not end in time
    └── OutputTooLarge      it wrote more than we keep
    StoreTrouble            artifacts or history
    ├── StoreUnavailable    bucket, folder or database cannot be reached or is full (retried)
    └── ArtifactCorrupt     content does not match its hash
    LeaseLost               the target lease was taken away while the target was measured

Names are what users match on: they appear as the `type` of Temporal's `ApplicationError`.
"""

from enum import StrEnum


class ErrorType(StrEnum):
    INVALID_INPUT = "InvalidInput"
    UNKNOWN_TARGET = "UnknownTarget"
    TARGET_REFUSED = "TargetRefused"
    TARGET_GONE = "TargetGone"
    TARGET_STOPPED = "TargetStopped"
    NOT_PERMITTED = "NotPermitted"
    RUNTIME_UNSUPPORTED = "RuntimeUnsupported"
    DATABASE_UNREACHABLE = "DatabaseUnreachable"
    DATABASE_REFUSED = "DatabaseRefused"
    HOST_UNREACHABLE = "HostUnreachable"
    TOOL_MISSING = "ToolMissing"
    TOOL_FAILED = "ToolFailed"
    TOOL_TIMEOUT = "ToolTimeout"
    OUTPUT_TOO_LARGE = "OutputTooLarge"
    STORE_UNAVAILABLE = "StoreUnavailable"
    ARTIFACT_CORRUPT = "ArtifactCorrupt"
    LEASE_LOST = "LeaseLost"


RETRYABLE = frozenset({ErrorType.STORE_UNAVAILABLE})
"""Only trouble that passes by itself is worth another attempt; everything else needs a person."""
