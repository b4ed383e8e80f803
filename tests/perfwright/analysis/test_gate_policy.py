from typing import Any

import pytest

from perfwright.analysis.gate_policy import resolve_policy, within_limits
from perfwright.models.gate import GatePolicy, GatePolicyQuery
from perfwright.models.registry import parse_registry

REGISTRY = """
[environments.lab]
review = "notify"
change = "auto"
keep = { observe = "auto", restart = "ask" }

[environments.production]
approvers = ["ada", "bob"]
deadline_s = 600.0
reminders = 5
[notify]
urls_env = "TEAM_ADDRESSES"
"""


def policy(environment: str, kind: str, text: str = REGISTRY, **fields: Any) -> GatePolicy:
    query = GatePolicyQuery(**{"gate": "g", "kind": kind, "environment": environment, "deadline_s": 3_600.0} | fields)
    return resolve_policy(parse_registry(text), query)


@pytest.mark.parametrize(
    ("environment", "kind", "risk", "word"),
    [
        ("lab", "review", "observe", "notify"),
        ("lab", "change", "irreversible", "auto"),
        ("lab", "keep", "observe", "auto"),
        ("lab", "keep", "restart", "ask"),
        ("lab", "keep", "reload", "ask"),
        ("staging", "review", "observe", "ask"),
        ("staging", "change", "observe", "ask"),
        ("production", "change", "observe", "ask"),
        ("inline", "review", "observe", "notify"),
        ("inline", "change", "observe", "ask"),
        ("no-such", "keep", "observe", "ask"),
    ],
)
def test_the_word_of_the_registry_and_its_limits(environment: str, kind: str, risk: str, word: str) -> None:
    """Each environment, gate kind and risk class is answered as the registry says; where it says nothing, a person is asked."""
    found = policy(environment, kind, risk=risk)
    assert found.policy == word
    assert found.environment == environment
    assert environment in found.reason or environment == "inline"


def test_production_is_never_looser_than_its_rules() -> None:
    """In production the starter does not approve, and change and keep need approvers that the registry names."""
    told = policy("production", "change")
    assert (told.approvers, told.self_approval, told.approvers_required) == (("ada", "bob"), False, True)
    loosened = policy("production", "keep", '[environments.production]\nself_approval = true\nkeep = "auto"\n')
    assert (loosened.policy, loosened.self_approval, loosened.approvers_required, loosened.approvers) == ("auto", False, True, ())
    assert policy("production", "keep", "").approvers_required
    assert not policy("production", "review").approvers_required


def test_the_shorter_deadline_counts() -> None:
    """An environment may shorten the time that a run gives to people, not lengthen it."""
    assert policy("production", "review").deadline_s == 600
    assert policy("production", "review", deadline_s=30.0).deadline_s == 30
    assert policy("lab", "review", deadline_s=30.0).deadline_s == 30
    assert policy("production", "review").reminders == 5


def test_whether_anybody_is_notified() -> None:
    """Without addresses in the registry no notification step is taken."""
    assert policy("lab", "review").notifies
    assert not policy("lab", "review", "").notifies


def test_the_registry_may_ask_for_targets_given_in_the_input() -> None:
    """Targets given in the input are reviewed while the run goes on, unless the registry has its own rules for them."""
    assert policy("inline", "review", '[environments.inline]\nreview = "ask"\n').policy == "ask"


def test_no_policy_applies_a_change_in_production() -> None:
    """Even a policy that did not come through the registry's checks asks before a change in production."""
    found = within_limits(GatePolicy(policy="auto", environment="production", reason="told"), "change")
    assert found.policy == "ask"
    assert found.reason == "told; asks, because auto applies no change in production"
