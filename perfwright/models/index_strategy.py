"""Input and details of IndexStrategyOptimization."""

import json
from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts, NotSeen
from perfwright.models.measurement import Interval
from perfwright.models.query_performance import LARGEST_INPUT_BYTES, LARGEST_SQL, FilePath, QueryPerformanceRequest, Sql
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.target import EnvironmentVariable, InlineDatabase, TargetName
from perfwright.models.trial_run import TrialEnd
from perfwright.models.unverified_indexes import StatisticsPolicy, UnverifiedStrategy
from perfwright.models.vocabulary import Input, Model, Share
from perfwright.models.workload import Workload

PROCESS = "IndexStrategyOptimization"
MOST_CHANGES = 40
IndexText = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]
OVERRIDABLE: dict[str, str] = {
    "leave_out": "titles of proposals that are not wanted: `orders(customer_id)`, `drop public.orders_old_idx`",
    "add_indexes": "indexes to try as well: `CREATE INDEX ON orders (customer_id, placed_at DESC) INCLUDE (total)`",
    "least_gain_share": "share of the workload's time that an index has to save",
    "budget_mb": "megabytes that all new indexes may take together",
    "write_growth_most": "share by which writes may put more into the WAL",
}
"""What `request_changes` at `strategy` may change."""


class IndexStrategyRequest(Input):
    """Which indexes should exist?"""

    target: TargetName | InlineDatabase
    """Name of a PostgreSQL database in the registry."""
    window_s: Annotated[float, Field(ge=1.0, le=86_400.0)] = 60.0
    """Seconds to observe the server's statements and log."""
    workload: Workload | None = None
    """Command that loads the database while it is observed."""
    log_files: Annotated[tuple[FilePath, ...], Field(max_length=64)] = ()
    """Server logs to read on the target's host; the server's own log of the window when not given."""
    statements: Annotated[tuple[Sql, ...], Field(max_length=500)] = ()
    """SQL of the workload besides what was observed."""
    sql_file: FilePath | None = None
    """File on the target's host with SQL of the workload: statements that end with a semicolon."""
    top: Annotated[int, Field(ge=1, le=200)] = 50
    """How many statements to look at, by total time in the window; given SQL is always looked at."""
    min_share: Share = 0.002
    """Share of the time in the window below which a statement is not looked at."""
    budget_mb: Annotated[float, Field(ge=0.0, le=1e9)] = 1_000.0
    """Megabytes that all new indexes may take together."""
    write_growth_most: Annotated[float, Field(ge=0.0, le=10.0)] = 0.25
    """Share by which the workload's writes may put more into the WAL with all new indexes."""
    least_gain_share: Share = 0.05
    """Share of the workload's time that a new index has to save, or it is not worth its upkeep."""
    add_indexes: Annotated[tuple[IndexText, ...], Field(max_length=MOST_CHANGES)] = ()
    """Indexes to try as well, as CREATE INDEX on columns."""
    leave_out: Annotated[tuple[IndexText, ...], Field(max_length=100)] = ()
    """Titles of proposals that are not wanted."""
    drop_redundant: bool = True
    """Whether duplicates and prefixes of other indexes are proposed to be dropped."""
    drop_invalid: bool = True
    """Whether what a failed build left behind is proposed to be dropped."""
    clone_dsn_env: EnvironmentVariable | None = None
    """Variable of the worker's environment with the connection string of a disposable server for clones, as superuser; needed for targets
    in production. When not given, clones are made beside the database, on its own server."""
    clone_limit_mb: Annotated[float, Field(ge=1.0, le=1e7)] = 20_000.0
    """A larger database is not cloned."""
    statistics_clone: StatisticsPolicy | None = None
    """Where no clone with rows can be made: whether the planner is asked on a clone of statistics alone, on the worker's host, for advice
    that nothing was measured of. Statistics hold values of rows; None: where needed, and never for targets in production."""
    clone_limit_s: Annotated[float, Field(ge=10.0, le=86_400.0)] = 1_800.0
    """Seconds that making one clone may take."""
    measure_s: Annotated[float, Field(ge=1.0, le=3_600.0)] = 60.0
    """Seconds to search by measuring on a clone, and half of it again to verify on another."""
    statement_timeout_s: Annotated[float, Field(ge=0.1, le=600.0)] = 5.0
    """Seconds that one execution on a clone may take; a statement that is cut off without an index may still become quick with one."""
    trial_s: Annotated[float, Field(ge=5.0, le=3_600.0)] = 60.0
    """Seconds that each change is measured, after it was made."""
    lock_timeout_s: Annotated[float, Field(ge=0.01, le=600.0)] = 2.0
    """Seconds that a build on the target waits for a lock or an older transaction."""
    watch_s: Annotated[float, Field(ge=0.0, le=7_776_000.0)] = 86_400.0
    """Seconds that the use of kept indexes is watched; the run sleeps meanwhile. Guards on the live server: of each kept change, ten
    minutes at most."""
    mask_literals: bool | None = None
    """Whether values of statements are left out of artifacts, report and history; None: for targets in production."""
    review_deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] = 86_400.0
    """Seconds a gate waits for a person."""
    max_revisions: Annotated[int, Field(ge=0, le=20)] = 3
    """How many times `request_changes` may change the strategy."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if (given := sum(map(len, self.statements))) > LARGEST_SQL:
            raise ValueError(f"statements: at most {LARGEST_SQL:,} characters in all (got {given:,}); put more into a file: sql_file")
        if (size := len(self.model_dump_json().encode())) > LARGEST_INPUT_BYTES:
            raise ValueError(
                f"the input has {size:,} bytes as JSON, at most {LARGEST_INPUT_BYTES:,} are taken; put SQL into a file: sql_file"
            )
        return self

    @property
    def target_name(self) -> str:
        return self.target if isinstance(self.target, str) else self.target.slug

    @property
    def observation(self) -> QueryPerformanceRequest:
        """What QueryPerformanceAnalysis' steps of observing and grouping are asked."""
        return QueryPerformanceRequest(
            target=self.target,
            window_s=self.window_s,
            workload=self.workload,
            log_files=self.log_files,
            statements=self.statements,
            sql_file=self.sql_file,
            top=self.top,
            min_share=self.min_share,
            mask_literals=self.mask_literals,
        )

    def decided(self, environment: str) -> "IndexStrategyRequest":
        """For a target of this environment; decided once: a registry may change while a gate is open."""
        masks = environment == PRODUCTION if self.mask_literals is None else self.mask_literals
        statistics = self.statistics_clone or ("never" if environment == PRODUCTION else "where needed")
        return self.model_copy(update={"mask_literals": masks, "statistics_clone": statistics})

    def revised(self, overrides: dict[str, Any]) -> "IndexStrategyRequest":
        """The request with a person's overrides, validated as a whole; raises ValidationError."""
        return IndexStrategyRequest.model_validate_json(json.dumps(self.model_dump(mode="json") | overrides))


