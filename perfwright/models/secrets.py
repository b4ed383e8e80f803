"""Passwords and tokens inside URLs: told from harmless ones, and taken out of what is shown."""

import re

_USER_INFO = re.compile(r"://[^\s'\"]*@")
_QUERY = re.compile(r"(://[^\s'\"?]*)\?[^\s'\"]*")
_SECRET_PARAMETER = re.compile(r"[?&;][^=&;]*(pass|pwd|token|secret|sig|key|credential)[^=&;]*=", re.IGNORECASE)


def without_secrets(text: str) -> str:
    """The text with user, password and query string taken out of every URL in it."""
    return _QUERY.sub(r"\1?***", _USER_INFO.sub("://***@", text))


def holds_secret(url: str) -> bool:
    """Whether the URL carries a password or token: `user:password@`, any user of http(s), or a query parameter named like one."""
    scheme, separator, rest = url.partition("://")
    if not separator:
        return False
    user_info, at, _ = rest.rpartition("@")
    if at and (":" in user_info or scheme.lower() in ("http", "https")):
        return True
    return bool(_SECRET_PARAMETER.search(rest))
