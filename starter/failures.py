"""Why something could not be started: one line with the cause and the way out, never a stack trace."""

CANNOT_BE_CARRIED_OUT = 5
"""Exit code of every command when it could not do its work (0 passed, 1 failed verdict, 2 bad usage, 3 inconclusive, 4 rejected)."""


class CannotStart(Exception):
    """The server, the worker, the lab or the `temporal` CLI is not to be had. Commands print the message and exit with 5."""

    def __init__(self, what_happened: str, *, way_out: str = "") -> None:
        self.what_happened = what_happened
        self.way_out = way_out
        joint = "" if what_happened.endswith("\n") else ". "
        super().__init__(f"{what_happened}{joint}{way_out}" if way_out else what_happened)
