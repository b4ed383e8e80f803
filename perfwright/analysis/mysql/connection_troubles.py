"""What went wrong with a MySQL or MariaDB connection: a cause and a way out, from the error's number.

Sources: MySQL 8.4 error reference (server and client errors); MariaDB documentation "MariaDB Error Codes". The server's own text is told
only where it names neither host nor password.
"""

from perfwright.analysis.database.connection_troubles import LOST, UNKNOWN_HOST, Trouble, first_line

CONNECTION_REFUSED = Trouble(
    "unreachable",
    "refused the connection",
    "Check that the server is up, listens on that address (bind_address), and that host and port are right",
)
TLS = Trouble(
    "refused",
    "and this machine do not agree on TLS",
    "Check ssl-mode and ssl-ca in the connection string; a login by caching_sha2_password without TLS needs the package cryptography",
)
NO_RIGHT = Trouble(
    "refused",
    "refused a right",
    "Grant the user SELECT on its database and on performance_schema, and PROCESS to see the sessions of others",
)
_LOGIN = Trouble(
    "refused", "refused the login", "Check user and password in the connection string, and the host that the user may come from"
)
_FULL = Trouble(
    "unreachable", "has no connection left", "Raise max_connections (or the user's own limit), or end idle sessions", passes=True
)
_SLOW = Trouble(
    "unreachable", "did not finish one of our statements in time", "It is overloaded, or has very many tables; try again", passes=True
)
_LOCKED = Trouble(
    "unreachable",
    "holds a lock that one of our statements waited for",
    "Another session changes a table (ALTER TABLE, LOCK TABLES); try again when it is done",
    passes=True,
)
_ENDED = Trouble("unreachable", "ended the session", "An administrator ended it, or the server shuts down", passes=True)
_BY_NUMBER: dict[int, Trouble] = {
    1040: _FULL,
    1044: Trouble("refused", "refused the database", "Grant the user SELECT on the database that the connection string names"),
    1045: _LOGIN,
    1049: Trouble("refused", "has no such database", "Check the database in the connection string"),
    1053: _ENDED,
    1129: Trouble("refused", "has blocked this machine after failed logins", "FLUSH HOSTS on the server"),
    1130: Trouble("refused", "lets nobody in from this machine", "Create the user for the worker's host: 'user'@'host'"),
    1142: NO_RIGHT,
    1143: NO_RIGHT,
    1203: _FULL,
    1205: _LOCKED,
    1226: _FULL,
    1227: NO_RIGHT,
    1251: TLS,
    1317: _ENDED,
    1698: _LOGIN,
    1927: _ENDED,
    1969: _SLOW,
    3024: _SLOW,
    3118: Trouble("refused", "has locked the account", "ALTER USER ... ACCOUNT UNLOCK"),
    3159: TLS,
    4151: _LOGIN,
    2002: CONNECTION_REFUSED,
    2003: CONNECTION_REFUSED,
    2005: UNKNOWN_HOST,
    2006: LOST,
    2013: LOST,
    2014: LOST,
    2026: TLS,
    2055: LOST,
    2059: TLS,
}
TIMED_OUT = frozenset({1969, 3024})
"""max_statement_time of MariaDB, max_execution_time of MySQL."""
MISSING_RIGHT = frozenset({1044, 1142, 1143, 1227})
GONE = frozenset({1053, 1927, 2006, 2013, 2014, 2055})
"""The connection is not there any more."""


def trouble_of(number: int, message: str) -> Trouble:
    """The trouble behind an error that the server or the driver numbered."""
    if known := _BY_NUMBER.get(number):
        return known
    told = f"{number}: {first_line(message)}" if message else f"error {number}"
    return Trouble("failed", f"refused one of our statements ({told})", "This is a mistake of ours: report it")
