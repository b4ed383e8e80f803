"""The registry: what is accepted, and how all that is wrong is told."""

import re
import tomllib
from pathlib import Path
from types import UnionType
from typing import Any, Union, get_args, get_origin

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from perfwright.models.registry import Registry, RegistryInvalid, parse_registry
from perfwright.models.secrets import holds_secret, without_secrets
from perfwright.models.target import ProcessSelector
from perfwright.models.toml_lines import key_lines

REFERENCE = Path(__file__).parents[3] / "docs" / "registry.md"

WHOLE = """
[store]
artifacts = "s3://bucket/perfwright"
history_env = "PERFWRIGHT_HISTORY"

[worker]
allow_inline_targets = true

[notify]
urls_env = "PERFWRIGHT_NOTIFY"
link = "https://temporal.example.com"

[environments.lab]
review = "notify"
change = "auto"
keep = { observe = "auto", reload = "auto" }

[environments.production]
approvers = ["dba-team"]
deadline_s = 3600
reminders = 3

[environments.canary]

[hosts.db1]
description = "the primary"

[targets.web]
kind = "http"
url = "http://127.0.0.1:8700"
environment = "lab"
process = { port = 8700 }
repository = "src/web"
database = "web-db"

[targets.web-db]
kind = "postgresql"
host = "db1"
dsn_env = "WEB_DB_DSN"
environment = "canary"
allow = ["analyze", "ddl"]

[targets.job]
kind = "process"
process.command = ["python", "job.py"]
process.environment_names = ["HOME"]
"""

TEN_MISTAKES = """\
[store]
artifcats = "file://./x"
[environments.production]
change = "auto"
deadline_s = -5
[notify]
urls_env = "https://hooks.example.com/services/very-secret-word"
[targets.web]
kind = "htpp"
environment = "labb"
process = { port = 99999, nmae = "x" }
database = "web-bd"
dsn = "postgresql://u:very-secret-word@h/d"
[targets.web-db]
kind = "postgresql"
url = "postgresql://u:very-secret-word@h/d"
allow = ["ddl", "ddl"]
"""


def problems(text: str) -> dict[str, str]:
    with pytest.raises(RegistryInvalid) as invalid:
        parse_registry(text)
    return {problem.key: str(problem) for problem in invalid.value.problems}


def test_a_whole_registry_is_read() -> None:
    """Every section is understood, and targets come out as workflows pass them on."""
    registry = parse_registry(WHOLE)
    web = registry.target("web")
    assert web is not None
    assert (web.kind, web.environment, web.host, web.process, web.database) == (
        "http",
        "lab",
        "local",
        ProcessSelector(port=8700),
        "web-db",
    )
    assert registry.host_names() == ("db1", "local")
    assert registry.worker.allow_inline_targets and registry.store.history_env == "PERFWRIGHT_HISTORY"
    job = registry.target("job")
    assert job is not None and job.process is not None and job.process.command == ("python", "job.py")
    assert registry.target("nobody") is None


def test_an_empty_registry_is_one() -> None:
    """Nothing is needed: stores have defaults, and every gate asks."""
    registry = parse_registry("")
    assert registry == Registry()
    assert registry.store.artifacts == "file://./.perfwright/artifacts"
    assert registry.gate_policy("lab", "review", "observe").policy == "ask"


def test_a_target_without_environment_is_production() -> None:
    """Who forgets the environment gets the strictest one."""
    registry = parse_registry('[targets.job]\nkind = "process"\nprocess = { pid = 1 }')
    target = registry.target("job")
    assert target is not None and target.environment == "production"
    policy = registry.gate_policy(target.environment, "change", "observe")
    assert (policy.policy, policy.self_approval) == ("ask", False)


def test_policies_by_word_and_by_risk() -> None:
    """A word holds for every risk class, a table for those it names; the rest asks. The reason is recorded."""
    registry = parse_registry(WHOLE)
    lab = [registry.gate_policy("lab", kind, "restart").policy for kind in ("review", "change", "keep")]
    assert lab == ["notify", "auto", "ask"]
    assert registry.gate_policy("lab", "keep", "reload").policy == "auto"
    assert registry.gate_policy("lab", "review", "observe").reason == 'environment lab: review = "notify"'
    production = registry.gate_policy("production", "review", "observe")
    assert (production.approvers, production.self_approval, production.deadline_s, production.reminders) == (("dba-team",), False, 3600, 3)
    assert registry.gate_policy("staging", "keep", "observe").self_approval
    assert registry.gate_policy("production", "keep", "observe").approvers_required
    assert registry.gate_policy("production", "keep", "observe", default_deadline_s=7).deadline_s == 7
    assert registry.gate_policy("staging", "keep", "observe", default_deadline_s=7).deadline_s == 7


