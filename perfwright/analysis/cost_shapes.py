"""Shapes of CPU cost that are recognised by the library code they run through, and what is known about each.

A shape is told by the *foreign* frames under the target's own line: time in `re/_compiler.py` below `rules.py:41` says that the line
compiles regular expressions while it works. Three classes of cost differ in how much of a program they may take before one should look:

- `avoidable`: work that is done again though its result is known (compiling, parsing the same, copying): a few per cent are worth a look;
- `own code`: the target's own loops: every program has a hottest one, it must be large;
- `library work`: serialising, querying, rendering: usually the job itself; it must dominate.

The fraction that can be won is an assumption until it is tried, so it is a range, and says what it rests on.
"""

import re
from dataclasses import dataclass
from typing import Literal

from perfwright.analysis.frames import matchable
from perfwright.models.finding import Effort

CostClass = Literal["avoidable", "own code", "library work"]


@dataclass(frozen=True)
class CostShape:
    """One shape: how it is recognised and what to do about it."""

    name: str
    title: str
    """Completes "`pricing.py:41 match_rules` ..."."""
    cost: CostClass
    pattern: str
    """On `file:function` of foreign frames; empty for shapes that no frame tells."""
    advice: str
    can_be_won: tuple[float, float, float]
    """Least, expected and most of its time that a fix wins."""
    why: str
    """What the fraction rests on."""
    effort: Effort


