"""The one way to connect to a target's MySQL or MariaDB: bounded in time, read-only, and gone afterwards.

async with connected(target, environ) as session:
    rows = await session.fetch("SELECT ...")
"""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from temporalio.exceptions import ApplicationError

from activities.connection_strings import connection_string
from activities.errors import refuse
from activities.slice_recorder import carried_out
from perfwright.analysis.database.connection_troubles import LOST, NO_ANSWER, NO_ROUTE, UNKNOWN_HOST, Trouble
from perfwright.analysis.database.own_statements import marked
from perfwright.analysis.mysql.connection_string import ConnectionParameters, ConnectionStringInvalid, parse_connection_string
from perfwright.analysis.mysql.connection_troubles import CONNECTION_REFUSED, TLS, trouble_of
from perfwright.models.errors import ErrorType
from perfwright.models.target import Target

PROGRAM_NAME = "perfwright"
CONNECT_S = 10.0
CLOSE_S = 5.0
STATEMENT_S = 30.0
"""For what we read of information_schema and performance_schema."""
LOCK_S = 1
"""The least that the server takes. We never make others queue behind us for longer."""
IDLE_S = 120
"""Should this worker be stopped in the middle, the server ends the session after this time (wait_timeout)."""
PATIENCE_S = 120.0
"""How long a window goes on without its server."""
_ERRORS = {"unreachable": ErrorType.DATABASE_UNREACHABLE, "refused": ErrorType.DATABASE_REFUSED, "failed": ErrorType.TOOL_FAILED}


class ServerError(Exception):
    """The server refused a statement: its number and its words."""

    def __init__(self, number: int, message: str) -> None:
        super().__init__(message)
        self.number, self.message = number, message


class MysqlSession:
    """A connection. Not for concurrent use."""

    def __init__(self, connection: Any, *, answer_s: float) -> None:
        self._connection, self._answer_s = connection, answer_s
        self.id = int(connection.thread_id())
        self.busy = False
        """A statement was sent and its answer is not there: also after a cancel or a timeout."""

    @property
    def mariadb(self) -> bool:
        return "mariadb" in str(self._connection.get_server_info()).lower()

    async def fetch(
        self, statement: str, parameters: Sequence[Any] | None = None, *, answer_s: float | None = None
    ) -> list[tuple[Any, ...]]:
        """All rows. Raises ServerError where the server refuses it, and what the driver raises where the connection is lost."""
        from pymysql.err import MySQLError

        from perfwright.analysis.mysql.connection_troubles import GONE

        self.busy = True
        try:
            async with asyncio.timeout(answer_s or self._answer_s):
                async with self._connection.cursor() as cursor:
                    await cursor.execute(marked(statement), parameters)
                    rows = await cursor.fetchall()
        except MySQLError as raised:
            number = _number(raised)
            self.busy = number in GONE
            if number and number not in GONE:
                raise ServerError(number, str(raised.args[-1])) from None
            raise
        self.busy = False
        return [tuple(row) for row in rows or ()]


def places(values: Sequence[Any]) -> str:
    """`(%s, %s)` for an IN over so many values, at least one: the driver takes no lists."""
    return f"({', '.join(['%s'] * len(values))})"


@asynccontextmanager
async def connected(
    target: Target, environ: Mapping[str, str], *, answer_s: float = 2 * STATEMENT_S, in_database: bool = False
) -> AsyncIterator[MysqlSession]:
    """A session on the server that `target.dsn_env` names in `environ`; closed when the block ends, a running statement killed.

    Its transactions are READ ONLY. Unless `in_database`, it has no default database: performance_schema and the slow log then tell our
    statements from the application's. Errors, also of what escapes the block: TargetRefused, DatabaseUnreachable, DatabaseRefused,
    ToolFailed.
    """
    parameters = connection_parameters(target, environ)
    with told(target, parameters, connecting=True):
        connection = await _connect(parameters, in_database=in_database)
        session = MysqlSession(connection, answer_s=answer_s)
        try:
            await _prepare(session)
        except BaseException:
            connection.close()
            raise
    with told(target, parameters):
        try:
            yield session
        finally:
            await carried_out(_close(session, connection, parameters))


def connection_parameters(target: Target, environ: Mapping[str, str]) -> ConnectionParameters:
    """Where and as whom to connect. Raises TargetRefused, with the name of the variable and nothing of its value."""
    text = connection_string(target, environ, "mysql://USER:PASSWORD@HOST/DATABASE")
    try:
        return parse_connection_string(text)
    except ConnectionStringInvalid as invalid:
        raise refuse(
            ErrorType.TARGET_REFUSED,
            f"the environment variable {target.dsn_env} of {target.title} holds no connection string that can be used: {invalid}",
            way_out="Write mysql://USER:PASSWORD@HOST:PORT/DATABASE",
        ) from None