def test_ten_mistakes_are_told_at_once() -> None:
    """Every mistake is told in one go, in the order of the file, with its key, its line, and what is allowed."""
    with pytest.raises(RegistryInvalid) as invalid:
        parse_registry(TEN_MISTAKES)
    told = [str(problem) for problem in invalid.value.problems]
    expected = [
        "store.artifcats (line 2): not a known key; nearest: artifacts (allowed: artifacts, history, history_env)",
        "environments.production.change (line 4): auto is not allowed for changes in production: a person approves each one",
        "environments.production.deadline_s (line 5): Input should be greater than or equal to 1 (got -5)",
        "notify.urls_env (line 7): Input should be the name of an environment variable (letters, digits and underscores), not its value",
        "targets.web.kind (line 9): Input should be 'process', 'http', 'postgresql', 'mysql', 'cache', 'repository' or 'filesystem' (got \"htpp\")",
        'targets.web.environment (line 10): no environment "labb" (allowed: lab, production, staging; nearest: lab); declare it with [environments.labb]',
        "targets.web.process.port (line 11): Input should be less than or equal to 65535 (got 99999)",
        "targets.web.process.nmae (line 11): not a known key; nearest: name "
        "(allowed: pid, port, name, pid_file, command, working_directory, environment_names)",
        'targets.web.database (line 12): no target "web-bd" (targets: web, web-db; nearest: web-db, web)',
        "targets.web.dsn (line 13): secrets are not written in the registry; put it into an environment variable and name it: dsn_env",
        "targets.web-db (line 14): a target of kind postgresql needs dsn_env",
        "targets.web-db.url (line 16): a password or token is written in the file; put the connection string into an environment variable "
        "and name it: dsn_env",
        'targets.web-db.allow.1 (line 17): "ddl" is listed twice',
    ]
    assert told == expected
    assert str(invalid.value).startswith("perfwright.toml: 13 mistakes\n  store.artifcats (line 2): ")


@pytest.mark.parametrize(
    ("text", "key", "message"),
    [
        ("targets = 3", "targets", "should be a table"),
        ("[[targets]]\nkind = 1", "targets", "should be a table"),
        ("[worker]\nallow_inline_targets = 'yes'", "worker.allow_inline_targets", 'boolean (got "yes")'),
        ("[targets.a]\nkind = 'process'", "targets.a", "kind process needs process"),
        ("[targets.a]\nkind = 'process'\nprocess = {}", "targets.a.process", "none given"),
        ("[targets.a]\nkind = 'process'\nprocess = { pid = 1, port = 2 }", "targets.a.process", "pid and port given"),
        ("[targets.a]\nkind = 'process'\nprocess = { pid = nan }", "targets.a.process.pid", "(got nan)"),
        ("[targets.a]\nkind = 'process'\nprocess = { pid = 99999999999999999999999 }", "targets.a.process.pid", "(got 99999999999"),
        ("[targets.a]\nkind = 'process'\nprocess = { command = [] }", "targets.a.process.command", "at least 1 item"),
        ("[targets.a]\nkind = 'process'\nprocess = { pid = 1 }\nenvironment = 1979-05-27", "targets.a.environment", "(got 1979-05-27)"),
        ("[targets.a]\nkind = 'process'\nprocess = { pid = 1 }\nenvironment = 'inline'", "targets.a.environment", "given in the input"),
        ("[targets.a]\nkind = 'http'\nurl = 'ftp://x'", "targets.a.url", "begins with http://, https:// (got ftp://)"),
        ("[targets.a]\nkind = 'http'\nurl = 'http://'", "targets.a.url", "host is missing"),
        ("[targets.a]\nkind = 'http'\nurl = 'example.com'", "targets.a.url", "should be a URL"),
        ("[targets.a]\nkind = 'repository'\nrepository = 'https://token@h/x'", "targets.a.repository", "leave it to git"),
        (
            "[targets.a]\nkind = 'process'\nprocess = { pid = 1 }\nchange_command = ['agent', '--api-key', 'very-secret-word']",
            "targets.a.change_command",
            "argument 2 (--api-key) looks like a secret, and commands are recorded; name its variable in change_environment_names",
        ),
        ("[targets.a]\nkind = 'postgresql'\ndsn_env = 'A'\ndatabase = 'a'", "targets.a.database", "not its own database"),
        ("[targets.'a b']\nkind = 'process'\nprocess = { pid = 1 }", "targets.a b", "at most 63 characters"),
        ("[targets.a]\n", "targets.a.kind", "needed (allowed keys here: kind, url"),
        ("[hosts.db1]\n[targets.a]\nkind = 'process'\nprocess = { pid = 1 }\nhost = 'db2'", "targets.a.host", "nearest: db1"),
        ("[environments.lab]\nreview = 'maybe'", "environments.lab.review", "one of ask, notify, auto"),
        ("[environments.lab]\nchange = 'notify'", "environments.lab.change", "one of ask, auto"),
        ("[environments.lab]\nkeep = { reload = 'notify' }", "environments.lab.keep.reload", "'ask' or 'auto'"),
        ("[environments.production]\nchange.reload = 'auto'", "environments.production.change.reload", "not allowed"),
        ("[environments.lab]\nreminders = 2.5", "environments.lab.reminders", "(got 2.5)"),
        ("[environments.lab]\ndeadline_s = inf", "environments.lab.deadline_s", "(got inf)"),
        ("[environments.lab]\napprovers = ['a', 'a']", "environments.lab.approvers.1", "listed twice"),
        (
            "[store]\nhistory = 'mysql://h/d'",
            "store.history",
            "begins with one of sqlite+aiosqlite://, postgresql+asyncpg:// (got mysql://)",
        ),
        ("[store]\nhistory = 'postgresql+asyncpg://u:very-secret-word@h/d'", "store.history", "name it: history_env"),
        ("[store]\nhistory = 'sqlite+aiosqlite:///'", "store.history", "a file is needed"),
        ("[store]\nhistory = 'sqlite+aiosqlite:///x'\nhistory_env = 'H'", "store.history_env", "not both"),
        ("[store]\nartifacts = 's3://key:very-secret-word@bucket'", "store.artifacts", "leave it to the environment"),
        ("[store]\nartifacts = 'ftp://h/d'", "store.artifacts", "(got ftp://)"),
        ("[notify]\nlink = 'https://u:very-secret-word@h'", "notify.link", "leave it out"),
        ("surprise = 1", "surprise", "not a known key (allowed: store, worker"),
    ],
)
def test_a_mistake_names_its_key(text: str, key: str, message: str) -> None:
    """Each mistake names its key and what is allowed, and never shows a secret."""
    told = problems(text)
    assert message in told[key], told
    assert "very-secret-word" not in "".join(told.values())


