"""What each plan rule stands for: the cause it names, what to do, how much of the time at the node that may win.

`won` is (least, expected, most) of the time of the nodes that were hit. Where a what-if plan or a measured rewrite exists, that decides;
these are the assumptions without one, from what the remedy takes away: an index leaves the rows that are kept (rules R01 to R03 ask for
90 % removed); memory takes away the writing and reading of temporary files, not the sort; a finding that only says where to look
promises little.
"""

from perfwright.analysis.query_advice.advice_kinds import RuleAdvice

_INDEX = (0.5, 0.9, 0.99)
_INDEX_WHY = "an index leaves about the rows that are kept"
_MEMORY = (0.05, 0.3, 0.6)
_MEMORY_WHY = "temporary files are written and read no more; the work itself stays"
_STATISTICS = (0.0, 0.5, 0.95)
_STATISTICS_WHY = "a plan chosen for the true row counts; which one, only the server knows"

RULES: dict[str, RuleAdvice] = {
    "R01": RuleAdvice(
        "missing-index",
        "columns",
        "{table} is read whole for {columns}",
        "Create the index below. Columns compared for equality come first, then one range.",
        "hours",
        _INDEX,
        _INDEX_WHY,
    ),
    "R02": RuleAdvice(
        "missing-index",
        "columns",
        "{table} is read whole again and again for {columns}",
        "Create the index below on the join columns: each round then reads the rows it needs.",
        "hours",
        _INDEX,
        _INDEX_WHY,
    ),
    "R03": RuleAdvice(
        "missing-index",
        "columns",
        "An index of {table} finds many rows that {columns} then discards",
        "Create the index below, which has the filtered columns too. Where the narrower index is a prefix of it, that one can go later.",
        "hours",
        _INDEX,
        _INDEX_WHY,
    ),
    "R04": RuleAdvice(
        "spill",
        "statement",
        "A bitmap of {table} does not fit into work_mem",
        "Raise work_mem for the role, or `SET LOCAL work_mem` in the transaction of this query.",
        "hours",
        _MEMORY,
        _MEMORY_WHY,
    ),
    "R05": RuleAdvice(
        "vacuum-behind",
        "table",
        "Index-only scans of {table} look into the table after all",
        "VACUUM the table, and let autovacuum come earlier there (`ALTER TABLE ... SET (autovacuum_vacuum_scale_factor = 0.02)`, for "
        "tables that are only inserted into `autovacuum_vacuum_insert_scale_factor`). Look for long transactions that hold it back.",
        "hours",
        (0.2, 0.5, 0.8),
        "the rows come from the index alone",
    ),
    "R06": RuleAdvice(
        "spill",
        "statement",
        "A sort of {table} goes to disk",
        "Raise work_mem for the role (not for the server: every operation of every session may take it), or sort fewer rows and narrower "
        "ones; an index in this order avoids the sort where few rows are read.",
        "hours",
        _MEMORY,
        _MEMORY_WHY,
        "A sort goes to disk",
    ),
    "R07": RuleAdvice(
        "spill",
        "statement",
        "A hash join of {table} goes to disk in batches",
        "Raise work_mem for the role (hashes may take hash_mem_multiplier times as much), or join fewer rows: filter before joining.",
        "hours",
        _MEMORY,
        _MEMORY_WHY,
        "A hash join goes to disk in batches",
    ),
    "R08": RuleAdvice(
        "spill",
        "statement",
        "A grouping of {table} by hash goes to disk",
        "Raise work_mem for the role, or group fewer rows: filter or pre-aggregate first.",
        "hours",
        _MEMORY,
        _MEMORY_WHY,
        "A grouping by hash goes to disk",
    ),
    "R09": RuleAdvice(
        "misestimate",
        "columns",
        "The planner misjudges how many rows of {table} there are for {columns}",
        "Give the planner better statistics (below), then look at the plan again: a plan for the right row count may need no index and no "
        "hint. Do not switch plan methods off.",
        "hours",
        _STATISTICS,
        _STATISTICS_WHY,
        "The planner misjudges how many rows a step of the statement gives",
    ),
    "R10": RuleAdvice(
        "misestimate",
        "statement",
        "A nested loop was planned for few rows and runs for many",
        "The outer side of the loop is misjudged: better statistics there make the planner take a hash join by itself. Do not set "
        "enable_nestloop to off: it would also take away the loops that are right.",
        "hours",
        _STATISTICS,
        _STATISTICS_WHY,
    ),
    "R11": RuleAdvice(
        "correlated-subquery",
        "statement",
        "A subquery runs once for every row",
        "Write it as a join to a grouped subquery, as LATERAL, or as EXISTS where only existence is asked; an index on the correlated "
        "column makes each run cheap.",
        "days",
        (0.3, 0.8, 0.98),
        "the subquery's table is read once",
        guises=(("in_function", "A function asks tables again for every row"),),
    ),
    "R12": RuleAdvice(
        "function-on-column",
        "columns",
        "An expression over {columns} keeps {table} from using an index",
        "Compare the column itself (a range instead of a function of it), or index the expression exactly as it is written.",
        "hours",
        _INDEX,
        _INDEX_WHY,
        guises=(
            ("in_function", "A function on {columns} keeps {table} from using an index"),
            ("as_array", "A search for one element of {columns} keeps {table} from using an index"),
            ("compared_otherwise", "A comparison of {columns} that no index has keeps {table} from using one"),
        ),
    ),
    "R13": RuleAdvice(
        "cast-on-column",
        "columns",
        "A conversion of {columns} keeps {table} from using an index",
        "Send the value with the column's type: most often a driver or an ORM binds text, or numeric, for an integer column. Compare "
        "without casting the column.",
        "hours",
        _INDEX,
        _INDEX_WHY,
    ),
    "R14": RuleAdvice(
        "leading-wildcard",
        "columns",
        "A pattern without a beginning on {columns} reads all of {table}",
        "A trigram index (extension pg_trgm) finds patterns with three letters in a row anywhere. For words use full text search; for "
        "prefixes leave the leading % away and use text_pattern_ops.",
        "hours",
        (0.3, 0.8, 0.98),
        "a trigram index leaves the rows that have the letters",
    ),
    "R15": RuleAdvice(
        "or-across-columns",
        "columns",
        "An OR over {columns} reads all of {table}",
        "Give each branch its index: the server then combines them (BitmapOr). Or write one query per branch with UNION ALL, each leaving "
        "out what the branches before found.",
        "hours",
        _INDEX,
        _INDEX_WHY,
        "An OR over columns of several tables is checked only after joining them",
    ),
    "R16": RuleAdvice(
        "offset-paging",
        "statement",
        "OFFSET reads and throws away all earlier pages",
        "Page by key: `WHERE (sort_column, id) > (last_sort_column, last_id) ORDER BY sort_column, id LIMIT n`, with an index on these "
        "columns. It returns other rows than OFFSET when rows come and go between pages (it skips and repeats none), and cannot jump to "
        "page n, so this is a change of the interface, not a rewrite.",
        "days",
        (0.5, 0.9, 0.99),
        "a page by key reads its own rows",
    ),
    "R17": RuleAdvice(
        "missing-index",
        "columns",
        "A LIMIT on {table} finds its rows by reading along, for lack of an index on {columns}",
        "Create the index below: equalities first, then the order, so that the LIMIT ends after its own rows.",
        "hours",
        (0.5, 0.95, 0.999),
        "the LIMIT ends after its own rows",
    ),
    "R18": RuleAdvice(
        "workers-missing",
        "statement",
        "Parallel workers were planned and not started",
        "All workers were busy. Raise max_parallel_workers (within max_worker_processes, and the CPUs there are), or lower "
        "max_parallel_workers_per_gather for roles whose queries are short.",
        "hours",
        (0.0, 0.2, 0.5),
        "the missing workers' part runs beside the others, if CPUs are free",
    ),
    "R19": RuleAdvice(
        "spill",
        "statement",
        "The cache of a nested loop's inner side does not help",
        "Raise work_mem for the role where entries were thrown out; where values hardly repeat, better statistics (distinct values) make "
        "the planner leave the cache away.",
        "hours",
        (0.0, 0.2, 0.5),
        "fewer lookups are repeated",
    ),
    "R20": RuleAdvice(
        "bloat",
        "table",
        "{table} takes many more blocks than its rows need",
        "Measure with pgstattuple first. VACUUM frees the room for new rows; to give it back use pg_repack, or VACUUM FULL in a quiet hour "
        "(it locks the table). Then find what kept autovacuum away: long transactions, abandoned replication slots, its settings.",
        "days",
        (0.2, 0.5, 0.8),
        "a third or less of the blocks is left",
    ),
    "R21": RuleAdvice(
        "cold-reads",
        "statement",
        "Most of the time is spent reading blocks from outside of shared buffers",
        "Look whether it is so in every call or only in the first (cold) one. If always: read less (index, partitions, narrower rows), or "
        "give shared_buffers and the page cache more memory. An index is no cure for rows that are all needed.",
        "days",
        (0.0, 0.3, 0.7),
        "what stays cached is not read again",
    ),
    "R22": RuleAdvice(
        "no-pruning",
        "table",
        "Partitions of {table} are read that have no row of it",
        "Give the query a condition on the partition key itself (not on a function of it), with a value that is known when it is planned "
        "or started.",
        "days",
        (0.3, 0.7, 0.9),
        "only the partitions with rows are read",
    ),
    "R23": RuleAdvice(
        "materialized-cte",
        "statement",
        "A WITH query is computed as a whole and then filtered",
        "Move the condition into the WITH query, or write NOT MATERIALIZED so that the planner does it.",
        "hours",
        (0.3, 0.8, 0.95),
        "the condition is applied before the work",
    ),
    "R24": RuleAdvice(
        "join-filter",
        "statement",
        "A join compares pairs of rows of which it discards nearly all",
        "Join by equality of plain columns where the data allows, so that the rows can be hashed or looked up; otherwise narrow one side "
        "first (a range join gains from an index on the range's beginning).",
        "days",
        (0.3, 0.7, 0.95),
        "only pairs that match are formed",
    ),
    "R25": RuleAdvice(
        "cartesian-product",
        "statement",
        "Every row is paired with every row of the other side",
        "A join condition seems to be missing: check the FROM list against WHERE and ON. DISTINCT or GROUP BY on top often hides it.",
        "hours",
        (0.5, 0.9, 0.99),
        "only rows that belong together are paired",
    ),
    "R26": RuleAdvice(
        "jit",
        "statement",
        "Just-in-time compiling takes longer than it saves",
        "Raise jit_above_cost, or set jit to off, for the role that runs such queries; the cost estimate that made the server compile is "
        "often a misestimate.",
        "hours",
        (0.7, 0.9, 1.0),
        "compiling is left out",
    ),
    "R27": RuleAdvice(
        "missing-index",
        "columns",
        "Every delete or key change looks through {table} for {columns}",
        "Create the index below on the referencing columns: PostgreSQL indexes only the referenced side of a foreign key by itself.",
        "hours",
        (0.7, 0.95, 0.99),
        "each check reads the rows of one key",
    ),
    "R28": RuleAdvice(
        "planning-time",
        "statement",
        "Planning takes longer than executing",
        "Prepare the statement once per session (a pooler in transaction mode needs prepared-statement support), or make it easier to "
        "plan: fewer partitions, fewer joins, join_collapse_limit.",
        "days",
        (0.3, 0.7, 0.9),
        "it is planned once",
    ),
    "R29": RuleAdvice(
        "spill",
        "statement",
        "An intermediate result goes to temporary files",
        "Raise work_mem for the role, or make the intermediate result smaller: fewer columns and rows in the WITH query or subquery.",
        "hours",
        _MEMORY,
        _MEMORY_WHY,
    ),
    "R30": RuleAdvice(
        "function-rows",
        "statement",
        "The planner does not know how many rows a function returns",
        "Declare it (`ALTER FUNCTION ... ROWS n`), or put the rows into a temporary table and ANALYZE that before joining.",
        "hours",
        _STATISTICS,
        _STATISTICS_WHY,
    ),
}
MORE_SPECIFIC = ("R27", "R12", "R13", "R14", "R15", "R17", "R02", "R03", "R01", "R24", "R11", "R16", "R23", "R25", "R22", "R05", "R20")
"""Of hits on one node the first of these says why; the others are its evidence."""


