"""What a database server is, has and allows: read from its catalogs and views, never from rows of its tables."""

from typing import Literal

from perfwright.models.vocabulary import Model

DatabaseSystem = Literal["postgresql", "mysql", "mariadb"]


class NotSeen(Model):
    """Something that could not be looked at: the result says so instead of keeping silent."""

    what: str
    """`statements over time`, `server log`, `statements of other users`."""
    reason: str
    way_out: str = ""
    """The extension, setting or grant that would show it."""

    @property
    def sentence(self) -> str:
        return f"{self.what} not seen: {self.reason}" + (f". {self.way_out}" if self.way_out else "")


class Setting(Model):
    """One server setting as it is in force for our session."""

    name: str
    value: str
    unit: str = ""
    source: str = ""
    """`default`, `configuration file`, `database`, `user`, ..."""


class DatabaseFacts(Model):
    """The server and our rights on it, without secrets: no host, user password or connection string."""

    system: DatabaseSystem
    version: str
    """`15.18`."""
    version_number: int
    """`server_version_num` of PostgreSQL: 150018; of the MySQL family 101119 for 10.11.19."""
    database: str
    role: str = ""
    """Who we are there."""
    standby: bool = False
    superuser: bool = False
    reads_all_stats: bool = False
    """Member of pg_read_all_stats (or superuser): sees the statements of others."""
    pooler: str = ""
    """`pgbouncer in transaction mode`; empty: a direct connection."""
    extensions: dict[str, str] = {}
    """Installed in this database: name -> version."""
    available_extensions: tuple[str, ...] = ()
    preloaded: tuple[str, ...] = ()
    """shared_preload_libraries."""
    settings: tuple[Setting, ...] = ()
    """Those that decide plans, memory and logging."""
    size_bytes: int = 0
    log_folder: str = ""
    """Where the server writes its log, as it tells it (or as the target is configured)."""
    log_format: str = ""
    """`jsonlog`, `csvlog`, `stderr`; empty when unknown."""
    not_seen: tuple[NotSeen, ...] = ()

    def setting(self, name: str) -> str | None:
        return next((setting.value for setting in self.settings if setting.name == name), None)


class ColumnFacts(Model):
    """A column with what the planner knows of it. No values: those are rows."""

    name: str
    type: str
    """As `format_type` writes it: `character varying(20)`, `timestamp with time zone`."""
    not_null: bool = False
    distinct: float | None = None
    """n_distinct as in pg_stats: below 0 a share of the rows; None when never analyzed."""
    null_share: float | None = None
    average_width_bytes: int | None = None
    correlation: float | None = None
    """Of the physical with the logical order, -1 to 1."""
    common_share: float | None = None
    """Share of rows that have the commonest value."""
    statistics_target: int | None = None


class IndexFacts(Model):
    """An index."""

    name: str
    definition: str
    """As `pg_get_indexdef` writes it: what restores it."""
    keys: tuple[str, ...]
    """Key columns or expressions, in order, as the server writes them."""
    include: tuple[str, ...] = ()
    method: str = "btree"
    unique: bool = False
    primary: bool = False
    constraint: bool = False
    """Backs a constraint or replica identity: never to be dropped."""
    valid: bool = True
    predicate: str = ""
    bytes: int = 0
    scans: int | None = None
    oid: int = 0
    """Of PostgreSQL; a rebuilt index has another. 0: not known."""


class ForeignKeyFacts(Model):
    """A foreign key from this table."""

    name: str
    columns: tuple[str, ...]
    references_schema: str
    references_table: str
    references_columns: tuple[str, ...]


class TableFacts(Model):
    """A table (or partition, or materialized view)."""

    schema_name: str
    name: str
    kind: Literal["table", "partitioned table", "materialized view", "foreign table"] = "table"
    rows: float = 0.0
    """As the planner believes (reltuples); -1 when never analyzed."""
    bytes: int = 0
    """Without indexes, with TOAST."""
    pages: int = 0
    live_rows: int | None = None
    dead_rows: int | None = None
    modified_rows: int | None = None
    """Since the last ANALYZE."""
    analyzed_at: str = ""
    """Last ANALYZE, automatic or not; empty: never."""
    vacuumed_at: str = ""
    all_visible_share: float | None = None
    sequential_scans: int | None = None
    index_scans: int | None = None
    inserted_rows: int | None = None
    updated_rows: int | None = None
    hot_updated_rows: int | None = None
    deleted_rows: int | None = None
    columns: tuple[ColumnFacts, ...] = ()
    indexes: tuple[IndexFacts, ...] = ()
    foreign_keys: tuple[ForeignKeyFacts, ...] = ()
    extended_statistics: tuple[str, ...] = ()
    """Definitions of its CREATE STATISTICS objects."""

    @property
    def title(self) -> str:
        return self.name if self.schema_name in ("public", "") else f"{self.schema_name}.{self.name}"

    def column(self, name: str) -> ColumnFacts | None:
        return next((column for column in self.columns if column.name == name), None)


class FunctionFacts(Model):
    """A function that statements call, and whether it may have side effects."""

    name: str
    """Without schema, lower case: as statements call it."""
    volatile: bool
    """Some overload of this name is volatile."""
    schema_name: str = ""
    known_harmless: bool = False
    """Volatile, but one of the server's own that only reads (clock_timestamp, random)."""


class Catalog(Model):
    """Tables of one database. Kept as an artifact (JSON, gzipped): it may be large."""

    database: str
    search_path: tuple[str, ...] = ("public",)
    """Schemas that unqualified names are looked up in, in order."""
    tables: tuple[TableFacts, ...] = ()
    views: dict[str, str] = {}
    """`schema.name` -> definition."""
    functions: tuple[FunctionFacts, ...] = ()
    """Of user schemas all, of the server's own the volatile ones."""
    left_out: int = 0
    """Tables beyond the bound: the smallest are not listed."""

    def table(self, name: str, schema_name: str = "") -> TableFacts | None:
        """By name; without a schema along the search path."""
        found = {one.schema_name: one for one in self.tables if one.name == name}
        if schema_name:
            return found.get(schema_name)
        return next((found[schema] for schema in (*self.search_path, *found) if schema in found), None)
