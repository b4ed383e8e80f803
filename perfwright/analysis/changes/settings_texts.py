"""PostgreSQL settings as text: lists of names taken apart and put together, and the statements that set and unset them.

A list of names (`shared_preload_libraries`) is set by one literal for each part: `= 'a,b'` would be one name, `"a,b"`, and a server
with such a library does not start. The server keeps a list as text, with each part quoted where it has to be (varlena.c,
`SplitIdentifierString`; guc.c, `flatten_set_variable_args`), which is what stands in postgresql.auto.conf and in pg_db_role_setting.
"""

import re
from collections.abc import Sequence

from perfwright.analysis.query_advice.identifiers import literal, quoted
from perfwright.models.undo_data import SettingUndo

LISTS_OF_NAMES = frozenset(
    {
        "local_preload_libraries",
        "search_path",
        "session_preload_libraries",
        "shared_preload_libraries",
        "temp_tablespaces",
        "unix_socket_directories",
    }
)
"""Settings with GUC_LIST_QUOTE, as pg_dump knows them (dumputils.c, `variable_is_guc_list_quote`); extensions can have none."""
_ENTRY = re.compile(r"\s*(?P<name>[^\W\d][\w$.]*)(?:\s*=\s*|\s+)(?:'(?P<quoted>(?:[^'\\]|\\.|'')*)'|(?P<plain>[^\s'#=]+))")
_ESCAPED = re.compile(r"''|\\([0-7]{1,3}|.)")
_LETTERS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


class NotAList(ValueError):
    """Text that is no list of names: an open quote, or nothing between commas."""


def is_list(name: str) -> bool:
    """Whether the value is a list of names."""
    return name.lower() in LISTS_OF_NAMES


def parts_of(name: str, raw: str) -> tuple[str, ...]:
    """The parts of a value as the server keeps it; of other settings the text itself. Raises NotAList."""
    return split_list(raw) if is_list(name) else (raw,)


def split_list(raw: str) -> tuple[str, ...]:
    """`a, "b,c"` -> ("a", "b,c"); an empty text has no parts. Raises NotAList."""
    parts: list[str] = []
    rest = raw.strip()
    while rest:
        if rest.startswith('"'):
            part, rest = _quoted_part(rest)
        else:
            end = rest.find(",")
            part, rest = (rest, "") if end < 0 else (rest[:end], rest[end:])
            part = part.strip()
            if not part or '"' in part:
                raise NotAList(raw[:200])
        parts.append(part)
        rest = rest.strip()
        if rest:
            if not rest.startswith(",") or not rest[1:].strip():
                raise NotAList(raw[:200])
            rest = rest[1:].strip()
    return tuple(parts)


def _quoted_part(rest: str) -> tuple[str, str]:
    end = 1
    while True:
        end = rest.find('"', end)
        if end < 0:
            raise NotAList(rest[:200])
        if rest[end + 1 : end + 2] != '"':
            return rest[1:end].replace('""', '"'), rest[end + 1 :]
        end += 2


def joined_list(parts: Sequence[str]) -> str:
    """The parts as one text, as the server keeps them: what `split_list` takes apart."""
    return ", ".join(quoted(part) for part in parts)


def set_statement(undo: SettingUndo, parts: Sequence[str]) -> str:
    """`ALTER SYSTEM SET "work_mem" = '64MB'`, and its like for roles and databases; an empty list is one empty text."""
    return f"{_subject(undo)} SET {quoted_name(undo.name)} = {', '.join(literal(part) for part in parts) or literal('')}"


def reset_statement(undo: SettingUndo) -> str:
    """`ALTER ROLE "shop" RESET "work_mem"`."""
    return f"{_subject(undo)} RESET {quoted_name(undo.name)}"


def restoring_statement(undo: SettingUndo) -> str:
    """What puts the earlier entry back: its value, not a RESET, where there was one."""
    return reset_statement(undo) if undo.earlier is None else set_statement(undo, parts_of(undo.name, undo.earlier))


def quoted_name(name: str) -> str:
    """Of a setting; a dot separates the extension's name."""
    return ".".join(f'"{word}"' for word in name.split("."))


def _subject(undo: SettingUndo) -> str:
    match undo.scope:
        case "system":
            return "ALTER SYSTEM"
        case "role":
            return f"ALTER ROLE {quoted(undo.role)}"
        case "database":
            return f"ALTER DATABASE {quoted(undo.database)}"
        case "role in database":
            return f"ALTER ROLE {quoted(undo.role)} IN DATABASE {quoted(undo.database)}"


def without_line(text: str, name: str) -> str:
    """postgresql.auto.conf without the entries of a setting."""
    kept = [line for line in text.splitlines(keepends=True) if _name_in(line) != name.lower()]
    return "".join(kept)


def with_line(text: str, name: str, raw: str | None) -> str:
    """postgresql.auto.conf with `raw` as its only entry of a setting; None: with none. As the server itself writes the file."""
    kept = without_line(text, name)
    if raw is None:
        return kept
    return f"{kept}{'' if kept.endswith(chr(10)) or not kept else chr(10)}{entry_of(name, raw)}\n"


def entry_of(name: str, raw: str) -> str:
    """A line of a configuration file: `name = 'it''s'`."""
    escaped = raw.replace("\\", "\\\\").replace("'", "''")
    return f"{name} = '{escaped}'"


def line_of(text: str, name: str) -> str | None:
    """The value that postgresql.auto.conf gives a setting, as `pg_file_settings` of a running server would tell it: the last entry counts.

    None: there is none. Source: guc-file.l and `DeescapeQuotedString`.
    """
    raw: str | None = None
    for line in text.split("\n"):
        entry = _ENTRY.match(line)
        if entry is not None and entry["name"].lower() == name.lower():
            raw = _ESCAPED.sub(_character, entry["quoted"]) if entry["plain"] is None else entry["plain"]
    return raw


def _character(escaped: re.Match[str]) -> str:
    word = escaped[1]
    if word is None:
        return "'"
    return chr(int(word, 8) & 0xFF) if word[0] in "01234567" else _LETTERS.get(word, word)


def _name_in(line: str) -> str:
    text = line.strip()
    return "" if text.startswith("#") else text.partition("=")[0].split(maxsplit=1)[0].lower() if text.partition("=")[0].split() else ""