@contextmanager
def told(target: Target, parameters: ConnectionParameters, *, connecting: bool = False) -> Iterator[None]:
    """What the driver and the server raise, as one of our errors; no host, user or password is in it."""
    try:
        yield
    except ApplicationError:
        raise
    except Exception as raised:
        if (trouble := _trouble(raised, connecting=connecting)) is None:
            raise
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


async def _connect(parameters: ConnectionParameters, *, in_database: bool) -> Any:
    import aiomysql

    class QuietCursor(aiomysql.Cursor):  # type: ignore[misc]  # the driver has no types
        """Without the driver's SHOW WARNINGS after each statement, which it tells as Python warnings."""

        async def _show_warnings(self, conn: Any) -> None:
            pass

    where: dict[str, Any] = {"unix_socket": parameters.socket} if parameters.socket else {"host": parameters.host, "port": parameters.port}
    return await aiomysql.connect(
        **where,
        user=parameters.user,
        password=parameters.password,
        db=parameters.database if in_database else None,
        connect_timeout=CONNECT_S,
        charset="utf8mb4",
        program_name=PROGRAM_NAME,
        autocommit=True,
        cursorclass=QuietCursor,
        ssl=_tls(parameters),
    )


def _tls(parameters: ConnectionParameters) -> ssl.SSLContext | None:
    if parameters.tls_mode in ("", "DISABLED", "PREFERRED"):
        return None
    context = ssl.create_default_context(cafile=parameters.tls_ca or None)
    context.check_hostname = parameters.tls_mode == "VERIFY_IDENTITY"
    if parameters.tls_mode == "REQUIRED":
        context.verify_mode = ssl.CERT_NONE
    return context


async def _prepare(session: MysqlSession) -> None:
    """Bounds of the session: it is ours alone, and ends with the connection."""
    limit = f"max_statement_time = {STATEMENT_S:g}" if session.mariadb else f"max_execution_time = {STATEMENT_S * 1000:.0f}"
    await session.fetch(
        f"SET SESSION lock_wait_timeout = {LOCK_S}, innodb_lock_wait_timeout = {LOCK_S}, wait_timeout = {IDLE_S}, {limit}",
        answer_s=CONNECT_S,
    )
    await session.fetch("SET SESSION TRANSACTION READ ONLY", answer_s=CONNECT_S)


async def _close(session: MysqlSession, connection: Any, parameters: ConnectionParameters) -> None:
    """Say goodbye. A statement that still runs is killed by a second connection: the server does not notice that we went away."""
    try:
        async with asyncio.timeout(CLOSE_S):
            if session.busy:
                connection.close()
                await _kill(session.id, parameters)
            else:
                await connection.ensure_closed()
    except Exception:
        # It is gone already, or bounded by the server's own limits; what closed it was told where it happened.
        connection.close()


async def _kill(number: int, parameters: ConnectionParameters) -> None:
    """KILL CONNECTION of our own session; nothing happens where it ended by itself."""
    other = await _connect(parameters, in_database=False)
    try:
        with suppress(ServerError):
            await MysqlSession(other, answer_s=CLOSE_S).fetch(f"KILL CONNECTION {number}")
    finally:
        await other.ensure_closed()


def _number(raised: Exception) -> int:
    return raised.args[0] if raised.args and isinstance(raised.args[0], int) else 0


def _trouble(raised: Exception, *, connecting: bool) -> Trouble | None:
    """The trouble behind an exception of the driver, the server, the operating system or TLS; None: none of those."""
    if isinstance(raised, ServerError):
        return trouble_of(raised.number, raised.message)
    if type(raised).__module__.startswith("pymysql"):
        cause = raised.__cause__
        if connecting and _number(raised) == 2003 and isinstance(cause, Exception):
            return _trouble(cause, connecting=True) or CONNECTION_REFUSED
        return trouble_of(_number(raised), str(raised.args[-1]) if raised.args else "") if _number(raised) else LOST
    match raised:
        case ssl.SSLError():
            return TLS
        case TimeoutError():
            return NO_ANSWER
        case socket.gaierror() if connecting:
            return UNKNOWN_HOST
        case ConnectionRefusedError() | FileNotFoundError() if connecting:
            return CONNECTION_REFUSED
        case ConnectionError() | EOFError():
            return LOST
        case OSError() if connecting:
            return CONNECTION_REFUSED if "refused" in str(raised).lower() else NO_ROUTE
        case RuntimeError() if connecting and "cryptography" in str(raised):
            return TLS
    return None
