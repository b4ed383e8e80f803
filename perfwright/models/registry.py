"""The target registry, `perfwright.toml`: parsed whole, every error at once, each with its key and line.

`parse_registry(text)` is pure; finding and reading the file is the business of `activities.registry_file`. Connection strings and other
secrets are never written in the registry: it names the environment variables that hold them.
"""

import json
import tomllib
import types
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, BeforeValidator, Field, StringConstraints, ValidationError

from perfwright.models.change import RiskClass
from perfwright.models.gate import GateKind, GatePolicy, Policy
from perfwright.models.registry_checks import DEFAULT_ARTIFACTS, DEFAULT_HISTORY, PRODUCTION, contradictions, nearest
from perfwright.models.secrets import without_secrets
from perfwright.models.target import LOCAL_HOST, Argument, EnvironmentVariable, Operation, ProcessSelector, Target, TargetKind
from perfwright.models.toml_lines import KeyPath, key_lines
from perfwright.models.vocabulary import Input, Name

FILE_NAME = "perfwright.toml"
MAX_CHARACTERS = 1_000_000
SHOWN_PROBLEMS = 100

Url = Annotated[str, StringConstraints(min_length=1, max_length=2_048, pattern=r"^[A-Za-z][A-Za-z0-9+.-]*://\S*$")]
Path = Annotated[str, StringConstraints(min_length=1, max_length=4_096)]
Person = Annotated[str, StringConstraints(min_length=1, max_length=200)]
ChangePolicy = Literal["ask", "auto"]


class ReviewPolicies(Input):
    """A policy per risk class of what is reviewed."""

    observe: Policy = "ask"
    """Nothing happens to the target."""
    reload: Policy = "ask"
    """The target reloads its configuration."""
    restart: Policy = "ask"
    """The target restarts."""
    irreversible: Policy = "ask"
    """No undo restores the earlier state."""


class ChangePolicies(Input):
    """A policy per risk class of the change."""

    observe: ChangePolicy = "ask"
    """Nothing happens to the target."""
    reload: ChangePolicy = "ask"
    """The target reloads its configuration."""
    restart: ChangePolicy = "ask"
    """The target restarts."""
    irreversible: ChangePolicy = "ask"
    """No undo restores the earlier state."""


def _review_for_every_risk(given: object) -> object:
    return _for_every_risk(given, ("ask", "notify", "auto"))


def _change_for_every_risk(given: object) -> object:
    return _for_every_risk(given, ("ask", "auto"))


def _for_every_risk(given: object, words: tuple[str, ...]) -> object:
    """One word stands for the same policy in each risk class."""
    if not isinstance(given, str):
        return given
    if given not in words:
        raise ValueError(f"Input should be one of {', '.join(words)}, or a table of them by observe, reload, restart, irreversible")
    return dict.fromkeys(ChangePolicies.model_fields, given)


class Store(Input):
    """Where artifacts and history are kept."""

    artifacts: Url = DEFAULT_ARTIFACTS
    """Object store for profiles and reports: `file://`, `s3://`, `gs://` or `az://`. Credentials come from the environment."""
    history: Url = DEFAULT_HISTORY
    """SQL database for runs and decisions: `sqlite+aiosqlite:///FILE` or `postgresql+asyncpg://HOST/DATABASE`."""
    history_env: EnvironmentVariable | None = None
    """Environment variable that holds the URL of the history, where it has a password; then `history` is not given."""


class WorkerSettings(Input):
    """What workers with this registry allow."""

    allow_inline_targets: bool = False
    """Whether a process may be started on a pid, port or command that the registry does not name."""


class Notify(Input):
    """Who hears of gates."""

    urls_env: EnvironmentVariable | None = None
    """Environment variable with Apprise URLs, separated by white space or commas: Slack, Teams, mail, webhooks."""
    link: Url | None = None
    """Base URL of the Temporal UI, for the links in notifications: `https://temporal.example.com`."""


class Grafana(Input):
    """Where applied and undone changes are marked on dashboards."""

    url: Annotated[str, StringConstraints(min_length=1, max_length=2_048, pattern=r"^https?://[^\s@]+$")] | None = None
    """Base URL of Grafana: `https://grafana.example.com`."""
    token_env: EnvironmentVariable | None = None
    """Environment variable with a token of a service account that may write annotations."""


