"""Our own metrics, on the same endpoint as Temporal's. In workflows they count once, not again in replays.

perfwright_processes_started_total   process
perfwright_processes_closed_total    process, outcome (verdict, or `error`, `cancelled`)
perfwright_activities_total          activity, tool, outcome (done, cancelled, or the error type)
perfwright_gates_opened_total        gate, kind
perfwright_gates_answered_total      gate, kind, outcome
perfwright_gate_wait_seconds         gate, kind: histogram of how long answered gates waited
perfwright_gates_waiting             gauge, from visibility (see gate_watch)
perfwright_gates_oldest_age_seconds  gauge, from visibility
"""

from temporalio import activity, workflow

ACTIVITIES = "perfwright_activities"
PROCESSES_STARTED = "perfwright_processes_started"
PROCESSES_CLOSED = "perfwright_processes_closed"
GATES_OPENED = "perfwright_gates_opened"
GATES_ANSWERED = "perfwright_gates_answered"
GATE_WAIT = "perfwright_gate_wait_seconds"
GATES_WAITING = "perfwright_gates_waiting"
GATES_OLDEST_AGE = "perfwright_gates_oldest_age_seconds"


def process_started() -> None:
    workflow.metric_meter().create_counter(PROCESSES_STARTED, "Runs started").add(1, {"process": workflow.info().workflow_type})


def process_closed(outcome: str) -> None:
    labels = {"process": workflow.info().workflow_type, "outcome": outcome}
    workflow.metric_meter().create_counter(PROCESSES_CLOSED, "Runs closed, by verdict").add(1, labels)


def gate_opened(gate: str, kind: str) -> None:
    """Call it in workflow code when a gate opens."""
    workflow.metric_meter().create_counter(GATES_OPENED, "Gates opened").add(1, {"gate": gate, "kind": kind})


def gate_answered(gate: str, kind: str, outcome: str, waited_s: float) -> None:
    """Call it in workflow code when a gate is answered or its deadline passes."""
    meter = workflow.metric_meter()
    meter.create_counter(GATES_ANSWERED, "Gates answered").add(1, {"gate": gate, "kind": kind, "outcome": outcome})
    histogram = meter.create_histogram_float(GATE_WAIT, "How long answered gates waited")
    histogram.record(max(0.0, waited_s), {"gate": gate, "kind": kind})


def activity_ended(name: str, tool: str, outcome: str) -> None:
    labels = {"activity": name, "tool": tool, "outcome": outcome}
    activity.metric_meter().create_counter(ACTIVITIES, "Activities, by tool and outcome").add(1, labels)
