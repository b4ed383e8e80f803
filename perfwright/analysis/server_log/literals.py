"""A cheap key that texts of one statement share whatever their literals: it saves parsing most of them.

Two texts with equal keys have the same tokens but for the values of string and number literals, so the same fingerprint; whether that is
so is tested with random texts. What a regular expression cannot cut reliably (dollar quotes, nested comments, U& quoting) has no key, and
so have statements in which a number means more than a value (`FETCH 2 FROM c`): only SELECT, INSERT, UPDATE, DELETE, MERGE, VALUES and
TABLE have one, one statement at a time.

Tokens: PostgreSQL documentation, 4.1 Lexical Structure, and src/backend/parser/scan.l.
"""

import re

Key = tuple[str | None, ...]

KEY_CHARACTERS = 65_536
"""Longer texts have no key: they are rare, and parsing them is not what takes the time."""

_OTHER = r"\x00-#%-\-/:-@\[-\^`{-\x7f"
"""What is neither in an identifier nor a dot. It is ASCII: a set up to U+10FFFF takes `re` a millisecond to compile, and there are 40."""
# Every branch begins with a plain character, from which `re` makes a fast search for the next candidate; what must stand before it is
# looked up behind it. Ten branches for ten digits are six times as fast as `[0-9]`.
_NUMBERS = "|".join(
    rf"{digit}(?<=[{_OTHER}]{digit})(?<![0-9_.][eE][-+]{digit})[0-9]*(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?(?![^{_OTHER}])"
    for digit in "0123456789"
)
_TOKENS = re.compile(
    # Kept: E'...', some of whose escapes are errors, and bit strings, in which a quote cannot be doubled.
    rf"'((?<=[.{_OTHER}][eE]')[^'\\]*(?:(?:\\.|'')[^'\\]*)*|(?<=[.{_OTHER}][bBxX]')[^']*)'"
    r"|'()[^']*(?:''[^']*)*'"  # string: an empty mark
    r'|"([^"]*(?:""[^"]*)*)"'  # quoted identifier: kept
    r"|/(\*)[^*]*(?:\*(?!/)[^*]*)*\*/"  # comment: a mark
    r"|-(-)[^\n\r]*"  # comment: a mark
    rf"|{_NUMBERS}",  # number: no mark at all
    re.DOTALL,
)
_GROUPS = 5
_EACH_GROUP = range(1, _GROUPS + 1)
_NUMBER = (None,) * _GROUPS
_NESTED_COMMENT = re.compile(r"/\*(?:(?!\*/).)*/\*", re.DOTALL)
_DOLLAR_QUOTE = re.compile(r"\$[^0-9]")
_KEYED = re.compile(r"[\s(]*(?:select|insert|update|delete|merge|with|values|table)\b", re.IGNORECASE)
_NUMBER_MATTERS = re.compile(
    r"\[\s*0|\b(?:float|interval|time|timestamp|char|character|nchar|varchar|varying|bit|current_time|current_timestamp|localtime|localtimestamp)"
    r"\s*\(\s*0",
    re.IGNORECASE,
)
"""`float(24)` and `float(25)` are two types; in these places the grammar takes whole numbers only, or the fingerprint has their value."""
_STRING = re.compile(
    r"[eE]?'(?:[^'\\]|\\.|'')*(?:'|$)|\$([A-Za-z_\x80-\U0010ffff]?[0-9A-Za-z_\x80-\U0010ffff]*)\$.*?(?:\$\1\$|$)", re.DOTALL
)


def literal_key(text: str) -> Key | None:
    """What is left of the text without its literals; None when it has no key. Takes about 1 microsecond."""
    if len(text) > KEY_CHARACTERS:
        return None
    if "$" in text and _DOLLAR_QUOTE.search(text):
        return None
    if "&" in text and ('&"' in text or "&'" in text):
        return None
    if "/*" in text and _NESTED_COMMENT.search(text):
        return None
    return tuple(_TOKENS.split(text))


def can_stand_for(key: Key) -> bool:
    """Whether all texts with this key have one fingerprint: a function of the key alone. For new keys only, it takes longer."""
    if (begin := key[0]) and not begin.isspace() and not _KEYED.match(begin):
        return False
    raw = [part or "" for part in key[:: _GROUPS + 1]]
    tokens = list(zip(*(key[group :: _GROUPS + 1] for group in _EACH_GROUP), strict=True))
    if any(token[0] is not None and not after.strip() for token, after in zip(tokens, raw[1:-1], strict=False)):
        return False  # E'a' and a string in the next line may be one string, with the escapes of the first
    statement = "".join(before + (" 0" if token == _NUMBER else " ") for before, token in zip(raw, [*tokens, ()], strict=True))
    return _KEYED.match(statement) is not None and ";" not in statement.rstrip().rstrip(";") and _NUMBER_MATTERS.search(statement) is None


def key_size(key: Key) -> int:
    """Bytes that it takes besides its letters, about."""
    return 18 * len(key)


def without_strings(text: str) -> str:
    """The text with the content of every string taken out, for texts that are shown whatever they are."""
    return _STRING.sub("'…'", text)
