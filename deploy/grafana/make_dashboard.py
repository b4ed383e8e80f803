"""Write `dashboards/perfwright.json`: Perfwright's own health on one page. A test holds the file against this script.

python deploy/grafana/make_dashboard.py
"""

import json
from pathlib import Path
from typing import Any

FILE = Path(__file__).parent / "dashboards" / "perfwright.json"
SOURCE = {"type": "prometheus", "uid": "perfwright-prometheus"}
WIDTH = 24
RATE = "$__rate_interval"
RANGE = "$__range"
BEFORE = "1h"
"""A series that was not seen for so long before a window came into being in it."""
OF_PEOPLE = 'process!~"TargetLease|UndoJanitor"'
"""Leases and the janitor are our own, and nobody starts them: there is one lease per target, and a janitor every five minutes."""

Panel = dict[str, Any]


def stat(title: str, expr: str, unit: str, what: str, *, warn: float | None = None, warn_below: bool = False) -> Panel:
    """One number. `warn`: from where on (or below which) it is orange."""
    steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
    if warn is not None:
        steps = [{"color": "orange", "value": None}, {"color": "green", "value": warn}] if warn_below else [*steps, _orange(warn)]
    return _panel("stat", title, what, [(expr, "")], unit, 4, 4) | {
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area", "textMode": "value"},
        "fieldConfig": {"defaults": {"unit": unit, "noValue": "0", "thresholds": {"mode": "absolute", "steps": steps}}, "overrides": []},
    }


def series(title: str, queries: list[tuple[str, str]], unit: str, what: str, *, bars: bool = False, width: int = 12) -> Panel:
    """Lines over time, or stacked bars of what was counted. `queries`: expression and legend."""
    custom: dict[str, Any] = {"lineWidth": 1, "fillOpacity": 60 if bars else 8, "showPoints": "never"}
    custom |= {"drawStyle": "bars", "stacking": {"mode": "normal", "group": "A"}} if bars else {"drawStyle": "line"}
    return _panel("timeseries", title, what, queries, unit, width, 8) | {
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi", "sort": "desc"}},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0, "custom": custom}, "overrides": []},
    }


def _orange(value: float) -> dict[str, Any]:
    return {"color": "orange", "value": value}


def _panel(kind: str, title: str, what: str, queries: list[tuple[str, str]], unit: str, width: int, height: int) -> Panel:
    targets = [
        {"refId": chr(ord("A") + number), "expr": expr, "legendFormat": legend, "datasource": SOURCE}
        for number, (expr, legend) in enumerate(queries)
    ]
    size = {"w": width, "h": height}
    return {"type": kind, "title": title, "description": what, "datasource": SOURCE, "targets": targets, "gridPos": size}


def quantile(share: float, histogram: str, by: str) -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({histogram}_bucket[{RATE}])))"


def counted(counter: str, by: str = "", matching: str = "", window: str = RATE) -> str:
    """How much a counter rose, from the first event on.

    A counter exists from its first event on, and `increase` takes the first value for nothing: of one investigation a day after a worker's
    restart it would see none. So what a new series begins with is added, under a label of its own beside its increase.
    """
    series = f"{counter}{{{matching}}}" if matching else counter
    began = f"min_over_time({series}[{window}]) unless last_over_time({series}[{BEFORE}] offset {window})"
    grouping = f"by ({by}) " if by else ""
    return f'sum {grouping}(increase({series}[{window}]) or label_replace({began}, "began", "1", "", ""))'


