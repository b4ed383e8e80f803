"""Passwords that people write into statements are taken out before the text goes anywhere. The server's own counters keep them readable."""

import re

_SECRET = re.compile(
    r"""
    \b(?P<name>(?:ssl)?password|passwd|identified\s+by|connection)  # CREATE ROLE, USER MAPPING, SUBSCRIPTION, WHERE password = ...
    (?P<between>\s*(?:=|:=)?\s*)
    (?:
        (?:[eu]&?)?'(?:[^'\\]|''|\\.)*'?                            # also cut short by the server
        | \$(?P<tag>[^\W\d]\w*|)\$.*?(?:\$(?P=tag)\$|\Z)
    )
    """,
    re.IGNORECASE | re.DOTALL | re.VERBOSE,
)


def without_passwords(text: str) -> str:
    """`ALTER ROLE app PASSWORD 'x'` becomes `ALTER ROLE app PASSWORD '***'`; connection strings of subscriptions likewise."""
    return _SECRET.sub(r"\g<name>\g<between>'***'", text)
