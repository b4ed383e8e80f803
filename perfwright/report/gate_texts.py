"""How an open gate is told to people: in the run's current details and in notifications. Markdown, bounded."""

import json
import re
import shlex
from urllib.parse import quote

from perfwright.models.gate import GateKind, GateNotification, GateQuestion, OpenGate

NOTIFICATION_CHARACTERS = 4_000
MIN_ROOM_BYTES = 600
EVIDENCE_LINES, EVIDENCE_CHARACTERS = 20, 300
YOUR_NAME = "YOUR NAME"

ANSWERS = {
    "review": "Nothing on the target changes",
    "change": "Nothing is applied without an approval; no answer means no",
    "keep": "Without an approval the change is undone; no answer means no",
}


def one_line(text: str, limit: int = 300) -> str:
    """Text from outside inside of Markdown: one line, bounded, without marks that would break out of where it stands."""
    flat = re.sub(r"<(?=[A-Za-z/!?])", "< ", " ".join(text.replace("`", "'").split()))
    return flat if len(flat) <= limit else flat[: limit - 1] + "…"


def fenced(text: str, language: str = "") -> str:
    """A code block that no content can end early."""
    longest, run = 0, 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}"


def commands(workflow_id: str, gate: str, digest: str, *, signal: str = "approve", **fields: object) -> tuple[str, str]:
    """The two lines to paste into a shell: for the Temporal CLI, and for ours."""
    decision = json.dumps({"gate": gate, "digest": digest, "by": YOUR_NAME} | fields)
    ours = {"request_changes": "request-changes"}.get(signal, signal)
    comment = f" --comment {shlex.quote(str(fields['comment']))}" if "comment" in fields else ""
    run = shlex.quote(workflow_id)
    return (
        f"temporal workflow signal --workflow-id {run} --name {signal} --input {shlex.quote(decision)}",
        f"perfwright {ours} {run} {gate} --digest {digest}{comment}",
    )


