import json
import shlex

import pytest

from perfwright.models.gate import DecisionInput, GateNotification
from perfwright.report.gate_texts import commands, fenced, gate_link, notification, one_line


@pytest.mark.parametrize("workflow_id", ["cpu-profiling-investigation/shop", "it's $(odd) `id`"])
def test_the_lines_to_paste_survive_a_shell(workflow_id: str) -> None:
    """Whatever the id of the run, the pasted line has it as one word, and its input is a decision."""
    temporal, ours = commands(workflow_id, "findings_review", "ab12cd34", signal="request_changes", comment="it's too short")
    words = shlex.split(temporal)
    assert words[words.index("--workflow-id") + 1] == workflow_id
    decision = DecisionInput.model_validate(json.loads(words[words.index("--input") + 1]))
    assert (decision.gate, decision.digest, decision.comment) == ("findings_review", "ab12cd34", "it's too short")
    assert shlex.split(ours) == [
        "perfwright",
        "request-changes",
        workflow_id,
        "findings_review",
        "--digest",
        "ab12cd34",
        "--comment",
        "it's too short",
    ]


@pytest.mark.parametrize("text", ["plain", "```", "a ```` b", ""])
def test_no_content_ends_its_code_block(text: str) -> None:
    """A change that has code fences in it is shown whole."""
    lines = fenced(text).splitlines()
    assert lines[0] == lines[-1]
    assert lines[0] not in text
    assert "\n".join(lines[1:-1]) == text


def test_text_from_outside_stays_in_its_line() -> None:
    """Names and comments cannot bring headings, code or HTML into the details."""
    assert one_line("a\n# b `c` <script>") == "a # b 'c' < script>"
    assert one_line("p99 < 200 ms") == "p99 < 200 ms"
    assert len(one_line("x" * 1_000)) == 300


def test_the_link_names_the_run() -> None:
    """The slash of a workflow id is escaped, so that the UI finds the run."""
    assert gate_link("https://t.example.com/", "default", "a/b", "r") == "https://t.example.com/namespaces/default/workflows/a%2Fb/r"


def test_a_notification_is_bounded() -> None:
    """However much evidence there is, services that limit messages take the notification."""
    told = GateNotification(
        workflow_id="w",
        run_id="r",
        gate="g",
        kind="keep",
        question="q" * 5_000,
        consequence="c" * 5_000,
        evidence=("e" * 5_000,) * 100,
        deadline_at="2026-03-01T12:00:00.000+00:00",
    )
    title, body = notification(told, link="", namespace="default")
    assert len(title) <= 200
    assert len(body) <= 4_100
