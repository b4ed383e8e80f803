"""The one way to connect to a target's PostgreSQL: bounded in time, marked, through poolers too, and gone afterwards.

async with connected(target, environ) as connection, reading(connection):
    rows = await connection.fetch("SELECT ...")
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from temporalio.exceptions import ApplicationError

from activities.connection_strings import connection_string
from activities.errors import refuse
from perfwright.analysis.database.connection_string import ConnectionParameters, ConnectionStringInvalid, parse_connection_string
from perfwright.analysis.database.connection_troubles import (
    CONNECTION_REFUSED,
    LOST,
    NO_ANSWER,
    NO_ROUTE,
    REFUSED_SETTING,
    TLS,
    TLS_FILES,
    UNKNOWN_HOST,
    Trouble,
    trouble_of,
)
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

if TYPE_CHECKING:
    import asyncpg

APPLICATION_NAME = "perfwright"
CONNECT_S = 10.0
"""libpq waits for ever by default; a server that needs longer for a login cannot be examined."""
CLOSE_S = 5.0
STATEMENT_S = 30.0
"""For what we read of catalogs and views: it takes milliseconds on a sound server."""
LOCK_S = 0.5
"""We never make others queue behind us: what waits for a lock blocks all who come after it."""
IDLE_S = 60.0
"""Should this worker be stopped in the middle of a transaction, the server ends it after this time."""
PATIENCE_S = 120.0
"""How long a window goes on without its server, until a restart of it counts as its end. Recovery after a crash may take minutes."""
PING = "SELECT pg_catalog.pg_backend_pid(), pg_catalog.pg_postmaster_start_time(), pg_catalog.inet_client_port()"
"""Asks for a first answer. In a shape of its own: with `SELECT 1` the application's health checks would be taken for ours."""
LOCAL_SETTINGS = ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout", "search_path", "jit")
"""What `reading` sets for its transaction only."""
_ERRORS = {"unreachable": ErrorType.DATABASE_UNREACHABLE, "refused": ErrorType.DATABASE_REFUSED, "failed": ErrorType.TOOL_FAILED}


@asynccontextmanager
async def connected(
    target: Target,
    environ: Mapping[str, str],
    *,
    read_only: bool = True,
    answer_s: float | None = None,
    session: Mapping[str, str] | None = None,
) -> "AsyncIterator[asyncpg.Connection]":
    """A connection to the database that `target.dsn_env` names in `environ`; closed when the block ends, a running statement cancelled.

    With `read_only` its transactions are READ ONLY. Nothing is set for the session: a pooler would hand that to others; set things
    with SET LOCAL in a transaction; or by `session`, which is for direct connections. `answer_s` bounds the wait for every answer (a
    statement's own timeout is the server's matter).
    Errors, also of what escapes the block: TargetRefused (no connection string), DatabaseUnreachable, DatabaseRefused, ToolFailed.
    """
    parameters = connection_parameters(target, environ)
    with told(target, parameters, connecting=True):
        connection = await _connect(parameters, read_only=read_only, answer_s=answer_s, session=session or {})
    with told(target, parameters):
        try:
            yield connection
        finally:
            await _close(connection)


@asynccontextmanager
async def reading(
    connection: "asyncpg.Connection", *, statement_timeout_s: float = STATEMENT_S, lock_timeout_s: float = LOCK_S
) -> AsyncIterator[None]:
    """A READ ONLY transaction whose waits the server bounds.

    Only names of pg_catalog are found without a schema: nobody can put a function of theirs in the way of ours, and what the server
    writes (types, definitions) names schemas in full.
    """
    async with connection.transaction(readonly=True):
        await connection.execute(
            "SELECT pg_catalog.set_config(name, value, true) FROM unnest($1::text[], $2::text[]) AS local (name, value)",
            # Our queries have large cost estimates and few rows: compiling them would cost more than running them.
            list(LOCAL_SETTINGS),
            [str(round(statement_timeout_s * 1000)), str(round(lock_timeout_s * 1000)), str(round(IDLE_S * 1000)), "pg_catalog", "off"],
        )
        yield


def connection_parameters(target: Target, environ: Mapping[str, str]) -> ConnectionParameters:
    """Where and as whom to connect. Raises TargetRefused, with the name of the variable and nothing of its value."""
    text = connection_string(target, environ, "postgresql://USER:PASSWORD@HOST/DATABASE")
    try:
        return parse_connection_string(text)
    except ConnectionStringInvalid as invalid:
        raise _unreadable(target, str(invalid)) from None


@contextmanager
def told(target: Target, parameters: ConnectionParameters, *, connecting: bool = False) -> Iterator[None]:
    """What the driver and the server raise, as one of our errors; no host, user or password is in it."""
    try:
        yield
    except ApplicationError:
        raise
    except Exception as raised:
        trouble = _of_files(raised, parameters) if connecting else None
        if (trouble := trouble or _trouble(raised, connecting=connecting)) is None:
            if connecting and isinstance(raised, ValueError | KeyError):
                raise _unreadable(target, "the driver cannot use one of its parameters") from None
            raise
        if connecting and trouble.kind == "failed":
            trouble = REFUSED_SETTING
        text = f"the server of {target.title} {trouble.cause}"
        for secret in parameters.secrets:
            text = text.replace(secret, "***")
        raise refuse(_ERRORS[trouble.kind], text, way_out=trouble.way_out, retryable=trouble.passes) from None


