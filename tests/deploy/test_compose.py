"""docker-compose.yml: what a person who starts it may rely on, and what Docker Compose itself says of it."""

import json
import re
import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = ROOT / "deploy" / "compose.env.example"
JOBS = {"temporal-schema", "temporal-namespace"}
DEFAULT = re.compile(r"\$\{(\w+)(?::?([-?])([^}]*))?\}")


@cache
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def services() -> dict[str, dict[str, Any]]:
    return dict(compose()["services"])


def substituted(text: str) -> str:
    """The text with the defaults of its variables."""
    return DEFAULT.sub(lambda found: found.group(3) if found.group(2) == "-" else f"<{found.group(1)}>", text)


@pytest.mark.parametrize(
    ("service", "image"),
    [("temporal", "temporalio/server:1.31.2"), ("temporal-schema", "temporalio/admin-tools:1.31.2"), ("ui", "temporalio/ui:2.50.1")],
)
def test_temporal_is_the_version_that_perfwright_is_tried_with(service: str, image: str) -> None:
    """Without any setting the pinned server and UI run."""
    assert substituted(services()[service]["image"]) == image


def test_every_image_is_pinned_and_none_sets_itself_up() -> None:
    """No floating tag; not the deprecated image that makes its schema at every start."""
    for name, service in services().items():
        image = substituted(service["image"])
        assert re.search(r":v?\d+\.\d+", image), f"{name}: {image}"
        assert "auto-setup" not in image


def test_the_worker_image_has_the_version_of_the_package() -> None:
    """Compose and Kubernetes run what this checkout is."""
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert substituted(services()["worker"]["image"]) == f"perfwright/worker:{version}"
    kustomization = yaml.safe_load((ROOT / "deploy" / "kubernetes" / "kustomization.yaml").read_text())
    assert kustomization["images"] == [{"name": "perfwright/worker", "newTag": version}]


def test_only_loopback_is_published() -> None:
    """Whoever reaches Temporal may approve, so nothing is open to the network unless somebody says so."""
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert len(published) == 4
    assert all(substituted(port).startswith("127.0.0.1:") for port in published)
    assert "ports" not in services()["postgres"]


def test_every_service_is_watched_bounded_and_comes_back() -> None:
    """A health check, a restart policy, limits, and logs that cannot fill the disk; what serves comes back after a reboot."""
    for name, service in services().items():
        assert service["deploy"]["resources"]["limits"].keys() >= {"cpus", "memory"}, name
        assert service["logging"]["options"].keys() == {"max-size", "max-file"}, name
        assert "no-new-privileges:true" in service["security_opt"], name
        if name in JOBS:
            assert service["restart"].startswith("on-failure:"), name
        else:
            assert service["restart"] == "unless-stopped", name
            assert "build" in service or service["healthcheck"]["test"][0] == "CMD", name  # the worker's stands in its Dockerfile


def test_it_starts_in_order() -> None:
    """Schema after PostgreSQL, server after the schema, namespace after the server, workers after the namespace."""
    conditions = {name: {on: how["condition"] for on, how in service.get("depends_on", {}).items()} for name, service in services().items()}
    assert conditions["temporal-schema"] == {"postgres": "service_healthy"}
    assert conditions["temporal"] == {"temporal-schema": "service_completed_successfully"}
    assert conditions["temporal-namespace"] == {"temporal": "service_healthy"}
    for worker in ("worker", "host-worker"):
        assert conditions[worker]["temporal-namespace"] == "service_completed_successfully"


def test_rights_are_dropped_and_only_the_host_worker_has_some() -> None:
    """All but PostgreSQL (which changes its user) drop every capability; the host worker is asked for by name."""
    for name, service in services().items():
        assert name == "postgres" or service["cap_drop"] == ["ALL"], name
    assert [name for name, service in services().items() if "cap_add" in service or service.get("pid") == "host"] == ["host-worker"]
    assert {"SYS_PTRACE", "PERFMON"} < set(services()["host-worker"]["cap_add"])
    assert services()["host-worker"]["profiles"] == ["host"]


def test_no_secret_has_a_default() -> None:
    """Every password must be given, and the example lists each of them, empty."""
    text = (ROOT / "docker-compose.yml").read_text()
    passwords = {name for name, how, _ in DEFAULT.findall(text) if name.endswith("PASSWORD")}
    assert passwords and all(how == "?" for name, how, _ in DEFAULT.findall(text) if name in passwords)
    given = dict(line.split("=", 1) for line in ENVIRONMENT.read_text().splitlines() if "=" in line and not line.startswith("#"))
    assert given == dict.fromkeys(passwords, "")


def test_the_example_lists_every_setting_with_its_default() -> None:
    """What may be set is found in one place, and is what the compose file takes."""
    listed = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", ENVIRONMENT.read_text(), re.MULTILINE))
    taken = {name: default for name, _, default in DEFAULT.findall((ROOT / "docker-compose.yml").read_text())}
    assert listed.keys() == taken.keys()
    assert {name: value for name, value in listed.items() if not name.endswith("PASSWORD")} == {
        name: default for name, default in taken.items() if not name.endswith("PASSWORD")
    }


def test_what_is_mounted_exists() -> None:
    """Docker makes an empty folder of a mounted file that is not there, and the service starts without it."""
    mounted = [substituted(volume) for service in services().values() for volume in service.get("volumes", [])]
    sources = {volume.split(":")[0] for volume in mounted}
    assert {source for source in sources if not source.startswith(".")} == compose()["volumes"].keys()
    assert all((ROOT / source).exists() for source in sources if source.startswith("."))


def test_storage_is_reached_by_those_who_need_it() -> None:
    """PostgreSQL is on an internal network, with neither the UI nor the dashboards on it."""
    assert compose()["networks"]["storage"] == {"internal": True}
    on_storage = {name for name, service in services().items() if "storage" in service["networks"]}
    assert on_storage == {"postgres", "temporal-schema", "temporal", "worker", "host-worker"}


def test_retention_and_shards_are_the_documented_ones() -> None:
    """Closed runs stay for 720 hours, and four history shards serve this one machine."""
    assert substituted(services()["temporal-namespace"]["command"][1]) == "720"
    assert substituted(services()["temporal"]["environment"]["NUM_HISTORY_SHARDS"]) == "4"


def test_several_workers_share_no_steps_of_a_host() -> None:
    """`--scale worker=2` is allowed, so a worker without a host of its own measures nothing unless somebody says so."""
    assert substituted(services()["worker"]["environment"]["PERFWRIGHT_SERVE_LOCAL"]) == "0"
    assert "--host" in services()["host-worker"]["entrypoint"]


def _compose_plugin() -> bool:
    if shutil.which("docker") is None:
        return False
    return subprocess.run(["docker", "compose", "version"], capture_output=True, timeout=30).returncode == 0


@pytest.mark.skipif(not _compose_plugin(), reason="docker compose is not installed")
def test_docker_compose_accepts_it(tmp_path: Path) -> None:
    """`docker compose config` reads it with the example's settings, the optional profile included."""
    environment = tmp_path / "compose.env"
    environment.write_text(re.sub(r"PASSWORD=$", "PASSWORD=word", ENVIRONMENT.read_text(), flags=re.MULTILINE))
    command = ["docker", "compose", "--env-file", str(environment), "--profile", "host", "config", "--format", "json"]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["services"].keys() == services().keys()
