"""What went wrong with a PostgreSQL connection: a cause and a way out, from the SQLSTATE or from what a pooler writes.

Sources: PostgreSQL 18 documentation, appendix A "PostgreSQL Error Codes"; PgBouncer's client errors (all of them 08P01) in `src/client.c`
and `src/objects.c` of it. The server's own text is told only where it names neither host nor password.
"""

import re
from dataclasses import dataclass
from typing import Literal

SHOWN_CHARACTERS = 300

Kind = Literal["unreachable", "refused", "failed"]
"""`unreachable`: no answer, not now, or not any more. `refused`: login, name or right. `failed`: one of our statements."""


@dataclass(frozen=True)
class Trouble:
    """What to tell the user, and whether another attempt may succeed without anybody doing anything."""

    kind: Kind
    cause: str
    way_out: str = ""
    passes: bool = False


NO_ANSWER = Trouble(
    "unreachable",
    "did not answer in time",
    "Check that the server is up, that host and port are right, and that no firewall drops the packets",
    passes=True,
)
CONNECTION_REFUSED = Trouble(
    "unreachable",
    "refused the connection",
    "Check that the server is up, listens on that address (listen_addresses), and that host and port are right",
)
UNKNOWN_HOST = Trouble("unreachable", "has a host name that cannot be resolved", "Check the host in the connection string")
NO_ROUTE = Trouble("unreachable", "cannot be reached from this machine", "Check host, port, and the route from the worker's machine")
LOST = Trouble("unreachable", "closed the connection", "The server, a pooler or the network went away; see the server's log", passes=True)
TLS = Trouble(
    "refused",
    "and this machine do not agree on TLS",
    "Check sslmode, sslrootcert and the certificate: sslmode=disable where the server has no TLS, verify-full needs the server's CA",
)

TLS_FILES = Trouble(
    "refused",
    "cannot be asked: a certificate or key file cannot be read on this machine",
    "Check sslrootcert, sslcert and sslkey in the connection string (default: ~/.postgresql/root.crt of who runs the worker)",
)
REFUSED_SETTING = Trouble(
    "refused", "refused a setting that the connection string asks for", "Check `options` in the connection string; see the server's log"
)

_BY_STATE: dict[str, Trouble] = {
    "28P01": Trouble("refused", "refused the password", "Check user and password in the connection string"),
    "28000": Trouble(
        "refused",
        "refused the login",
        "Check that the role exists and may log in, and that pg_hba.conf lets it in from the worker's machine (with or without TLS)",
    ),
    "3D000": Trouble("refused", "has no such database", "Check the database in the connection string"),
    "42501": Trouble(
        "refused", "refused a right", "Grant the role CONNECT on the database, and pg_monitor to see the statements of others"
    ),
    "53300": Trouble(
        "unreachable",
        "has no connection left",
        "Raise max_connections, end idle sessions, or connect through a pooler; a role may have a CONNECTION LIMIT of its own",
        passes=True,
    ),
    "57P01": Trouble("unreachable", "ended the session", "An administrator ended it, or the server shuts down", passes=True),
    "57P02": Trouble("unreachable", "crashed, and recovers", "See the server's log", passes=True),
    "57P03": Trouble("unreachable", "takes no connections now: it starts, stops or recovers", "Wait until it is up", passes=True),
    "57P05": Trouble("unreachable", "ended the idle session", "idle_session_timeout is shorter than our pauses", passes=True),
    "25P03": Trouble("unreachable", "ended the idle transaction", "The worker was too busy to go on; try again", passes=True),
    "57014": Trouble(
        "unreachable",
        "did not finish one of our statements in time",
        "It is overloaded, or its catalogs are very large; try again",
        passes=True,
    ),
    "55P03": Trouble(
        "unreachable",
        "holds a lock that one of our statements waited for",
        "Another session changes a table (ALTER TABLE, VACUUM FULL, REINDEX); try again when it is done",
        passes=True,
    ),
    "0A000": Trouble("failed", "does not support one of our statements", "PostgreSQL 13 to 18 are supported"),
}
_BY_CLASS: dict[str, Trouble] = {
    "08": LOST,
    "53": Trouble("unreachable", "is out of memory, disk or connections", "See the server's log", passes=True),
    "57": Trouble("unreachable", "interrupted us", "See the server's log", passes=True),
    "58": Trouble("unreachable", "has trouble with its files", "See the server's log"),
    "XX": Trouble("unreachable", "reported an internal error", "See the server's log"),
}
_POOLER: tuple[tuple[str, Trouble], ...] = (
    (
        "unsupported startup parameter",
        Trouble(
            "refused",
            "is a pooler that refuses a setting of the connection string",
            "Take `options` out of it, or name them in the pooler's ignore_startup_parameters",
        ),
    ),
    ("no such database", _BY_STATE["3D000"]),
    # What the server told the pooler, handed on without its SQLSTATE.
    ('database "', _BY_STATE["3D000"]),
    ("pg_hba.conf", _BY_STATE["28000"]),
    ('role "', _BY_STATE["28000"]),
    ("too many", _BY_STATE["53300"]),
    ("connection slots", _BY_STATE["53300"]),
    ("starting up", _BY_STATE["57P03"]),
    (
        "no such user",
        Trouble("refused", "is a pooler that does not know the user", "Name the user in the pooler's auth_file or auth_query"),
    ),
    ("password authentication failed", _BY_STATE["28P01"]),
    ("auth failed", _BY_STATE["28P01"]),
    ("sasl authentication failed", _BY_STATE["28P01"]),
    (
        "transaction blocks not allowed",
        Trouble(
            "refused",
            "is a pooler in statement mode, which allows no transactions",
            "Give a connection string to the server itself, or to a pool in transaction or session mode",
        ),
    ),
    (
        "no more connections allowed",
        Trouble("unreachable", "is a pooler that has no connection left", "Raise its max_client_conn", passes=True),
    ),
    (
        "query_wait_timeout",
        Trouble(
            "unreachable",
            "is a pooler that had no server connection for us in time",
            "Raise default_pool_size, or give a connection string to the server itself",
            passes=True,
        ),
    ),
    ("server login", Trouble("unreachable", "is a pooler that cannot log in to its server", "See the pooler's log", passes=True)),
    ("cannot connect to server", Trouble("unreachable", "is a pooler that cannot reach its server", "See the pooler's log", passes=True)),
    ("server conn crashed", LOST),
    ("shutting down", _BY_STATE["57P03"]),
)


def trouble_of(sqlstate: str, message: str) -> Trouble:
    """The trouble behind an error that the server (or a pooler before it) sent."""
    if sqlstate == "08P01" or sqlstate.startswith("08"):
        lower = message.lower()
        for words, trouble in _POOLER:
            if words in lower:
                return trouble
    if known := _BY_STATE.get(sqlstate) or _BY_CLASS.get(sqlstate[:2]):
        return known
    return Trouble("failed", f"refused one of our statements ({sqlstate}: {first_line(message)})", "This is a mistake of ours: report it")


def first_line(message: str) -> str:
    """The first line, on one line, without what stands in quotes: that is where servers repeat names and values."""
    lines = message.strip().splitlines()
    return re.sub(r"'[^']*'|\"[^\"]*\"", "…", lines[0] if lines else "")[:SHOWN_CHARACTERS]