def advice_of(rule: str) -> RuleAdvice:
    """Of a rule that is not known yet (a newer worker's): what was seen, without a promise."""
    return RULES.get(rule) or RuleAdvice(
        rule.lower(),
        "statement",
        "A plan rule of a newer version fired",
        "See the evidence.",
        "days",
        (0.0, 0.0, 0.5),
        "it is not known here",
    )


STALE = RuleAdvice(
    "stale-statistics",
    "table",
    "Plans rest on stale statistics of {table}",
    "ANALYZE the table first, and look at the plans again before anything else: an index built for a plan that was chosen on wrong row "
    "counts cures nothing. If it happens again, let autovacuum analyze it earlier (`ALTER TABLE ... SET "
    "(autovacuum_analyze_scale_factor = 0.02)`) or ANALYZE at the end of bulk loads.",
    "hours",
    _STATISTICS,
    _STATISTICS_WHY,
)
INDEX_NOT_USED = RuleAdvice(
    "index-not-used",
    "table",
    "An index of {table} would serve and is not used",
    "The estimates are right, so it is the price: random_page_cost is 4 as it comes, made for turning disks. On SSDs or with the data in "
    "memory 1.1 to 1.5 is closer to the truth; try `SET random_page_cost = 1.1` in a session and compare the times, not the costs. A low "
    "physical correlation of the column may also make reading the table whole right.",
    "hours",
    (0.0, 0.4, 0.9),
    "if the index is really cheaper here",
)
REFUTED = RuleAdvice(
    "full-scan",
    "columns",
    "{table} is read whole for {columns}",
    "The planner was asked what it would do with an index on these columns and would not use it, or win little: too many rows match, or "
    "they lie too scattered. Read less in another way: fewer columns, partitions, a summary table.",
    "days",
    (0.0, 0.05, 0.3),
    "the index that was asked about does not help",
)
TRIGGER = RuleAdvice(
    "slow-trigger",
    "table",
    "A trigger on {table} takes most of the time",
    "Look into the trigger's function: what it looks up needs an index, what it only records can be done once for the statement (FOR EACH "
    "STATEMENT with transition tables) or later.",
    "days",
    (0.2, 0.6, 0.9),
    "the trigger does less, or once",
)
READS_ALONG = RuleAdvice(
    "limit-reads-along",
    "table",
    "A LIMIT reads along {table} until enough rows fit",
    "The order comes from an index and the condition from elsewhere (another table, or what no index holds). Starting from the condition "
    "and sorting what it leaves may read less: an index on the other table's condition and on the join column, or the condition's value "
    "kept in this table beside the order.",
    "days",
    (0.2, 0.7, 0.95),
    "only rows that fit are read",
)
READ_WHOLE = RuleAdvice(
    "full-scan",
    "columns",
    "{table} is read whole for {columns}",
    "No ordinary index serves the condition as it is written. See whether it can be written so that a column is compared by itself, and "
    "whether fewer columns or rows would do.",
    "days",
    (0.1, 0.5, 0.9),
    "what can be left out is not known yet",
)
WITHOUT_INDEX: dict[str, RuleAdvice] = {"R17": READS_ALONG, "R27": TRIGGER, "R01": READ_WHOLE, "R02": READ_WHOLE, "R03": READ_WHOLE}
"""What rules about missing indexes say where no index could be drawn up."""
