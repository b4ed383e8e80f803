"""MySQL and MariaDB connection strings: URLs as SQLAlchemy, Django's dj-database-url and MySQL's own shells write them.

Source: MySQL 8.4 reference manual, 6.2.5 "Connecting to the Server Using URI-Like Strings"; MariaDB has no format of its own.
"""

from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = frozenset({"mysql", "mariadb"})
PORT = 3306
TLS_MODES = frozenset({"", "DISABLED", "PREFERRED", "REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY"})
"""`--ssl-mode` of MySQL's clients. Nothing, and PREFERRED, are without TLS here: the driver cannot fall back."""


class ConnectionStringInvalid(ValueError):
    """No URL of MySQL. The message tells nothing of the text: it holds a password."""


@dataclass(frozen=True)
class ConnectionParameters:
    """Where to connect, and as whom."""

    host: str = "127.0.0.1"
    port: int = PORT
    socket: str = ""
    """File of a server on this machine; wins over host and port."""
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    tls_mode: str = ""
    tls_ca: str = ""

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, the longest first."""
        return tuple(sorted({self.password, self.host} - {""}, key=len, reverse=True))


def parse_connection_string(text: str) -> ConnectionParameters:
    """Read `mysql://user:password@host:port/database?ssl-mode=REQUIRED` (or `mariadb://`, `mysql+driver://`).

    Raises ConnectionStringInvalid.
    """
    scheme, separator, rest = text.strip().partition("://")
    if not separator or scheme.lower().partition("+")[0] not in SCHEMES:
        raise ConnectionStringInvalid("it is no URL that begins with mysql:// or mariadb://")
    try:
        return _parameters(rest)
    except ConnectionStringInvalid:
        raise
    except ValueError:
        # Of the port, or of urllib: their messages quote the text.
        raise ConnectionStringInvalid("it has a part that cannot be read") from None


def _parameters(rest: str) -> ConnectionParameters:
    parts = urlsplit(f"mysql://{rest}")
    user_info, at, _ = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":") if at else ("", "", "")
    query = {name.lower().replace("_", "-"): value for name, value in parse_qsl(parts.query, keep_blank_values=True)}
    database = unquote(parts.path.removeprefix("/"))
    if not database:
        raise ConnectionStringInvalid("it names no database")
    mode = query.get("ssl-mode", query.get("sslmode", "")).upper().replace("-", "_")
    if mode not in TLS_MODES:
        raise ConnectionStringInvalid("its ssl-mode is none")
    ca = query.get("ssl-ca", "")
    return ConnectionParameters(
        host=unquote(parts.hostname or "127.0.0.1"),
        port=parts.port or PORT,
        socket=query.get("unix-socket", query.get("socket", "")),
        user=unquote(user),
        password=unquote(password),
        database=database,
        tls_mode=mode or ("VERIFY_CA" if ca else ""),
        tls_ca=ca,
    )
