"""Passwords and tokens inside URLs and commands: told from harmless ones, and taken out of what is shown."""

import re
from collections.abc import Sequence

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


_SECRET_OPTION = re.compile(
    r"^--?[\w.-]*(password|passwd|passphrase|token|secret|api[-_]?key|access[-_]?key|credential)s?(=.+)?$", re.IGNORECASE
)
_SECRET_ASSIGNMENT = re.compile(r"^[A-Za-z_]\w*(PASSWORD|PASSWD|TOKEN|SECRET|API_?KEY|ACCESS_?KEY|CREDENTIAL)\w*=.+$", re.IGNORECASE)
_SECRET_HEADER = re.compile(r"^(proxy-)?authorization\s*:\s*\S|^cookie\s*:\s*\S|^x-[\w-]*(key|token|secret)\s*:\s*\S", re.IGNORECASE)
_COUNT = re.compile(r"^\d{1,6}$")


def secret_argument(words: Sequence[str]) -> str:
    """Which argument of a command holds a password or token, as `argument 3 (--password)`; empty: none seems to.

    A command is recorded with its run, so that it can be repeated: what is secret comes from the environment instead.
    """
    for number, word in enumerate(words, 1):
        if _SECRET_OPTION.match(word):
            option, equals, value = word.partition("=")
            if not equals and number < len(words) and not words[number].startswith("-"):
                value = words[number]
            if value and not _COUNT.match(value):  # --max-tokens 100
                return f"argument {number} ({option})"
        elif _SECRET_ASSIGNMENT.match(word):
            return f"argument {number} ({word.partition('=')[0]})"
        elif _SECRET_HEADER.match(word):
            return f"argument {number} (a header)"
        elif holds_secret(word):
            return f"argument {number} (a URL)"
    return ""
