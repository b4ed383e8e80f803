"""Which functions, operators, types and relations of a database are known to leave no trace when a query uses them."""

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from perfwright.analysis.statements import server_names
from perfwright.models.database import Catalog, FunctionFacts, TableFacts

SERVER_SCHEMAS = ("pg_catalog", "information_schema")
NOT_VETTED = "the catalog was not read: views and functions cannot be vetted"

NEVER_HARMLESS = re.compile(
    r"nextval|setval|setseed|set_config|txid_current|pg_current_xact_id|crosstab\w*|connectby|xpath_table|\w*query_to_xml\w*|"
    r"cursor_to_xml\w*|ts_stat|ts_rewrite|dblink\w*|http\w*|lo_\w+|loread|lowrite|pg_(?:read|ls|file|logdir|stat_file)_?\w*|"
    r"pg_sleep\w*|pg_(?:cancel|terminate)_backend|"
    r"pg_(?:reload_conf|rotate_logfile|switch_wal|promote|notify|nextoid|export_snapshot|prewarm|import_system_collations)\w*|"
    r"pg_(?:create|drop|copy|logical|replication|backup|start_backup|stop_backup|log|wal_replay|sync)_\w+|pg_(?:try_)?advisory_\w+|"
    r"pg_stat_\w*reset\w*|pg_stat_(?:clear|force)\w*|pg_(?:clear|restore)_\w+|binary_upgrade_\w+|brin_\w+|gin_clean\w*|hypopg\w*|"
    r"run_command_on_\w+"
)
"""By name, whatever schema and volatility they are declared with: tablefunc's `crosstab` is STABLE, and runs any SQL it is given."""

_EXTENSION_OPERATORS = {
    "vector": "<-> <#> <=> <+> <~> <%>",
    "pg_trgm": "% <% %> <<% %>> <-> <<-> <->> <<<-> <->>>",
    "hstore": "-> => ? ?& ?| @> <@ #= %% %# ||",
    "ltree": "@> <@ ~ ? @ ^@> ^<@ ^~ ^? ^@ ?@> ?<@ ?~ ?@ ||",
    "intarray": "&& @> <@ # + - | & @@ ~~",
    "postgis": "&& &&& &< &<| &> <<| >> << |>> |&> @ ~ ~= = <-> |=| <#> <<->> <<#>> &/& ~~ @@",
    "btree_gist": "<->",
    "cube": "&& @> <@ -> ~> <-> <#> <=>",
    "pgroonga": "&@ &@~",
}
_EXTENSION_TYPES = {
    "vector": "vector halfvec sparsevec",
    "hstore": "hstore",
    "citext": "citext",
    "ltree": "ltree lquery ltxtquery",
    "postgis": "geometry geography box2d box3d",
    "cube": "cube",
    "isn": "ean13 isbn isbn13 ismn ismn13 issn issn13 upc",
    "seg": "seg",
}


@dataclass(frozen=True)
class Relation:
    """What a name in FROM stands for."""

    title: str
    definition: str = ""
    """Of a view."""
    doubt: str = ""
    """Why reading it may have side effects."""