PANELS = [
    stat("Gates waiting", "max(perfwright_gates_waiting)", "short", "Questions that a person has not answered yet."),
    stat("Oldest gate", "max(perfwright_gates_oldest_age_seconds)", "s", "How long the oldest of them has waited.", warn=4 * 3_600),
    stat(
        "Workers polling",
        'count(temporal_num_pollers{task_queue="perfwright", poller_type="workflow_task"} > 0)',
        "short",
        "Workers that move processes on. None: everything stands still, nothing is lost.",
        warn=1,
        warn_below=True,
    ),
    stat(
        "Hosts reachable",
        'count(count by (task_queue) (temporal_num_pollers{task_queue=~"perf-host[.].*[.]probe"} > 0))',
        "short",
        "Hosts whose worker polls.",
    ),
    stat(
        "Processes ended",
        counted("perfwright_processes_closed_total", matching=OF_PEOPLE, window=RANGE),
        "short",
        "In the time shown, whatever the verdict.",
    ),
    stat(
        "Not carried out",
        counted("perfwright_processes_closed_total", matching=f'{OF_PEOPLE}, outcome="error"', window=RANGE),
        "short",
        "In the time shown: ended without a verdict.",
        warn=1,
    ),
    series(
        "Processes started",
        [(counted("perfwright_processes_started_total", "process", OF_PEOPLE), "{{process}}")],
        "short",
        "By process.",
        bars=True,
    ),
    series(
        "Processes ended, by verdict",
        [(counted("perfwright_processes_closed_total", "outcome", OF_PEOPLE), "{{outcome}}")],
        "short",
        "Verdicts, and error or cancelled.",
        bars=True,
    ),
    series(
        "Gates",
        [
            ("max(perfwright_gates_waiting)", "waiting"),
            (counted("perfwright_gates_opened_total", "kind"), "opened: {{kind}}"),
            (counted("perfwright_gates_answered_total", "outcome"), "answered: {{outcome}}"),
        ],
        "short",
        "How many wait, and how many were opened and answered.",
    ),
    series(
        "How long people take",
        [
            ("max(perfwright_gates_oldest_age_seconds)", "oldest that waits"),
            (quantile(0.5, "perfwright_gate_wait_seconds", "kind"), "answered: median of {{kind}}"),
            (quantile(0.95, "perfwright_gate_wait_seconds", "kind"), "answered: p95 of {{kind}}"),
        ],
        "s",
        "Age of the oldest open gate, and how long answered ones had waited.",
    ),
    series(
        "Activities, by tool and outcome",
        [(counted("perfwright_activities_total", "tool, outcome"), "{{tool}}: {{outcome}}")],
        "short",
        "Attempts that ended. `done`, `cancelled`, or the type of the error.",
        bars=True,
    ),
    series(
        "Activities that fail",
        [(counted("perfwright_activities_total", "activity, outcome", 'outcome!~"done|cancelled"'), "{{activity}}: {{outcome}}")],
        "short",
        "The same without what went well.",
        bars=True,
    ),
    series(
        "Waiting for a worker",
        [
            (quantile(0.95, "temporal_workflow_task_schedule_to_start_latency_seconds", "task_queue"), "workflow task on {{task_queue}}"),
            (quantile(0.95, "temporal_activity_schedule_to_start_latency_seconds", "task_queue"), "activity on {{task_queue}}"),
        ],
        "s",
        "p95 from scheduled to started. Above a second: add workers.",
    ),
    series(
        "Task latency",
        [
            (quantile(0.95, "temporal_workflow_task_execution_latency_seconds", "workflow_type"), "workflow task of {{workflow_type}}"),
            (quantile(0.95, "temporal_activity_execution_latency_seconds", "activity_type"), "{{activity_type}}"),
        ],
        "s",
        "p95 of the work itself. A workflow task has ten seconds at most.",
    ),
    series(
        "Slots in use",
        [
            (
                'sum by (task_queue, worker_type) (temporal_worker_task_slots_used{worker_type!="LocalActivityWorker"})',
                "{{task_queue}} {{worker_type}}",
            )
        ],
        "short",
        "A host has eight on purpose: measurements wait for each other.",
        width=8,
    ),
    series(
        "Backlog",
        [('max by (taskqueue) (approximate_backlog_age_seconds{taskqueue=~"perf.*"})', "{{taskqueue}}")],
        "s",
        "Age of the oldest task that waits, as the server sees it: also of queues that nobody polls.",
        width=8,
    ),
    series(
        "Workflow tasks that fail",
        [(counted("temporal_workflow_task_execution_failed_total", "workflow_type"), "{{workflow_type}}")],
        "short",
        "Runs that are stuck until a worker comes that can replay them. Always zero, or it is urgent.",
        bars=True,
        width=8,
    ),
]


def dashboard() -> dict[str, Any]:
    x = y = row_height = 0
    placed = []
    for number, panel in enumerate(PANELS, start=1):
        width, height = panel["gridPos"]["w"], panel["gridPos"]["h"]
        if x + width > WIDTH:
            x, y = 0, y + row_height
        placed.append(panel | {"id": number, "gridPos": {"x": x, "y": y, "w": width, "h": height}})
        x, row_height = x + width, height
    return {
        "uid": "perfwright",
        "title": "Perfwright",
        "tags": ["perfwright"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "timezone": "browser",
        "panels": placed,
    }


def text() -> str:
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
