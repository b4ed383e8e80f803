"""Prometheus rules and the Grafana dashboard: valid, current, and about metrics that are really exposed."""

import asyncio
import json
import re
import runpy
import shutil
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment

from activities.gates import Gates
from activities.registry_file import RegistryFile
from starter.ports import free_ports
from starter.search_attributes import ensure_search_attributes
from starter.worker_metrics import start_metrics
from tests.conftest import run_worker
from tests.deploy.stuck_sample import StuckSample
from tests.needs import needs, temporal_cli
from tests.workflows.gate_samples import Asking, AskingSample
from workflows.plugin import gate_watch
from workflows.plugin.metrics import GATE_WAIT
from workflows.plugin.plugin import PerfwrightPlugin

DEPLOY = Path(__file__).resolve().parents[2] / "deploy"
RULES = DEPLOY / "prometheus" / "rules.yml"
DASHBOARD = DEPLOY / "grafana" / "dashboards" / "perfwright.json"

NOT_METRICS = re.compile(r"\"[^\"]*\"|\{[^}]*\}|\[[^\]]*\]|\b(?:by|without|on|ignoring)\s*\([^)]*\)")
NAME = re.compile(r"(?<![\w.$])([a-zA-Z_:][a-zA-Z0-9_:]*)(?!\s*\()(?![\w:])")
OF_PROMETHEUS = {"up"}

with_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    return list(json.loads(DASHBOARD.read_text())["panels"])


def metrics_in(expression: str) -> set[str]:
    """The metric names of a PromQL expression."""
    return set(NAME.findall(NOT_METRICS.sub(" ", expression))) - {"and", "or", "unless", "bool", "offset"}


def named() -> set[str]:
    expressions = [alert["expr"] for alert in alerts()] + [target["expr"] for panel in panels() for target in panel["targets"]]
    return set().union(*map(metrics_in, expressions)) - OF_PROMETHEUS