@pytest.mark.parametrize(("text", "line"), [("a = ", 1), ("x = 1\nx = 2", 2), ("[targets.a]\nkind = x y\n", 2)])
def test_broken_toml_is_told_with_its_line(text: str, line: int) -> None:
    """What is no TOML at all is told with the line where it breaks."""
    assert f"line {line}" in problems(text)[""]


def test_several_hosts_need_shared_stores() -> None:
    """Folders and SQLite files are refused, with the reason, where workers of several hosts would need them."""
    hosts = "[targets.a]\nkind = 'process'\nprocess = { pid = 1 }\n[targets.b]\nkind = 'process'\nprocess = { pid = 1 }\nhost = 'db1'\n"
    told = problems(hosts)
    assert set(told) == {"store.artifacts", "store.history"}
    assert "more than one host (db1, local)" in told["store.artifacts"] and "use postgresql+asyncpg://" in told["store.history"]
    parse_registry('[store]\nartifacts = "s3://b/p"\nhistory = "postgresql+asyncpg://h/d"\n' + hosts)
    parse_registry(hosts.replace("host = 'db1'", ""))


def test_a_huge_registry_is_refused() -> None:
    """A file that cannot be a registry is not read to its end."""
    assert "characters are allowed" in problems("#" * 1_000_001)[""]
    many = "".join(f"[targets.t{n}]\nkind = 'x'\n" for n in range(300))
    with pytest.raises(RegistryInvalid, match="300 mistakes") as invalid:
        parse_registry(many)
    assert str(invalid.value).count("\n") == 101 and str(invalid.value).endswith("and 200 more")


def test_lines_of_every_shape_of_toml() -> None:
    """Lines are right for dotted and quoted keys, strings over several lines, arrays, inline tables and arrays of tables."""
    text = '''# comment [not.a.table]
"quoted.key" = "a # b = [1]"
dotted . 'second' = 1
long = """
[fake]
x = "quote \\""
"""""
literal = \'\'\'
y = \'\'\'
list = [ # comment ]
  1, "]",
  { inner = [2,
    3] },
]
[ table . "sub table" ]
day = 1979-05-27 07:32:00
[[many]]
a = 1
[[many]]
b = { c.d = true }
  [many.deep]
  e = 1'''
    tomllib.loads(text)
    assert key_lines(text) == {
        ("quoted.key",): 2,
        ("dotted",): 3,
        ("dotted", "second"): 3,
        ("long",): 4,
        ("literal",): 8,
        ("list",): 10,
        ("list", 0): 11,
        ("list", 1): 11,
        ("list", 2): 12,
        ("list", 2, "inner"): 12,
        ("list", 2, "inner", 0): 12,
        ("list", 2, "inner", 1): 13,
        ("table",): 15,
        ("table", "sub table"): 15,
        ("table", "sub table", "day"): 16,
        ("many",): 17,
        ("many", 0): 17,
        ("many", 0, "a"): 18,
        ("many", 1): 19,
        ("many", 1, "b"): 20,
        ("many", 1, "b", "c"): 20,
        ("many", 1, "b", "c", "d"): 20,
        ("many", 1, "deep"): 21,
        ("many", 1, "deep", "e"): 22,
    }


