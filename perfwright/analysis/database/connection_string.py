"""PostgreSQL connection strings: libpq's two forms, read into parameters by name.

Source: PostgreSQL 18 documentation, 32.1.1 "Connection Strings" and 32.1.2 "Parameter Key Words".
"""

import re
from dataclasses import dataclass, field
from urllib.parse import parse_qsl, unquote, urlsplit

SCHEMES = frozenset({"postgresql", "postgres"})
DRIVER_PARAMETERS = frozenset(
    {
        "krbsrvname",
        "passfile",
        "service",
        "sslcert",
        "sslcrl",
        "sslkey",
        "sslmode",
        "sslnegotiation",
        "sslpassword",
        "sslrootcert",
        "ssl_max_protocol_version",
        "ssl_min_protocol_version",
        "target_session_attrs",
    }
)
"""What our driver (asyncpg) understands besides host, port, user, password and database."""
SERVER_PARAMETERS = frozenset({"options", "search_path"})
"""What decides plans and is therefore passed on to the server. All others (keepalives, pool sizes of other drivers) are left out."""
_PAIR = re.compile(r"\s*([A-Za-z_]+)\s*=\s*(?:'((?:[^'\\]|\\.)*)'|((?:[^\s'\\]|\\.)*))(?=\s|$)", re.DOTALL)


class ConnectionStringInvalid(ValueError):
    """The text is neither a URL nor `key=value` pairs. The message tells nothing of the text: it holds a password."""


@dataclass(frozen=True)
class ConnectionParameters:
    """Where to connect, and as whom. `hosts` and `ports` are of equal length; empty: as the environment or the driver has it."""

    hosts: tuple[str, ...] = ()
    ports: tuple[int, ...] = ()
    user: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    driver: dict[str, str] = field(default_factory=dict)
    server: dict[str, str] = field(default_factory=dict)
    connect_timeout_s: float | None = None

    @property
    def secrets(self) -> tuple[str, ...]:
        """What must not be shown, the longest first."""
        texts = {self.password, self.driver.get("sslpassword", ""), *self.hosts} - {""}
        return tuple(sorted(texts, key=len, reverse=True))


def parse_connection_string(text: str) -> ConnectionParameters:
    """Read `postgresql://user:password@host:port/database?sslmode=require` or `host=... port=... dbname=...`.

    SQLAlchemy's `postgresql+driver://` is taken too. Raises ConnectionStringInvalid.
    """
    stripped = text.strip()
    try:
        return _url(stripped) if "://" in stripped.split("=", 1)[0] else _pairs(stripped)
    except ConnectionStringInvalid:
        raise
    except ValueError:
        # Of the port, or of urllib: their messages quote the text.
        raise ConnectionStringInvalid("it has a part that cannot be read") from None


def _url(text: str) -> ConnectionParameters:
    scheme, _, rest = text.partition("://")
    if scheme.lower().partition("+")[0] not in SCHEMES:
        raise ConnectionStringInvalid("it is a URL, but not one of postgresql://")
    # A scheme that urllib splits like http's, whatever it was.
    parts = urlsplit(f"postgresql://{rest}")
    user_info, at, address = parts.netloc.rpartition("@")
    user, _, password = user_info.partition(":") if at else ("", "", "")
    found = dict(parse_qsl(parts.query, keep_blank_values=True))
    found.setdefault("user", unquote(user))
    found.setdefault("password", unquote(password))
    found.setdefault("dbname", unquote(parts.path.removeprefix("/")))
    if address:
        hosts, ports = zip(*(_host_and_port(one) for one in address.split(",")), strict=True)
        found.setdefault("host", ",".join(hosts))
        found.setdefault("port", ",".join(ports))
    return _parameters(found)


def _host_and_port(text: str) -> tuple[str, str]:
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        return host, rest.removeprefix(":")
    host, _, port = text.partition(":")
    return unquote(host), unquote(port)


def _pairs(text: str) -> ConnectionParameters:
    found: dict[str, str] = {}
    at = 0
    while at < len(text):
        if (pair := _PAIR.match(text, at)) is None:
            raise ConnectionStringInvalid('it is neither a postgresql:// URL nor pairs like "host=... dbname=..."')
        name, quoted, plain = pair.groups()
        found[name] = re.sub(r"\\(.)", r"\1", quoted if quoted is not None else plain, flags=re.DOTALL)
        at = pair.end()
    if not found:
        raise ConnectionStringInvalid("it is empty")
    return _parameters(found)


def _parameters(found: dict[str, str]) -> ConnectionParameters:
    address = found.get("hostaddr") if found.get("sslmode") != "verify-full" else None
    hosts = tuple(host for host in (address or found.get("host") or found.get("hostaddr") or "").split(",") if host)
    ports = tuple(int(port) if port else 5432 for port in found.get("port", "").split(",")) if found.get("port", "").strip(",") else ()
    if any(not 0 < port < 65_536 for port in ports):
        raise ConnectionStringInvalid("its port is none")
    if hosts and not ports and "port" in found:
        ports = (5432,)
    if len(ports) == 1:
        ports *= max(1, len(hosts))
    elif ports and len(ports) != len(hosts):
        raise ConnectionStringInvalid("it has another number of ports than of hosts")
    driver = {name: value for name, value in found.items() if name in DRIVER_PARAMETERS and value}
    if "sslmode" not in driver and (wanted := found.get("ssl", "")):
        # As other drivers spell it.
        driver["sslmode"] = {"true": "require", "1": "require", "false": "disable", "0": "disable"}.get(wanted, wanted)
    timeout = found.get("connect_timeout", "")
    return ConnectionParameters(
        hosts=hosts,
        ports=ports,
        user=found.get("user", ""),
        password=found.get("password", ""),
        database=found.get("dbname") or found.get("database", ""),
        driver=driver,
        server={name: value for name, value in found.items() if name in SERVER_PARAMETERS and value},
        connect_timeout_s=float(timeout) if timeout and float(timeout) > 0 else None,
    )
