"""Connection strings, in the forms that asyncpg and SQLAlchemy take."""

from urllib.parse import quote, urlsplit, urlunsplit

VARIABLE = "SHOP_DB_DSN"


def plain(dsn: str) -> str:
    """`postgresql://...`, as asyncpg takes it."""
    scheme, _, rest = dsn.partition("://")
    return f"{scheme.partition('+')[0]}://{rest}"


def for_sqlalchemy(dsn: str) -> str:
    """`postgresql+asyncpg://...`."""
    return f"postgresql+asyncpg://{dsn.partition('://')[2]}"


def with_database(dsn: str, name: str) -> str:
    """The same server and user, another database."""
    parts = urlsplit(dsn)
    return urlunsplit(parts._replace(path=f"/{quote(name)}"))


def quoted(name: str) -> str:
    """An SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