def exposed_by(url: str) -> set[str]:
    with urllib.request.urlopen(url, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {re.split(r"[{ ]", line, maxsplit=1)[0] for line in lines if line and not line.startswith("#")}


def promtool(*arguments: str | Path) -> str:
    """What it says of files that it accepts."""
    told = subprocess.run(["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stdout + told.stderr
    return told.stdout


def asked_by(title: str = "") -> list[str]:
    """What the panel of that title, or every panel, asks Prometheus when six hours are on show."""
    expressions = [target["expr"] for panel in panels() if title in ("", panel["title"]) for target in panel["targets"]]
    return [expression.replace("$__range", "6h").replace("$__rate_interval", "1m") for expression in expressions]


@pytest.mark.parametrize(
    ("expression", "names"),
    [
        ('sum by (tool, outcome) (increase(a_total{outcome!~"done|x"}[15m])) > 3', {"a_total"}),
        ("histogram_quantile(0.95, sum by (le) (rate(b_seconds_bucket[$__rate_interval])))", {"b_seconds_bucket"}),
        ("absent(c{q='x'} > 0) or max(d) > 4 * 3600", {"c", "d"}),
        ("min_over_time(e[10m]) unless last_over_time(f{g='h'}[1d] offset 10m)", {"e", "f"}),
    ],
)
def test_metric_names_are_found(expression: str, names: set[str]) -> None:
    """What the next test compares are the metrics of an expression: no label, function or keyword."""
    assert metrics_in(expression) == names


@needs("temporal")
async def test_every_metric_named_is_exposed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A panel or an alert on a metric that neither the worker nor the server knows would stay silent for ever."""
    monkeypatch.setattr(gate_watch, "EVERY_S", 0.2)
    (server_port,) = free_ports(1)
    metrics = start_metrics({"PERFWRIGHT_METRICS": "127.0.0.1:0"}, own_histograms=(GATE_WAIT,))
    assert metrics.url is not None
    (tmp_path / "perfwright.toml").touch()
    gates = Gates(RegistryFile(tmp_path / "perfwright.toml"))
    queue = f"perfwright-{uuid.uuid4()}"
    missing = named()
    async with await WorkflowEnvironment.start_local(
        dev_server_existing_path=str(temporal_cli()),
        dev_server_log_level="error",
        # The server tells of backlogs once a minute.
        dev_server_extra_args=["--metrics-port", str(server_port), "--dynamic-config-value", 'matching.backlogMetricsEmitInterval="1s"'],
    ) as server:
        client = await Client.connect(
            server.client.service_client.config.target_host, plugins=[PerfwrightPlugin()], runtime=metrics.runtime
        )
        await ensure_search_attributes(client)
        activities = [gates.read_gate_policy, gates.send_notification]
        async with run_worker(client, queue, workflows=[AskingSample, StuckSample], activities=activities):
            stuck = await client.start_workflow(StuckSample.run, id=f"stuck/{uuid.uuid4()}", task_queue=queue)
            for deadline_s in (0.1, 60.0):
                await client.start_workflow(AskingSample.run, Asking(deadline_s=deadline_s), id=f"asking/{uuid.uuid4()}", task_queue=queue)
            end = asyncio.get_running_loop().time() + 60
            while missing and asyncio.get_running_loop().time() < end:
                for url in (metrics.url, f"http://127.0.0.1:{server_port}/metrics"):
                    missing -= await asyncio.to_thread(exposed_by, url)
                await asyncio.sleep(0.1)
            await stuck.terminate()
    assert not missing


def test_alerts_say_what_it_means_and_what_to_do() -> None:
    """Whoever is woken reads a sentence, not an expression."""
    assert alerts()
    for alert in alerts():
        assert alert["labels"]["severity"] in {"warning", "critical"}, alert["alert"]
        assert {"summary", "description"} <= alert["annotations"].keys(), alert["alert"]


@with_promtool
def test_promtool_accepts_rules_and_configuration(tmp_path: Path) -> None:
    """Prometheus starts with these files."""
    configuration = (DEPLOY / "prometheus" / "prometheus.yml").read_text().replace("/etc/prometheus/rules.yml", str(RULES))
    (tmp_path / "prometheus.yml").write_text(configuration)
    assert f"{len(alerts())} rules found" in promtool("check", "config", tmp_path / "prometheus.yml")


STORE = 'perfwright_activities_total{activity="publish_report", tool="Reports", outcome="StoreUnavailable"}'
TOOL = 'perfwright_activities_total{activity="sweep_settings", tool="Collectors", outcome="ToolFailed"}'
ERROR = 'perfwright_processes_closed_total{process="Trial", outcome="error"}'
JANITOR = 'perfwright_processes_closed_total{process="UndoJanitor", outcome="done"}'
FIRING = 'ALERTS{alertstate="firing", alertname=~"Perfwright(StoreUnavailable|ActivitiesFail|ProcessesNotCarriedOut)"}'
NEW = "_x8 3x60"
UNSEEN = "7x120 _x80 7x200"
"""Seen for 30 minutes, unseen for 20, and seen again."""


def fires(alert: str, labels: str) -> dict[str, int]:
    return {f'ALERTS{{alertname="{alert}", alertstate="firing", {labels}}}': 1}


@with_promtool
def test_what_a_counter_begins_with_counts(tmp_path: Path) -> None:
    """Alerts and panels see the events with which a counter comes into being; that Prometheus saw nothing for a time is no event."""
    (ended,), (failed,) = asked_by("Processes ended"), asked_by("Not carried out")
    no_store = fires("PerfwrightStoreUnavailable", 'severity="critical", activity="publish_report"')
    tool_fails = fires("PerfwrightActivitiesFail", 'severity="warning", ' + TOOL.partition("{")[2].rstrip("}"))
    runs_fail = fires("PerfwrightProcessesNotCarriedOut", 'severity="warning", process="Trial"')
    cases: list[tuple[str, str, list[tuple[str, str, dict[str, int]]]]] = [
        (STORE, "_x8 2x60", [("9m", FIRING, no_store)]),
        (TOOL, NEW, [("5m", FIRING, tool_fails)]),
        (ERROR, NEW, [("5m", FIRING, runs_fail), ("10m", ended, {"{}": 3}), ("10m", failed, {"{}": 3})]),
        (STORE, UNSEEN, [(at, FIRING, {}) for at in ("25m", "56m", "58m", "64m")]),
        (ERROR, UNSEEN, [(at, FIRING, {}) for at in ("51m", "60m", "75m")]),
    ]
    tests = [
        {
            "interval": "15s",
            "input_series": [{"series": series, "values": values}, {"series": JANITOR, "values": "0+1x400"}],
            "promql_expr_test": [
                {"expr": expr, "eval_time": at, "exp_samples": [{"labels": labels, "value": value} for labels, value in told.items()]}
                for at, expr, told in asked
            ],
        }
        for series, values, asked in cases
    ]
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(RULES)], "evaluation_interval": "15s", "tests": tests}))
    promtool("test", "rules", file)


@with_promtool
def test_prometheus_understands_every_panel(tmp_path: Path) -> None:
    """No panel asks what Prometheus refuses."""
    rules = [{"record": f"panel:{number}", "expr": expr} for number, expr in enumerate(asked_by())]
    file = tmp_path / "panels.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)


def test_prometheus_scrapes_every_worker_and_the_server() -> None:
    """Both kinds of worker by the port that the image serves, and the server where the compose file lets it listen."""
    jobs = {job["job_name"]: job for job in yaml.safe_load((DEPLOY / "prometheus" / "prometheus.yml").read_text())["scrape_configs"]}
    found = jobs["perfwright"]["dns_sd_configs"][0]
    assert found["names"] == ["worker", "host-worker"] and found["port"] == 9464
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    port = compose["services"]["temporal"]["environment"]["PROMETHEUS_ENDPOINT"].rpartition(":")[2]
    assert jobs["temporal"]["static_configs"] == [{"targets": [f"temporal:{port}"]}]


def test_the_dashboard_is_what_its_script_writes() -> None:
    """Nobody edits the JSON by hand: run `python deploy/grafana/make_dashboard.py`."""
    assert DASHBOARD.read_text() == runpy.run_path(str(DEPLOY / "grafana" / "make_dashboard.py"))["text"]()


def test_panels_have_a_place_of_their_own_and_explain_themselves() -> None:
    """No two panels overlap, all fit into the grid, and each says what is seen."""
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        place = panel["gridPos"]
        cells = {(x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])}
        assert not cells & taken and place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells
        assert panel["description"] and all(target["expr"] for target in panel["targets"])
    assert len({panel["title"] for panel in panels()}) == len(panels())


def provisioned(kind: str) -> Iterator[dict[str, Any]]:
    for file in (DEPLOY / "grafana" / "provisioning" / kind).glob("*.yml"):
        yield yaml.safe_load(file.read_text())


def test_the_dashboard_finds_its_data_source() -> None:
    """The panels name the data source that is provisioned, and the dashboard's folder is the one that is mounted."""
    (sources,) = provisioned("datasources")
    assert {panel["datasource"]["uid"] for panel in panels()} == {source["uid"] for source in sources["datasources"]}
    (dashboards,) = provisioned("dashboards")
    compose = yaml.safe_load((DEPLOY.parent / "docker-compose.yml").read_text())
    folder = dashboards["providers"][0]["options"]["path"]
    assert f"./deploy/grafana/dashboards:{folder}:ro" in compose["services"]["grafana"]["volumes"]