class KnownNames:
    """Looks names up in the server's own and in a catalog. Each `*_doubt` tells why a name is not known to be harmless; empty: it is."""

    def __init__(self, catalog: Catalog | None, extensions: Iterable[str] = ()) -> None:
        self._read = catalog is not None
        self._functions: dict[str, list[FunctionFacts]] = defaultdict(list)
        self._tables: dict[str, list[TableFacts]] = defaultdict(list)
        self._views: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._foreign: list[frozenset[str]] = []
        installed = frozenset(extensions)
        self._operators = server_names.OPERATORS.union(*(_EXTENSION_OPERATORS.get(one, "").split() for one in installed))
        self._types = frozenset(word for one in installed for word in _EXTENSION_TYPES.get(one, "").split())
        if catalog is None:
            return
        for function in catalog.functions:
            self._functions[function.name.lower()].append(function)
        for table in catalog.tables:
            self._tables[table.name].append(table)
            if table.kind == "foreign table":
                self._foreign.append(frozenset(column.name for column in table.columns))
        for title, definition in catalog.views.items():
            parts = title.split(".")
            # A name may have dots itself: every way to cut it counts.
            for cut in range(1, len(parts)):
                self._views[".".join(parts[cut:])].append((".".join(parts[:cut]), definition))

    def function_doubt(self, name: tuple[str, ...]) -> str:
        """Of a function as it is called: `("count",)`, `("public", "f")`."""
        if not name:
            return "a function without a name"
        schema, own, shown = (name[-2] if len(name) > 1 else ""), name[-1], ".".join(name)
        if not self._read:
            return f"calls {shown}: {NOT_VETTED}"
        if NEVER_HARMLESS.fullmatch(own.lower()):
            return f"calls {shown}, which has side effects"
        declared = [one for one in self._functions.get(own.lower(), ()) if not schema or one.schema_name == schema]
        if any(self._volatile(one) for one in declared):
            return f"calls {shown}, which is volatile"
        of_server = own in server_names.HARMLESS_FUNCTIONS or own in server_names.VOLATILE_BUT_HARMLESS
        if of_server and schema in ("", "pg_catalog"):
            return ""
        return "" if declared else f"calls {shown}, which is not known"

    def field_doubt(self, name: str) -> str:
        """Of `t.name`: a function of one row may be called like a column (postgresql.org/docs/current/rowtypes.html)."""
        found = self._functions.get(name.lower(), ())
        if any(one.schema_name != "pg_catalog" and self._volatile(one) for one in found):
            return f"{name} may be a call of the volatile function of that name"
        return ""

    def operator_doubt(self, name: tuple[str, ...]) -> str:
        """Of an operator; no name is none."""
        if not name or (len(name) == 1 and (name[0] in self._operators or name[0].isalpha() or " " in name[0])):
            return ""
        if len(name) > 1 and name[-2] == "pg_catalog" and name[-1] in server_names.OPERATORS:
            return ""
        return f"operator {'.'.join(name)} is not known"

    def type_doubt(self, name: tuple[str, ...], *, percent_type: bool = False) -> str:
        """Of a type that is cast to: a domain's checks may call functions, and a type of a user has functions that read its text."""
        own = name[-1] if name else ""
        if not percent_type and len(name) <= 2 and name[:-1] in ((), ("pg_catalog",)) and own.removeprefix("_") in server_names.TYPES:
            return ""
        if not percent_type and own in self._types:
            return ""
        return f"casts to type {'.'.join(name)}: a domain's checks may call functions"

    def of_server(self, name: str, schema: str) -> bool:
        return schema in SERVER_SCHEMAS or (not schema and name in server_names.RELATIONS)

    def relations(self, name: str, schema: str) -> list[Relation]:
        """All that the name may stand for, along any search path; none when it is not known."""
        if schema in SERVER_SCHEMAS:
            return [Relation(f"{schema}.{name}")]
        title = f"{schema}.{name}" if schema else name
        if not self._read:
            return [Relation(title, doubt=f"reads {title}: {NOT_VETTED}")]
        found = [Relation(name)] if self.of_server(name, schema) else []
        tables = [table for table in self._tables.get(name, ()) if schema in ("", table.schema_name)]
        views = [(owner, definition) for owner, definition in self._views.get(name, ()) if schema in ("", owner)]
        found += [Relation(table.title, doubt=self._table_doubt(table)) for table in tables]
        for owner, definition in views:
            # The server ends every definition so: one without is cut, and what is left of it may read well.
            doubt = "" if definition.rstrip().endswith(";") else f"the definition of view {owner}.{name} is not known to its end"
            found.append(Relation(f"{owner}.{name}", definition, doubt))
        return found

    def _table_doubt(self, table: TableFacts) -> str:
        if table.kind == "foreign table":
            return f"{table.title} is a foreign table: what reading it does elsewhere is not known"
        columns = frozenset(column.name for column in table.columns)
        # A child table has all columns of its parent, so only such a foreign table can be read along with it.
        if table.kind != "materialized view" and any(columns <= foreign for foreign in self._foreign):
            return f"a foreign table may be a part of {table.title}"
        return ""

    @staticmethod
    def _volatile(function: FunctionFacts) -> bool:
        if not function.volatile:
            return False
        of_server = function.schema_name == "pg_catalog" and function.name in server_names.VOLATILE_BUT_HARMLESS
        return not (of_server or function.known_harmless)