def workflow_id(request: IndexStrategyRequest) -> str:
    """`index-strategy-optimization/shop-db`: one run per target at a time."""
    return f"index-strategy-optimization/{request.target_name}"


WhatIfMethod = Literal["hypopg on a clone", "hidden indexes on a clone"]


class QueryEffect(Model):
    """What a set of indexes does to one statement, measured in pairs on a clone."""

    fingerprint: str
    text: str
    """Normalized, shortened."""
    weight: float = 1.0
    """Of all queries, scaled to a mean of 1."""
    ratio: float
    """Time with over time without."""
    interval: Interval | None = None
    pairs: int = 0
    slower_pairs: int = 0
    blocks_before: int = 0
    blocks_after: int = 0
    suspicious: bool = False
    """It may have become slower."""


class WriteEffect(Model):
    """What a write of the workload puts into the WAL, without and with the indexes; rolled back, the same in every run."""

    fingerprint: str
    text: str
    weight: float = 1.0
    bytes_before: int
    bytes_after: int
    records_before: int = 0
    records_after: int = 0
    updated_rows: int = 0
    hot_before: int = 0
    """Of the updated rows, those that stayed on their page's chain (HOT)."""
    hot_after: int = 0
    note: str = ""


class IndexProposal(Model):
    """One change that is put before a person."""

    title: str
    """`orders(customer_id, placed_at) INCLUDE (total)`, or `drop public.orders_old_idx`."""
    action: Literal["create", "drop", "remove invalid"]
    name: str
    """With its schema, as SQL writes it."""
    ddl: str
    undo: str = ""
    reason: str = ""
    bytes: int = 0
    """Of the index: real, on the clone; of a drop what it frees."""
    helps: tuple[str, ...] = ()
    """Fingerprints of the queries whose plans read it."""
    keeper: str = ""
    """Of a drop: the index that serves in its place."""


