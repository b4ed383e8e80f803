"""What plan rules stand for on MySQL and MariaDB, where PostgreSQL's words do not hold, and the rules that only they have."""

from perfwright.analysis.query_advice.advice_kinds import RuleAdvice

_INDEX = (0.5, 0.9, 0.99)
MYSQL_RULES: dict[str, RuleAdvice] = {
    "R06": RuleAdvice(
        "spill",
        "statement",
        "A filesort goes to disk",
        "Sort fewer or narrower rows; where few are needed, an index in this order avoids the sort. `SET SESSION "
        "sort_buffer_size` for this "
        "one statement helps too (not for the server: every sort of every session may take it).",
        "hours",
        (0.05, 0.3, 0.6),
        "merge passes over temporary files are saved; the sort itself stays",
    ),
    "R09": RuleAdvice(
        "misestimate",
        "columns",
        "The optimizer misjudges how many rows of {table} there are for {columns}",
        "ANALYZE TABLE (on MariaDB with PERSISTENT FOR ALL for histograms, on MySQL UPDATE HISTOGRAM ON for columns "
        "without an index), then look "
        "at the plan again.",
        "hours",
        (0.0, 0.5, 0.95),
        "a plan chosen for the true row counts; which one, only the server knows",
        "The optimizer misjudges how many rows a step of the statement gives",
    ),
    "R12": RuleAdvice(
        "function-on-column",
        "columns",
        "A function on {columns} keeps {table} from using an index",
        "Compare the column itself (a range instead of a function of it); or add a generated column with that expression and index it.",
        "hours",
        _INDEX,
        "an index leaves about the rows that are kept",
    ),
    "R13": RuleAdvice(
        "cast-on-column",
        "columns",
        "A conversion of {columns} keeps {table} from using an index",
        "Send the value as text (in quotes, or bound as a string): a text column that is compared with a number is converted in every row.",
        "hours",
        _INDEX,
        "an index leaves about the rows that are kept",
    ),
    "R14": RuleAdvice(
        "leading-wildcard",
        "columns",
        "A pattern without a beginning on {columns} reads all of {table}",
        "For words a FULLTEXT index and MATCH ... AGAINST (on MySQL WITH PARSER ngram for parts of words); for prefixes "
        "leave the leading % away.",
        "days",
        (0.3, 0.8, 0.98),
        "a full text index leaves the rows that have the words",
    ),
    "R15": RuleAdvice(
        "or-across-columns",
        "columns",
        "An OR over {columns} reads all of {table}",
        "Give each branch its index (index_merge combines them), or write one query per branch with UNION ALL, each "
        "leaving out what the branches "
        "before found.",
        "hours",
        _INDEX,
        "an index leaves about the rows that are kept",
        "An OR over columns of several tables is checked only after joining them",
    ),
    "M01": RuleAdvice(
        "grouping-without-order",
        "columns",
        "{table} is grouped by {columns} in a temporary table",
        "An index that begins with these columns gives the rows in groups already. It pays where the statement runs "
        "often, and most where the "
        "index has all columns that are read.",
        "hours",
        (0.0, 0.3, 0.7),
        "the temporary table is saved, reading the rows stays",
    ),
}