SHAPES: tuple[CostShape, ...] = (
    CostShape(
        "date-parsing",
        "parses dates",
        "avoidable",
        r"(^|/)_strptime\.py:|dateutil/(parser|tz)|(^|/)(iso8601|dateparser|maya|arrow/parser)[/.]|email/(utils|_parseaddr)\.py:_?parsedate"
        r"|DateTimeFormatter(Builder)?\b.*parse|SimpleDateFormat\.parse|DateTimeParse|moment[./].*parse|date-fns/.*parse",
        "Keep parsed dates instead of parsing the same text again (`functools.lru_cache` on a function of text and format, or parse once "
        "where the data comes in). For ISO 8601 text `datetime.fromisoformat` is C code and an order of magnitude faster than `strptime`.",
        (0.5, 0.8, 0.95),
        "repeated texts cost only a dictionary look-up; `fromisoformat` takes about a tenth of `strptime`",
        "hours",
    ),
    CostShape(
        "regex-compile",
        "compiles regular expressions while it works",
        "avoidable",
        r"(^|/)re/(_compiler|_parser)\.py:|(^|/)sre_(compile|parse)\.py:|(^|/)regex/_regex_core\.py:|java\.util\.regex\.Pattern\.compile",
        "Compile each pattern once, at import or through `functools.lru_cache`. Patterns that are built from data overflow the cache of "
        "`re` (512 patterns in CPython): put the data into one pattern, or match it without a regular expression.",
        (0.6, 0.85, 0.98),
        "a compiled pattern costs one look-up; only the matching itself remains",
        "hours",
    ),
    CostShape(
        "linear-search",
        "searches a list from end to end",
        "avoidable",
        r"java\.util\.(ArrayList|LinkedList|AbstractCollection|Arrays\$ArrayList|ImmutableCollections\$\w+|concurrent\.CopyOnWriteArrayList)"
        r"\.(contains|containsAll|indexOf|indexOfRange|lastIndexOf|lastIndexOfRange)\b|std::(__)?find(_if)?<",
        "Keep what is searched for in a hash set or map (a `LinkedHashSet` where the order matters), or sort once and search by halves.",
        (0.5, 0.9, 0.99),
        "a look-up by key takes the same time however many there are",
        "hours",
    ),
    CostShape(
        "template-compile",
        "compiles templates while it works",
        "avoidable",
        r"jinja2/(compiler|lexer|parser|nodes)\.py:|mako/(lexer|codegen|parsetree)\.py:|django/template/base\.py:(.*compile|.*Parser|.*Lexer)",
        "Load templates through one environment with its cache on; do not build templates from strings per call.",
        (0.6, 0.85, 0.95),
        "a cached template is only rendered",
        "hours",
    ),
    CostShape(
        "deep-copy",
        "copies whole object trees",
        "avoidable",
        r"(^|/)copy\.py:_?(deepcopy|reconstruct|keep_alive)|SerializationUtils\.clone|lodash.*cloneDeep|structuredClone",
        "Copy only what is changed (`{**old, key: value}`, `dataclasses.replace`), or make the shared data immutable and do not copy it.",
        (0.4, 0.75, 0.95),
        "a shallow copy touches one level instead of all",
        "hours",
    ),
    CostShape(
        "import-in-call",
        "imports or re-reads modules while it works",
        "avoidable",
        r"importlib\._bootstrap|^<frozen importlib|importlib/(metadata|resources|__init__)|pkg_resources|(^|/)inspect\.py:getsource",
        "Import at module level; read package data once at start.",
        (0.5, 0.85, 0.98),
        "an import that was done costs one dictionary look-up",
        "hours",
    ),
    CostShape(
        "introspection",
        "inspects signatures and types while it works",
        "avoidable",
        r"(^|/)(inspect|typing|_py_abc)\.py:|(^<frozen abc>|(^|/)abc\.py):(ABCMeta\.)?__(instance|subclass)check__"
        r"|java\.lang\.(reflect|Class)\.get",
        "Work out signatures, type hints and `isinstance` checks against abstract classes once per type and keep the answer.",
        (0.4, 0.7, 0.9),
        "the answer does not change between calls",
        "hours",
    ),
    CostShape(
        "log-formatting",
        "formats log records or tracebacks",
        "avoidable",
        r"(^|/)logging/(__init__|handlers|config)\.py:|(^|/)(traceback|linecache|warnings)\.py:|slf4j|logback|log4j|structlog/|loguru/",
        "Log less on this path: raise the level, pass arguments instead of formatted text, and let a queue handler write. Do not use "
        "exceptions with tracebacks for ordinary outcomes.",
        (0.4, 0.7, 0.95),
        "a record below the level costs one comparison",
        "hours",
    ),
    CostShape(
        "connection-setup",
        "sets up connections or TLS while it works",
        "avoidable",
        r"(^|/)ssl\.py:.*(create_default_context|load_|do_handshake|_create)|socket\.py:create_connection|:_new_conn|certifi/|SSLContext",
        "Keep connections and TLS contexts and use them again (a session, a pool, keep-alive).",
        (0.5, 0.8, 0.95),
        "a pooled connection skips resolution, handshake and certificate loading",
        "hours",
    ),
    CostShape(
        "garbage-collection",
        "collects garbage",
        "avoidable",
        r"\(garbage collector\)|:gc_(collect|sweep|mark)|:(G1|Parallel|Shenandoah|Z)(Young|Full|Collect|Mark|Evac)|:deduce_unreachable$",
        "Allocate fewer long-lived or short-lived objects on this path, then size heap and thresholds; see the garbage collection process.",
        (0.2, 0.5, 0.8),
        "thresholds alone took 35 to 70 % off the CPU time of a program whose collector dominated",
        "days",
    ),
    CostShape(
        "json",
        "reads or writes JSON",
        "library work",
        r"(^|/)(json|simplejson)/(encoder|decoder|scanner|__init__)\.py:|fasterxml\.jackson|google\.gson|org\.json|:JSON\.(parse|stringify)",
        "Serialise less (fewer fields, once instead of per consumer, cached text), or use a compiled encoder.",
        (0.2, 0.5, 0.8),
        "compiled encoders are several times faster than the standard library; what must be serialised remains",
        "hours",
    ),
    CostShape(
        "pickling",
        "pickles objects",
        "library work",
        r"(^|/)(pickle|copyreg|shelve|cloudpickle\w*)[./]|multiprocessing/reduction\.py|ObjectOutputStream|ObjectInputStream",
        "Send less between processes: identifiers or compact arrays instead of object trees, larger batches.",
        (0.2, 0.5, 0.8),
        "cost follows the number of objects",
        "days",
    ),
    CostShape(
        "pure-python-numbers",
        "calculates with fractions or decimals in Python code",
        "library work",
        r"(^|/)(fractions|_pydecimal|statistics)\.py:|java\.math\.Big(Decimal|Integer)",
        "Calculate in integers of the smallest unit (cents), or in C decimals, and convert at the edge.",
        (0.4, 0.7, 0.95),
        "machine numbers are one to two orders of magnitude faster",
        "days",
    ),
    CostShape(
        "kernel-work",
        "spends its time in system calls",
        "library work",
        r"\[kernel|_\[k\]",
        "Make fewer, larger system calls: buffer, batch, keep files and connections open.",
        (0.1, 0.4, 0.7),
        "cost follows the number of calls more than the bytes",
        "days",
    ),
)