class Environment(Input):
    """How gates are answered for the targets of an environment."""

    review: Annotated[ReviewPolicies, BeforeValidator(_review_for_every_risk, json_schema_input_type=Policy | ReviewPolicies)] = (
        ReviewPolicies()
    )
    """`ask`, `notify` (go on, take objections until the deadline) or `auto`; one word, or a table by risk class."""
    change: Annotated[ChangePolicies, BeforeValidator(_change_for_every_risk, json_schema_input_type=ChangePolicy | ChangePolicies)] = (
        ChangePolicies()
    )
    """`ask` or `auto` (only when the quality gates behind it passed; never in production); one word, or a table by risk class."""
    keep: Annotated[ChangePolicies, BeforeValidator(_change_for_every_risk, json_schema_input_type=ChangePolicy | ChangePolicies)] = (
        ChangePolicies()
    )
    """`ask` or `auto`; one word, or a table by risk class."""
    approvers: Annotated[tuple[Person, ...], Field(max_length=256)] = ()
    """Who may answer; anyone when empty."""
    self_approval: bool | None = None
    """Whether the one who started a run may approve it; when not given: not in production, and not where approvers are named."""
    deadline_s: Annotated[float, Field(ge=1.0, le=2_592_000.0)] | None = None
    """Seconds a gate waits for a person at most; a run may ask for less."""
    reminders: Annotated[int, Field(ge=0, le=10)] = 2
    """How many reminders are sent before the deadline, evenly spaced."""


class Host(Input):
    """A machine with a worker of its own (`perfwright worker --host NAME`)."""

    description: Annotated[str, StringConstraints(max_length=500)] = ""
    """What it is, for people."""


class TargetEntry(Input):
    """What is examined, where it is, and what is allowed there."""

    kind: TargetKind
    """What it is."""
    url: Url | None = None
    """Where it answers; needed for `http` and `filesystem` (`file:///data`), and for `cache` without `dsn_env`. Without a password."""
    environment: Name = PRODUCTION
    """Decides how gates are answered. When not given: `production`, the strictest."""
    host: Name = LOCAL_HOST
    """Machine whose worker examines it."""
    process: ProcessSelector | None = None
    """How its process is found; needed for `process`."""
    repository: Path | None = None
    """Folder or URL of its source."""
    database: Name | None = None
    """Target that is its database."""
    dsn_env: EnvironmentVariable | None = None
    """Environment variable that holds the connection string; needed for `postgresql` and `mysql`."""
    allow: Annotated[tuple[Operation, ...], Field(max_length=16)] = ()
    """Operations allowed besides profiling, which always is."""
    files_root: Path | None = None
    """Folder below which its files may be edited; allows that."""
    reload_command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=64)] | None = None
    """Program and arguments that make it read its files again (no shell)."""
    restart_command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=64)] | None = None
    """Program and arguments that start it again, whether it runs or not: of a service manager, as `systemctl restart postgresql`."""
    change_command: Annotated[tuple[Argument, ...], Field(min_length=1, max_length=64)] | None = None
    """Program and arguments that make a change to its source: a code-mod tool, a coding agent. It is started in a worktree, gets a brief as
    JSON on standard input, and leaves commits (no shell)."""
    change_environment_names: Annotated[tuple[EnvironmentVariable, ...], Field(max_length=64)] = ()
    """Variables of the worker's environment that `change_command` inherits, by name: the token of a coding agent."""


class Registry(Input):
    """The registry as a whole; made by `parse_registry`, which also checks what refers to what."""

    store: Store = Store()
    """Where artifacts and history are kept."""
    worker: WorkerSettings = WorkerSettings()
    """What workers with this registry allow."""
    notify: Notify = Notify()
    """Who hears of gates."""
    grafana: Grafana = Grafana()
    """Where applied and undone changes are marked on dashboards."""
    environments: Annotated[dict[Name, Environment], Field(max_length=256)] = {}
    """How gates are answered, by environment."""
    hosts: Annotated[dict[Name, Host], Field(max_length=1_024)] = {}
    """Machines with a worker of their own; where any is named, targets may name no other."""
    targets: Annotated[dict[Name, TargetEntry], Field(max_length=10_000)] = {}
    """What is examined, by name."""

    def target(self, name: str) -> Target | None:
        """The target of that name as workflows and activities pass it on; None if there is none."""
        entry = self.targets.get(name)
        if entry is None:
            return None
        return Target(name=name, **{field: getattr(entry, field) for field in TargetEntry.model_fields})

    def host_names(self) -> tuple[str, ...]:
        """Every host that is declared or that a target is on, sorted."""
        return tuple(sorted(set(self.hosts) | {entry.host for entry in self.targets.values()}))

    def gate_policy(self, environment: str, kind: GateKind, risk: RiskClass, *, default_deadline_s: float = 86_400.0) -> GatePolicy:
        """How a gate of this kind and risk is answered; environments without a table ask, and may only shorten the deadline."""
        table = self.environments.get(environment)
        rules = table or Environment()
        word: Policy = getattr(getattr(rules, kind), risk)
        guarded = environment == PRODUCTION or bool(rules.approvers)
        told = f'environment {environment}: {kind} = "{word}"' if table else f"environment {environment} has no policy of its own: ask"
        return GatePolicy(
            policy=word,
            approvers=rules.approvers,
            self_approval=not guarded if rules.self_approval is None else rules.self_approval,
            deadline_s=min(rules.deadline_s or default_deadline_s, default_deadline_s),
            reminders=rules.reminders,
            reason=told,
            environment=environment,
            approvers_required=environment == PRODUCTION and kind != "review",
            notifies=self.notify.urls_env is not None,
        )


