import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.gates import Gates, names_of
from activities.registry_file import RegistryFile
from perfwright.models.gate import GateNotification, GatePolicyQuery, NotificationOutcome

pytestmark = pytest.mark.filterwarnings(
    "ignore:'imghdr' is deprecated:DeprecationWarning"
)  # a sender of Apprise's imports it where it exists

NOTIFY = '[notify]\nurls_env = "TEAM"\nlink = "https://temporal.example.com/"\n'
SECRET = "s3cr3t-token"


class Team:
    """A service that takes notifications on loopback, or answers with an error, or not at all."""

    def __init__(self) -> None:
        self.received: list[dict[str, Any]] = []
        self.status = 200
        self.release = threading.Event()
        self.release.set()
        team = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                team.release.wait(20)
                team.received.append(json.loads(body) | {"path": self.path})
                self.send_response(team.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)

    @property
    def url(self) -> str:
        return f"json://127.0.0.1:{self.server.server_port}/{SECRET}"


@pytest.fixture
def team() -> Iterator[Team]:
    team = Team()
    team.thread.start()
    yield team
    team.release.set()
    team.server.shutdown()
    team.thread.join()
    team.server.server_close()


@pytest.fixture
def registry(tmp_path: Path) -> Path:
    path = tmp_path / "perfwright.toml"
    path.write_text(NOTIFY)
    return path


def telling(**fields: Any) -> GateNotification:
    return GateNotification(
        **{
            "workflow_id": "cpu-profiling-investigation/shop",
            "run_id": "run-1",
            "gate": "findings_review",
            "kind": "review",
            "question": "Are these findings right?",
            "consequence": "The report says so.",
            "evidence": ("match_rules takes **41 %**",),
            "target": "shop",
            "environment": "lab",
            "digest": "ab12cd34",
            "deadline_at": "2026-03-01T12:00:00.000+00:00",
        }
        | fields
    )


async def send(registry: Path, addresses: str, told: GateNotification | None = None, **options: Any) -> NotificationOutcome:
    gates = Gates(RegistryFile(registry), environ={"TEAM": addresses} if addresses else {}, **options)
    outcome: NotificationOutcome = await ActivityEnvironment().run(gates.send_notification, told or telling())
    return outcome


async def test_the_team_hears_of_a_gate(registry: Path, team: Team) -> None:
    """What is sent has the question, the evidence, the deadline, a link to the run, and the line that answers it."""
    assert await send(registry, f"{team.url}, {team.url}?again=1") == NotificationOutcome(sent=2)
    message = team.received[0]
    assert message["title"] == "findings_review on shop: Are these findings right?"
    for words in (
        "match_rules takes **41 %**",
        "Until 2026-03-01T12:00:00Z, then the result stands as unreviewed",
        "https://temporal.example.com/namespaces/default/workflows/cpu-profiling-investigation%2Fshop/run-1",
        "perfwright approve cpu-profiling-investigation/shop findings_review",
        "ab12cd34",
    ):
        assert words in message["message"]


async def test_a_reminder_says_so_and_a_noted_review_says_how_to_object(registry: Path, team: Team) -> None:
    """A reminder is told from the first message; where the run goes on, the line is the one that objects."""
    await send(registry, team.url, telling(reminder=2))
    assert team.received[0]["title"].startswith("Reminder: ")
    await send(registry, team.url, telling(policy="notify"))
    assert "perfwright reject" in team.received[1]["message"]
    assert "perfwright approve" not in team.received[1]["message"]


async def test_addresses_that_fail_are_told_without_their_secrets(registry: Path, team: Team, caplog: pytest.LogCaptureFixture) -> None:
    """An address that refuses, that Apprise does not know, or that is none is an outcome by kind; no address is logged or told."""
    caplog.set_level("DEBUG")
    team.status = 500
    outcome = await send(registry, f"{team.url} nosuch://{SECRET} {SECRET}")
    assert outcome.sent == 0
    assert "json: not accepted" in outcome.note
    assert "nosuch: not an address that Apprise knows" in outcome.note
    assert SECRET not in outcome.note
    assert SECRET not in caplog.text


async def test_an_address_that_does_not_answer_is_given_up(registry: Path, team: Team) -> None:
    """A service that hangs holds nothing up for longer than the time limit."""
    team.release.clear()
    outcome = await send(registry, team.url, send_timeout_s=0.3)
    assert (outcome.sent, outcome.failed, outcome.note) == (0, 1, "json: no answer within 0.3 s")


async def test_addresses_that_are_missing_are_told_by_the_name_of_the_variable(registry: Path) -> None:
    """A worker without the environment variable says which one is missing."""
    outcome = await send(registry, "")
    assert outcome == NotificationOutcome(failed=1, note="the environment variable TEAM is not set for this worker")


async def test_a_variable_that_is_set_and_empty_is_a_choice(registry: Path) -> None:
    """A deployment hands the variable on whether it is filled in or not: where it is empty nobody wants to be told, and nothing failed."""
    for nothing in ("", " \n"):
        gates = Gates(RegistryFile(registry), environ={"TEAM": nothing})
        assert await ActivityEnvironment().run(gates.send_notification, telling()) == NotificationOutcome()


@pytest.mark.parametrize(
    ("principal", "identity", "names"),
    [
        ("", "temporal-cli:ada@laptop", ("temporal-cli:ada@laptop", "temporal-cli:ada", "ada")),
        ("", "ada@laptop", ("ada@laptop", "ada")),
        ("grace", "ada@laptop", ("grace", "ada@laptop", "ada")),
        ("", "", ()),
    ],
)
def test_who_started_a_run_has_several_names(principal: str, identity: str, names: tuple[str, ...]) -> None:
    """Whoever starts a run by any of our ways or by the `temporal` command is known by the user's name alone."""
    assert names_of(principal, identity) == names


async def test_without_addresses_in_the_registry_nobody_is_told(registry: Path) -> None:
    """No notifications are a choice and no failure."""
    registry.write_text("")
    assert await send(registry, "json://127.0.0.1:1") == NotificationOutcome()


def asks(**fields: Any) -> GatePolicyQuery:
    return GatePolicyQuery(**{"gate": "g", "kind": "review", "environment": "lab", "deadline_s": 60.0} | fields)


async def test_the_policy_is_the_one_in_the_file_now(registry: Path) -> None:
    """A change of the registry counts for the next gate, without a restart; a broken edit leaves the last valid one in force."""
    gates = Gates(RegistryFile(registry))
    read = ActivityEnvironment().run
    assert (await read(gates.read_gate_policy, asks())).policy == "ask"
    registry.write_text('[environments.lab]\nreview = "notify"\n')
    assert (await read(gates.read_gate_policy, asks())).policy == "notify"
    registry.write_text("[environments.lab")
    assert (await read(gates.read_gate_policy, asks())).policy == "notify"


async def test_a_registry_that_never_was_valid_is_worth_another_attempt(registry: Path) -> None:
    """The gate waits for the file to be repaired; the error says what is wrong with it."""
    registry.write_text("[environments.lab")
    with pytest.raises(ApplicationError, match="not TOML") as refused:
        await ActivityEnvironment().run(Gates(RegistryFile(registry)).read_gate_policy, asks())
    assert not refused.value.non_retryable