OWN_CODE = CostShape(
    "hot-code",
    "is the hottest code of its own",
    "own code",
    "",
    "Look at the hottest lines first. Where a line is hot by itself, the work is in operators and C calls without frames: membership in a "
    "list (`x in items`: use a set), sorting or slicing in a loop, string building by `+=`, attribute look-ups. Ask whether the work is "
    "needed for every call: hoist what does not change, keep results that repeat, use an index instead of nested loops. If the hot "
    "line only calls an extension module (Cython, mypyc, Rust, C), record once more with the pass `native`, which shows its functions.",
    (0.15, 0.5, 0.9),
    "assumed: half, until it is tried; algorithmic changes win more, tuning of single lines less",
    "hours",
)
LIBRARY_CALL = CostShape(
    "library-call",
    "spends its time in a library call",
    "library work",
    "",
    "Call it less often (once per batch, not per item), keep results that repeat, or ask it for less.",
    (0.1, 0.3, 0.7),
    "assumed: a third, until it is tried; what the call must do remains",
    "days",
)
FRAMEWORK = CostShape(
    "framework-work",
    "is work of the framework or runtime itself",
    "library work",
    "",
    "Nobody in the target's own code asks for this: look at the framework's settings (workers, middleware, protocol) and its release.",
    (0.05, 0.2, 0.5),
    "assumed: settings and faster implementations win part of it",
    "days",
)

COMPILED_CALL = CostShape(
    "compiled-call",
    "is busy in one line, or in compiled code called there",
    "library work",
    "",
    "Extension modules (Cython, mypyc, C) have no Python frames: record once more with the pass `native`, which shows their functions.",
    (0.05, 0.2, 0.5),
    "assumed: part of what is asked for is not needed",
    "days",
)
"""Framework work of one Python line: `self.fn(*args)` of a thread pool uses no CPU by itself."""

NO_CALLER = CostShape(
    "no-caller",
    "is library code with no own code on its stack",
    "library work",
    "",
    "Find out who asks for it: compile with `-fno-omit-frame-pointer` (libraries too) so that stacks reach the caller, or break on the "
    "function in a debugger. Then let the caller ask for less.",
    (0.05, 0.2, 0.5),
    "assumed: part of what is asked for is not needed",
    "days",
)

NO_SYMBOLS = CostShape(
    "no-symbols",
    "has no symbols",
    "library work",
    "",
    "Install the debug symbols of the program (Debian: its `-dbgsym` package), or build it without stripping, and record again.",
    (0.0, 0.0, 0.0),
    "nothing can be said of code without names",
    "hours",
)

_PATTERNS = tuple((number, re.compile(shape.pattern)) for number, shape in enumerate(SHAPES))


def shape_of(function: str, file: str) -> int:
    """Which of `SHAPES` a foreign frame belongs to, -1 for none."""
    name = matchable(function, file)
    return next((number for number, pattern in _PATTERNS if pattern.search(name)), -1)