@dataclass(frozen=True)
class RegistryProblem:
    """One mistake: the key it is about, the line it stands on (None where there is none), and what is wrong."""

    key: str
    line: int | None
    message: str

    def __str__(self) -> str:
        place = f"{self.key} (line {self.line})" if self.key and self.line else self.key or (f"line {self.line}" if self.line else "")
        return f"{place}: {self.message}" if place else self.message


class RegistryInvalid(ValueError):
    """A registry that cannot be used; `problems` has every mistake, in the order of the file. `source` says which file."""

    def __init__(self, problems: list[RegistryProblem], source: str = FILE_NAME) -> None:
        self.problems = problems
        self.source = source
        shown = [str(problem) for problem in problems[:SHOWN_PROBLEMS]]
        if len(problems) > SHOWN_PROBLEMS:
            shown.append(f"and {len(problems) - SHOWN_PROBLEMS} more")
        mistakes = "1 mistake" if len(problems) == 1 else f"{len(problems)} mistakes"
        super().__init__(f"{source}: {mistakes}\n" + "\n".join(f"  {line}" for line in shown))


def parse_registry(text: str, source: str = FILE_NAME) -> Registry:
    """The registry written in `text` (TOML); raises RegistryInvalid with every mistake at once.

    A mistake in the TOML itself hides the rest, so it is told alone.
    """
    if len(text) > MAX_CHARACTERS:
        raise RegistryInvalid([RegistryProblem("", None, f"at most {MAX_CHARACTERS:,} characters are allowed (got {len(text):,})")], source)
    try:
        raw = tomllib.loads(text + "\n")  # so that a mistake in the last line has its number
    except (tomllib.TOMLDecodeError, RecursionError) as mistake:
        raise RegistryInvalid([RegistryProblem("", None, f"not TOML: {mistake}")], source) from None
    problems: dict[KeyPath, str] = {}
    registry = None
    try:
        # Through JSON, because strict models take arrays for tuples only from there; dates are refused where they stand.
        registry = Registry.model_validate_json(json.dumps(raw, default=lambda date: {"date": str(date)}))
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False, include_context=False):
            path = tuple(part for part in error["loc"] if part != "[key]")
            problems.setdefault(path, _message(path, error["type"], error["msg"], raw))
    for path, message in contradictions(raw):
        problems.setdefault(path, message)
    if problems or registry is None:
        lines = key_lines(text)
        told = [RegistryProblem(".".join(map(str, path)), _line(path, lines), message) for path, message in problems.items()]
        raise RegistryInvalid(sorted(told, key=lambda problem: problem.line or 0), source)
    return registry


def _line(path: KeyPath, lines: dict[KeyPath, int]) -> int | None:
    """Line of the key or, for one that is missing, of the table it is missing in."""
    return next((lines[path[:length]] for length in range(len(path), 0, -1) if path[:length] in lines), None)


def _message(path: KeyPath, error: str, text: str, raw: dict[str, Any]) -> str:
    last = str(path[-1]) if path else ""
    if error == "extra_forbidden":
        allowed = _keys_at(path[:-1])
        if last in ("dsn", "password", "connection_string", "connection"):
            return "secrets are not written in the registry; put it into an environment variable and name it: dsn_env"
        return f"not a known key{nearest(last, allowed)} (allowed: {', '.join(allowed)})"
    if error == "missing":
        return f"needed (allowed keys here: {', '.join(_keys_at(path[:-1]))})"
    about_variable = last.endswith("_env") or "environment_names" in path
    if error == "string_pattern_mismatch":
        if about_variable:
            # The value is not shown: it may be the secret itself.
            return "Input should be the name of an environment variable (letters, digits and underscores), not its value"
        if len(path) == 2:
            return "names have letters, digits, dots, dashes and underscores, begin with a letter or digit, and have at most 63 characters"
        if "://" in text:
            text = "Input should be a URL: scheme://..."
    text = (
        text.removeprefix("Value error, ")
        .replace("an object", "a table")
        .replace("a valid tuple", "an array")
        .replace("a valid array", "an array")
    )
    value = _value_at(path, raw)
    if error == "value_error" or about_variable or isinstance(value, dict | list):
        return text
    shown = f'"{without_secrets(value)[:80]}"' if isinstance(value, str) else str(value).lower()[:80]
    return f"{text} (got {shown})"


def _value_at(path: KeyPath, raw: Any) -> object:
    for part in path:
        raw = raw[part]
    return raw


def _keys_at(path: KeyPath) -> list[str]:
    """The keys that the schema allows in the table at `path`."""
    here: Any = Registry
    for part in path:
        if isinstance(here, type) and issubclass(here, BaseModel):
            here = here.model_fields[str(part)].annotation
        elif get_origin(here) is dict:
            here = get_args(here)[1]
        if get_origin(here) in (Union, types.UnionType):
            here = next(option for option in get_args(here) if option is not type(None))
    return list(here.model_fields)