def went_away(raised: BaseException) -> bool:
    """Whether the connection is gone or the server takes none now: another attempt may find it again."""
    if isinstance(raised, ApplicationError):
        return raised.type == ErrorType.DATABASE_UNREACHABLE
    trouble = _trouble(raised, connecting=False) if isinstance(raised, Exception) else None
    return trouble is not None and trouble.kind == "unreachable"


async def _connect(
    parameters: ConnectionParameters, *, read_only: bool, answer_s: float | None, session: Mapping[str, str]
) -> "asyncpg.Connection":
    import asyncpg

    from activities.postgres_driver import MarkedConnection, WritingConnection

    options: dict[str, Any] = {
        "host": list(parameters.hosts) or None,
        "port": list(parameters.ports) or None,
        "user": parameters.user or None,
        "password": parameters.password or None,
        "database": parameters.database or None,
    }
    return await asyncpg.connect(
        f"postgresql:///?{urlencode(parameters.driver)}",
        **options,
        timeout=min(CONNECT_S, parameters.connect_timeout_s or CONNECT_S),
        command_timeout=answer_s,
        # Statements without names, parsed at each call: a pooler may give every transaction another server connection.
        statement_cache_size=0,
        connection_class=MarkedConnection if read_only else WritingConnection,
        server_settings={"application_name": APPLICATION_NAME} | parameters.server | dict(session),
    )


async def _close(connection: "asyncpg.Connection") -> None:
    """Say goodbye, after the cancel request of a running statement; drop the connection where that takes too long."""
    closing = asyncio.ensure_future(connection.close(timeout=CLOSE_S))
    try:
        await asyncio.shield(closing)
    except asyncio.CancelledError:
        await asyncio.wait([closing], timeout=CLOSE_S)
        connection.terminate()
        raise
    except Exception:
        # It is gone already, which is what we wanted; what closed it was told where it happened.
        connection.terminate()


def _trouble(raised: Exception, *, connecting: bool) -> Trouble | None:
    """The trouble behind an exception of the driver, the server, the operating system or TLS; None: none of those.

    Once connected, only what becomes of a connection is one: other errors of the operating system come from elsewhere in the block.
    """
    if isinstance(state := getattr(raised, "sqlstate", None), str):
        return trouble_of(state, str(raised))
    match raised:
        case ssl.SSLError():
            return TLS
        case TimeoutError():
            return NO_ANSWER
        case socket.gaierror() if connecting:
            return UNKNOWN_HOST
        case ConnectionRefusedError() | FileNotFoundError() if connecting:
            # FileNotFoundError: the socket of a server on this machine.
            return CONNECTION_REFUSED
        case ConnectionResetError() | BrokenPipeError() | EOFError():
            return LOST
        case ConnectionError() if "SSL" in str(raised):
            return TLS
        case ConnectionError():
            return LOST
        case OSError() if connecting:
            return _of_several(raised) or NO_ROUTE
    return LOST if _is_drivers(raised) and _closed_unseen(raised) else None


def _closed_unseen(raised: Exception) -> bool:
    """The driver's own words for a session that the server ended while nothing was asked: it notices at the next statement, and in the
    moment in between it stumbles over the server's farewell."""
    return type(raised).__name__ == "InternalClientError" or ("connection" in str(raised) and "clos" in str(raised))


def _of_files(raised: Exception, parameters: ConnectionParameters) -> Trouble | None:
    """Certificates that cannot be read: the driver says so in words of its own, or as a missing file."""
    named = {"sslcert", "sslkey", "sslrootcert", "sslcrl"} & parameters.driver.keys()
    local = any(host.startswith("/") for host in parameters.hosts)
    missing = isinstance(raised, FileNotFoundError | PermissionError) and named and not local
    return TLS_FILES if missing or (_is_drivers(raised) and "certificate file" in str(raised)) else None


def _of_several(raised: OSError) -> Trouble | None:
    """asyncio joins the errors of several addresses (IPv4 and IPv6 of one name) into one text."""
    text = str(raised)
    return CONNECTION_REFUSED if "Multiple exceptions" in text and "refused" in text.lower() else None


def _is_drivers(raised: Exception) -> bool:
    return type(raised).__module__.startswith("asyncpg")


def _unreadable(target: Target, why: str) -> ApplicationError:
    return refuse(
        ErrorType.TARGET_REFUSED,
        f"the environment variable {target.dsn_env} of {target.title} holds no connection string that can be used: {why}",
        way_out="Write postgresql://USER:PASSWORD@HOST:PORT/DATABASE, or host=... port=... dbname=... user=... password=...",
    )
