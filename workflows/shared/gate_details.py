"""The run's current details: what the Temporal UI and `perfwright show` tell a person right now. Markdown, at most 20 kB."""

from collections.abc import Sequence

from perfwright.models.gate import RefusedDecision
from perfwright.models.progress import Progress
from perfwright.report.gate_texts import gate_text, one_line

DETAILS_BYTES = 19_000
"""The server takes 20 kB."""
GATES_SHOWN = 5
GATES_BYTES = 13_000
"""What all open gates together may take: the rest is for what was refused, and for results."""
REFUSED_SHOWN = 5
STEPS_SHOWN = 15


def details(progress: Progress, refused: Sequence[RefusedDecision], notices: Sequence[str], workflow_id: str) -> str:
    """All that is known of where the run stands; what waits for a person comes first."""
    parts = [_headline(progress)]
    if progress.waiting_for:
        parts.append(one_line(progress.waiting_for, 600))
    shown = progress.open_gates[:GATES_SHOWN]
    parts += [gate_text(gate, workflow_id, GATES_BYTES // len(shown)) for gate in shown]
    if len(progress.open_gates) > GATES_SHOWN:
        parts.append(f"{len(progress.open_gates) - GATES_SHOWN} more gates are open: see the query `pending_gates`.")
    for gate in progress.noted_gates[-GATES_SHOWN:]:
        told = f"`{gate.name}` was noted ({one_line(gate.policy.reason)}); a reject is taken as an objection until {gate.deadline_at[:19]}Z"
        parts.append(f"{told} or the end of the run, digest `{gate.digest}`.")
    if notices:
        parts.append("\n".join(f"- {one_line(notice, 600)}" for notice in notices))
    if refused:
        parts.append(_refused(refused, progress.refused_decisions))
    if progress.latest:
        parts.append("## Latest\n\n" + "\n".join(f"- {line}" for line in progress.latest))
    if progress.steps:
        parts.append(_steps(progress))
    text = "\n\n".join(parts)
    if len(encoded := text.encode("utf-8", "replace")) > DETAILS_BYTES:
        text = encoded[:DETAILS_BYTES].decode("utf-8", "ignore") + "\n\n… cut; the queries `pending_gates` and `progress` have the rest"
    return text


def _headline(progress: Progress) -> str:
    on = f" on {one_line(progress.target)}" if progress.target else ""
    where = f" ({one_line(progress.environment)})" if progress.environment else ""
    step = f": {one_line(progress.step)}" if progress.step else ""
    return f"**{one_line(progress.phase) or 'Starting'}**{step}{on}{where}"


def _refused(refused: Sequence[RefusedDecision], count: int) -> str:
    lines = [f"## Not taken ({count})", ""]
    for entry in refused[-REFUSED_SHOWN:]:
        by = f" by {one_line(entry.by, 60)}" if entry.by else ""
        lines.append(f"- {entry.at[:19]}Z `{one_line(entry.message, 60)}`{by}: {one_line(entry.reason, 300)}")
    if count > REFUSED_SHOWN:
        lines.append(f"- and {count - REFUSED_SHOWN} more: see the query `rejected_decisions`")
    return "\n".join(lines)


def _steps(progress: Progress) -> str:
    lines = ["## Steps", ""]
    if len(progress.steps) > STEPS_SHOWN:
        lines.append(f"- {len(progress.steps) - STEPS_SHOWN} earlier steps")
    for step in progress.steps[-STEPS_SHOWN:]:
        note = f": {one_line(step.note, 200)}" if step.note else ""
        lines.append(f"- {one_line(step.name, 100)}, {step.outcome} in {step.duration_s:.1f} s{note}")
    return "\n".join(lines)
