"""How a gate is answered: the registry's rules for an environment, and what no registry may loosen.

Defaults ask. Loosening needs a word in the registry; tightening needs none: in production nobody's policy applies a change, the one who
started the run does not approve it, and `change` and `keep` gates need approvers that the registry names.
"""

import math

from perfwright.models.gate import GatePolicy, GatePolicyQuery, GateQuestion
from perfwright.models.registry import Registry
from perfwright.models.registry_checks import PRODUCTION
from perfwright.models.target import INLINE_ENVIRONMENT

MAX_DEADLINE_S = 2_592_000.0
"""Thirty days."""
MAX_REMINDERS = 10


def resolve_policy(registry: Registry, query: GatePolicyQuery) -> GatePolicy:
    """The policy of a gate as the registry has it now.

    Targets given in the input (environment `inline`) exist only on a person's own machine: their reviews do not hold the run up, unless the
    registry says otherwise. The deadline is the shorter one of the environment's and the run's.
    """
    policy = registry.gate_policy(query.environment, query.kind, query.risk, default_deadline_s=query.deadline_s)
    if query.environment == INLINE_ENVIRONMENT and query.environment not in registry.environments and query.kind == "review":
        policy = policy.model_copy(update={"policy": "notify", "reason": "targets given in the input are reviewed while the run goes on"})
    guarded = query.environment == PRODUCTION and query.kind != "review"
    tightened = policy.model_copy(
        update={
            "environment": query.environment,
            "deadline_s": min(policy.deadline_s, query.deadline_s),
            "self_approval": policy.self_approval and not guarded,
            "approvers_required": policy.approvers_required or guarded,
            "notifies": registry.notify.urls_env is not None,
        }
    )
    return within_limits(tightened, query.kind)


def within_limits(policy: GatePolicy, kind: str) -> GatePolicy:
    """The policy without what it may not do: `notify` outside of reviews, `auto` for a change in production, absurd times."""
    update: dict[str, object] = {
        "deadline_s": min(max(policy.deadline_s, 0.0), MAX_DEADLINE_S) if math.isfinite(policy.deadline_s) else MAX_DEADLINE_S,
        "reminders": min(max(policy.reminders, 0), MAX_REMINDERS),
    }
    if policy.policy == "notify" and kind != "review":
        update |= _asks(policy, f"notify is for reviews only, this is a {kind} gate")
    if policy.policy == "auto" and kind == "change" and policy.environment == PRODUCTION:
        update |= _asks(policy, "auto applies no change in production")
    return policy.model_copy(update=update)


def settle(policy: GatePolicy, question: GateQuestion) -> GatePolicy:
    """The policy for this very question: `auto` answers only when the quality gates behind it passed."""
    policy = within_limits(policy, question.kind)
    if policy.policy == "auto" and question.quality_passed is not True:
        found = "did not pass" if question.quality_passed is False else "have no result"
        return policy.model_copy(update=_asks(policy, f"the quality gates behind it {found}"))
    return policy


def _asks(policy: GatePolicy, why: str) -> dict[str, object]:
    return {"policy": "ask", "reason": f"{policy.reason}; asks, because {why}" if policy.reason else f"asks, because {why}"}