KEYS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=1, max_size=6)
SCALARS = st.one_of(st.integers(-9, 9).map(str), st.booleans().map(lambda b: str(b).lower()), KEYS.map(lambda t: quoted(t)))
PIECES = st.lists(st.sampled_from("[]{}=,.#\"'\\ \n\r\tab1-_\"\"\"'''") | KEYS, max_size=40).map("".join)


def quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quoted(key)} = {written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[\n" + ",\n".join(written(inner) for inner in value) + "\n]"
    return str(value)


def paths(value: Any, path: tuple[str | int, ...] = ()) -> set[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return {path} | {found for key, one in inner for found in paths(one, (*path, key))}


@given(
    st.dictionaries(
        KEYS, st.recursive(SCALARS, lambda v: st.lists(v, max_size=3) | st.dictionaries(KEYS, v, max_size=3), max_leaves=8), max_size=4
    )
)
def test_every_key_that_tomllib_finds_has_a_line(data: dict[str, Any]) -> None:
    """Whatever is written, exactly the keys that the parser finds get a line, and the key stands on it."""
    text = "\n".join(f"{quoted(key)} = {written(value)}" for key, value in data.items())
    lines = key_lines(text)
    assert set(lines) == paths(tomllib.loads(text)) - {()}
    for path, line in lines.items():
        if isinstance(path[-1], str):
            assert quoted(path[-1]) in text.split("\n")[line - 1]


@given(PIECES)
def test_any_text_is_read_or_refused(text: str) -> None:
    """No text whatever makes the parser fail in any other way."""
    try:
        parse_registry(text)
    except RegistryInvalid as invalid:
        assert invalid.problems


def keys_of(model: type[BaseModel], path: str = "") -> set[str]:
    found: set[str] = set()
    for name, field in model.model_fields.items():
        key, kind = f"{path}{name}", field.annotation
        if get_origin(kind) is dict:
            found |= keys_of(get_args(kind)[1], f"{key}.NAME.")
            continue
        options = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
        tables = [option for option in options if isinstance(option, type) and issubclass(option, BaseModel)]
        if path:
            found.add(key)
        for table in tables:
            found |= keys_of(table, f"{key}.")
    return found


def test_the_reference_names_every_key() -> None:
    """docs/registry.md has every key that the registry takes, and no other."""
    reference = REFERENCE.read_text()
    tables = "\n".join(line for line in reference.splitlines() if line.startswith("| `"))
    told = {key for line in tables.splitlines() for key in re.findall(r"`([a-z_]+\.[A-Za-z_.]+)`", line.split("|")[1])}
    assert told == keys_of(Registry)


def test_the_reference_shows_what_is_printed() -> None:
    """The mistake that docs/registry.md shows reads as it is told."""
    with pytest.raises(RegistryInvalid) as caught:
        parse_registry('[targets.shop-db]\nkind = "postgresql"\ndsn_env = "SHOP_DB_DSN"\nalow = ["ddl"]\n', "perfwright.toml")
    told = str(caught.value).partition("not a known key")[2]
    assert told and told in " ".join(REFERENCE.read_text().split())


def test_the_schema_fills_editors() -> None:
    """The JSON Schema describes every key, and takes policies as a word or a table."""
    schema = Registry.model_json_schema()
    review = schema["$defs"]["Environment"]["properties"]["review"]
    assert {"enum": ["ask", "notify", "auto"], "type": "string"} in review["anyOf"]
    undescribed = [
        f"{name}.{key}"
        for name, table in schema["$defs"].items()
        for key, told in table.get("properties", {}).items()
        if "description" not in told
    ]
    assert undescribed == []


def test_secrets_in_urls_are_found_and_hidden() -> None:
    """Passwords and tokens in URLs are recognised, and taken out of messages, however odd they are."""
    for url in (
        "postgresql://u:p@h/d",
        "https://token@h",
        "redis://:p@h",
        "https://h/x?sig=abc",
        "postgresql://h/d?password=x",
        "x://u:p/w@x@h/d",
    ):
        assert holds_secret(url), url
        assert without_secrets(f"cannot open '{url}'").count("abc") == 0
    for url in ("postgresql://u@h/d", "https://h/x?page=2", "ssh://git@h/x", "file:///a@b", "/path"):
        assert not holds_secret(url), url
    assert without_secrets("in x://u:p/w@y@h/d?sig=abc now") == "in x://***@h/d?*** now"