class IndexStrategy(Model):
    """What was found to be the best, with its evidence; the answer of the step that verifies."""

    proposals: tuple[IndexProposal, ...] = ()
    effects: tuple[QueryEffect, ...] = ()
    """Of all new indexes together."""
    writes: tuple[WriteEffect, ...] = ()
    geomean_gain: float = 1.0
    """How many times faster, as the weighted geometric mean over all queries that were looked at."""
    write_growth: float = 0.0
    """Share of more WAL over the workload's writes."""
    write_growth_source: Literal["measured", "estimated", "no writes"] = "no writes"
    queries: int = 0
    """Looked at."""
    measured_dropped: tuple[str, ...] = ()
    """Titles of indexes that the search chose and verification let go, with the reason."""
    seconds: float = 0.0
    kept_in: str = ""
    """Where the target's host keeps queries and writes with their values, for the trials."""
    calls: dict[str, float] = {}
    """Fingerprint -> calls in the window, of queries and writes that can be run."""
    readers: dict[str, tuple[str, ...]] = {}
    """`schema.table` -> fingerprints of queries that read it, those of the most time first."""
    role: str = ""
    """Whose sessions clones were planned like; empty: our own role's."""
    warnings: tuple[str, ...] = ()

    @property
    def bytes(self) -> int:
        return sum(one.bytes for one in self.proposals if one.action == "create")


class TriedIndex(Model):
    """How one change ended."""

    proposal: IndexProposal
    end: TrialEnd
    reason: str = ""
    change_id: str = ""
    ratio: float | None = None
    """Of the queries that read it, the geometric mean of measured ratios."""
    gain_per_mb: float | None = None
    """Log of the gain per megabyte."""
    workflow_id: str = ""


class IndexUse(Model):
    """Scans of an index, while it was watched."""

    name: str
    scans: int
    """Since it was kept."""
    bytes: int = 0
    watched_s: float = 0.0
    note: str = ""


class ExistingIndex(Model):
    """What there is to say about an index that exists."""

    name: str
    table: str
    kind: Literal["duplicate", "prefix", "unused", "invalid", "bloated"]
    reason: str
    bytes: int = 0
    keeper: str = ""
    definition: str = ""
    undo: tuple[str, ...] = ()


class ExistingIndexes(Model):
    """The answer of the step that looks at them."""

    indexes: int = 0
    bytes: int = 0
    noted: tuple[ExistingIndex, ...] = ()
    not_judged: str = ""
    """Why it cannot be told which are unused; empty: it can."""
    of_unknown_age: tuple[str, ...] = ()
    """`schema.index` of those that nobody scanned, and that may have been made since: nothing is advised of them."""
    foreign_keys_without_index: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


class SearchFacts(Model):
    """How the search went."""

    method: WhatIfMethod = "hypopg on a clone"
    clone: str = ""
    """How clones were made: `copied beside the database`."""
    candidates: int = 0
    plans_asked: int = 0
    search_s: float = 0.0
    built: int = 0
    plans_timed: int = 0
    measuring_s: float = 0.0
    finished: bool = False
    not_looked_at: tuple[str, ...] = ()
    """Statements without a part in the search, with the reason."""


class IndexStrategyDetails(Model):
    """What IndexStrategyOptimization adds to the common result."""

    database: DatabaseFacts | None = None
    window_s: float = 0.0
    existing: ExistingIndexes | None = None
    search: SearchFacts | None = None
    strategy: IndexStrategy | None = None
    unverified: UnverifiedStrategy | None = None
    """Where no clone with rows could be made: what the planner's costs speak for. Nothing is proposed then, and nothing changed."""
    tried: tuple[TriedIndex, ...] = ()
    use: tuple[IndexUse, ...] = ()
    delivered: tuple[ArtifactRef, ...] = ()
    """Kept changes as migrations, so that schemas do not diverge."""
    not_seen: tuple[NotSeen, ...] = ()
    statement_table: ArtifactRef | None = None
    catalog: ArtifactRef | None = None
    warnings: tuple[str, ...] = ()