def gate_text(gate: OpenGate, workflow_id: str, room_bytes: int = 14_000) -> str:
    """An open gate as Markdown: what is asked, the evidence, what approval does, until when, and how to answer.

    Where room is short the exact change and the evidence are cut, never how to answer.
    """
    head, tail = _head(gate), _tail(gate, workflow_id)
    room = max(MIN_ROOM_BYTES, room_bytes - len((head + tail).encode()))
    evidence = _fit(_evidence(gate.question), room // 2)
    exact = _fit(gate.question.exact_change, room - len(evidence.encode()))
    parts = [head, evidence, f"Exactly this:\n\n{fenced(exact)}" if exact else "", tail]
    return "\n\n".join(part for part in parts if part)


def _head(gate: OpenGate) -> str:
    question = gate.question
    more = f"{gate.revisions_left} more request{'s' if gate.revisions_left != 1 else ''} for changes possible"
    return "\n\n".join(
        [
            f"## Waiting for you: `{gate.name}`, a {gate.kind} gate",
            f"**{one_line(question.question, 600)}**",
            f"**If you approve:** {one_line(question.consequence, 1_200)}  \n"
            f"{ANSWERS[gate.kind]}.  \n"
            f"**Until:** {gate.deadline_at[:19]}Z, then {after_deadline(gate.kind)}.  \n"
            f"**On show:** revision {gate.revision}, digest `{gate.digest}`; {more}.",
        ]
    )


def _tail(gate: OpenGate, workflow_id: str) -> str:
    policy = gate.policy
    parts = []
    if policy.approvers:
        parts.append(f"Who may answer: {one_line(', '.join(policy.approvers), 600)}.")
    if not policy.self_approval and policy.started_by:
        parts.append(f"Not for the one who started it ({one_line(', '.join(policy.started_by), 200)}) to approve.")
    return "\n\n".join([*parts, _how_to_answer(gate, workflow_id)])


def after_deadline(kind: GateKind) -> str:
    """What no answer means."""
    return "the result stands as unreviewed" if kind == "review" else "it counts as rejected"


def _evidence(question: GateQuestion) -> str:
    lines = [f"- {_cut(' '.join(line.split()), EVIDENCE_CHARACTERS)}" for line in question.evidence[:EVIDENCE_LINES]]
    if len(question.evidence) > EVIDENCE_LINES:
        lines.append(f"- and {len(question.evidence) - EVIDENCE_LINES} more lines, see the query `pending_gates`")
    lines += [f"- {one_line(ref.title or ref.media_type, 100)}: `{one_line(ref.uri, 300)}`" for ref in question.artifacts[:EVIDENCE_LINES]]
    return "\n".join(lines)


def _how_to_answer(gate: OpenGate, workflow_id: str) -> str:
    temporal, ours = commands(workflow_id, gate.name, gate.digest)
    why = "WHY"
    answers = [f"Approve:\n\n{fenced(ours + chr(10) + temporal, 'sh')}"]
    temporal, ours = commands(workflow_id, gate.name, gate.digest, signal="reject", comment=why)
    answers.append(f"Reject:\n\n{fenced(ours + chr(10) + temporal, 'sh')}")
    if gate.revisions_left:
        fields = gate.question.overrides
        more: dict[str, object] = {"overrides": {next(iter(fields)): "VALUE"}} if fields else {}
        temporal, ours = commands(workflow_id, gate.name, gate.digest, signal="request_changes", comment=why, **more)
        ours += f" --set {next(iter(fields))}=VALUE" if fields else ""
        told = "".join(f"\n- `{one_line(name, 60)}`: {one_line(what, 200)}" for name, what in list(fields.items())[:EVIDENCE_LINES])
        answers.append(f"Ask for changes:\n\n{fenced(ours + chr(10) + temporal, 'sh')}" + (f"\n\nWhat may change:\n{told}" if told else ""))
    return "\n\n".join(answers)


def notification(told: GateNotification, *, link: str, namespace: str) -> tuple[str, str]:
    """Title and Markdown body of what is sent; `link` is the base URL of the Temporal UI, or empty."""
    where = f" on {told.target}" if told.target else ""
    opening = "Reminder: " if told.reminder else ""
    title = one_line(f"{opening}{told.gate}{where}: {told.question}", 200)
    body = [f"**{one_line(told.question, 600)}**"]
    if told.policy == "notify":
        body.append(f"The run goes on; object with reject until {told.deadline_at[:19]}Z.")
    else:
        body.append(f"If you approve: {one_line(told.consequence, 1_000)}")
        body.append(f"Until {told.deadline_at[:19]}Z, then {after_deadline(told.kind)}.")
    if told.environment:
        body.append(f"Environment {one_line(told.environment)}, run {one_line(told.workflow_id)}, digest {told.digest}.")
    if link:
        body.append(gate_link(link, namespace, told.workflow_id, told.run_id))
    signal, more = ("reject", {"comment": "WHY"}) if told.policy == "notify" else ("approve", {})
    temporal, ours = commands(told.workflow_id, told.gate, told.digest, signal=signal, **more)
    body.append(fenced(f"{ours}\n{temporal}", "sh"))
    body += ["\n".join(f"- {_cut(' '.join(line.split()), EVIDENCE_CHARACTERS)}" for line in told.evidence[:EVIDENCE_LINES])]
    return title, _cut("\n\n".join(part for part in body if part), NOTIFICATION_CHARACTERS)


def gate_link(link: str, namespace: str, workflow_id: str, run_id: str) -> str:
    """The run's page in the Temporal UI; it stays the same for the life of the gate."""
    return f"{link.rstrip('/')}/namespaces/{quote(namespace, safe='')}/workflows/{quote(workflow_id, safe='')}/{quote(run_id, safe='')}"


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else f"{text[:limit]}\n… {len(text) - limit:,} more characters"


def _fit(text: str, room_bytes: int) -> str:
    encoded = text.encode("utf-8", "replace")
    if len(encoded) <= room_bytes:
        return text
    kept = encoded[: max(0, room_bytes - 60)].decode("utf-8", "ignore")
    return f"{kept}\n… {len(text) - len(kept):,} more characters, see the query `pending_gates`"
