"""The Kubernetes manifests: valid against the published schemas, and true to what they promise."""

import shutil
import subprocess
import tomllib
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from perfwright.models.registry import parse_registry
from perfwright.models.target import LOCAL_HOST

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "kubernetes"
PLAIN = sorted(file for file in FOLDER.rglob("*.yaml") if file.name not in ("kustomization.yaml", "pod-monitor.yaml"))
RELEASES = ("1.31", "1.34")
"""The field of AppArmor that the host workers use is there since 1.30."""


@cache
def manifests() -> list[dict[str, Any]]:
    return [document for file in PLAIN for document in yaml.safe_load_all(file.read_text())]


def one(kind: str) -> dict[str, Any]:
    (found,) = [manifest for manifest in manifests() if manifest["kind"] == kind]
    return found


def pods() -> dict[str, dict[str, Any]]:
    return {kind: one(kind)["spec"]["template"]["spec"] for kind in ("Deployment", "DaemonSet", "Job")}


@pytest.mark.parametrize("release", RELEASES)
def test_every_manifest_is_valid(release: str) -> None:
    """Against the strict schemas: no unknown field, no wrong type."""
    validator = pytest.importorskip("kubernetes_validate")
    for manifest in manifests():
        validator.validate(manifest, release, strict=True)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
def test_kustomize_builds_it() -> None:
    """`kubectl kustomize` makes one whole of it, with each worker in its namespace and an image with a version."""
    told = subprocess.run(["kubectl", "kustomize", str(FOLDER)], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0, told.stderr
    built = {
        (manifest["kind"], manifest["metadata"].get("namespace"), manifest["metadata"]["name"])
        for manifest in yaml.safe_load_all(told.stdout)
    }
    assert ("Deployment", "perfwright", "perfwright-worker") in built and ("DaemonSet", "perfwright-hosts", "perfwright-host") in built
    for namespace in ("perfwright", "perfwright-hosts"):
        for kind, name in (("ConfigMap", "perfwright-registry"), ("ServiceAccount", "perfwright"), ("NetworkPolicy", "perfwright")):
            assert (kind, namespace, name) in built
    assert told.stdout.count("image: perfwright/worker:0.1.0") == 3


def test_every_file_is_used_or_asked_for_by_hand() -> None:
    """Nothing lies about: kustomizations name all but the template and what needs an operator."""
    named = set()
    for kustomization in FOLDER.rglob("kustomization.yaml"):
        for resource in yaml.safe_load(kustomization.read_text())["resources"]:
            named.add((kustomization.parent / resource).resolve())
    files = {file.resolve() for file in FOLDER.rglob("*.yaml") if file.name != "kustomization.yaml"}
    assert files - named == {(FOLDER / "secret.example.yaml").resolve(), (FOLDER / "pod-monitor.yaml").resolve()}


def test_central_pods_have_no_rights() -> None:
    """The workers of processes keep the restricted standard: not root, no capability, nothing writable but their volumes."""
    assert one("Deployment")["spec"]["replicas"] >= 2
    for kind in ("Deployment", "Job"):
        pod = pods()[kind]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert "hostPID" not in pod and "hostNetwork" not in pod
        (container,) = pod["containers"]
        assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}


def test_replicas_share_no_steps_of_a_host() -> None:
    """With two pods that take the steps on host "local", what one of them launches the other does not find."""
    (container,) = pods()["Deployment"]["containers"]
    assert container["env"] == [{"name": "PERFWRIGHT_SERVE_LOCAL", "value": "0"}]


def test_host_workers_have_what_profiling_takes() -> None:
    """They see the node's processes, may trace and sample them, and are named after their node."""
    pod = pods()["DaemonSet"]
    (container,) = pod["containers"]
    assert pod["hostPID"] is True and "hostNetwork" not in pod
    assert container["securityContext"]["capabilities"] == {
        "drop": ["ALL"],
        "add": ["SYS_PTRACE", "PERFMON", "SETUID", "SETGID", "SETPCAP"],
    }
    assert container["command"] == ["perfwright-host"] and container["args"] == ["--host", "$(NODE_NAME)"]
    assert container["env"] == [{"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}]


def test_every_pod_is_bounded_and_speaks_to_nobody_it_need_not() -> None:
    """Limits, a read-only root, no token of Kubernetes, and a network policy for all pods of the namespace."""
    for kind, pod in pods().items():
        assert pod["automountServiceAccountToken"] is False, kind
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}, kind
        (container,) = pod["containers"]
        assert "memory" in container["resources"]["limits"], kind
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert one("NetworkPolicy")["spec"]["podSelector"] == {}


@pytest.mark.parametrize("kind", ["Deployment", "DaemonSet"])
def test_workers_are_watched_and_may_finish(kind: str) -> None:
    """Probes for start, readiness and life; more time to end than the worker's own grace of ten seconds; metrics found by annotation."""
    pod = pods()[kind]
    (container,) = pod["containers"]
    assert {"startupProbe", "readinessProbe", "livenessProbe"} <= container.keys()
    assert pod["terminationGracePeriodSeconds"] >= 20
    annotations = one(kind)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"prometheus.io/scrape": "true", "prometheus.io/port": str(container["ports"][0]["containerPort"])}


def test_the_budget_protects_the_deployment() -> None:
    """A drained node leaves a worker that moves processes on."""
    budget = one("PodDisruptionBudget")["spec"]
    assert budget["selector"]["matchLabels"] == one("Deployment")["spec"]["selector"]["matchLabels"]
    assert budget["minAvailable"] < one("Deployment")["spec"]["replicas"]


@pytest.mark.parametrize("file", [FOLDER / "shared" / "perfwright.toml", FOLDER.parent / "registry" / "perfwright.toml"], ids=str)
def test_the_registries_are_valid(file: Path) -> None:
    """A worker starts with them as they are, and with the target that stands there as a comment."""
    text = file.read_text()
    parse_registry(text, str(file))
    example = "\n".join(
        line.removeprefix("#").removeprefix(" ") for line in text.partition("\n#\n")[2].splitlines() if line.startswith("#")
    )
    registry = parse_registry(text + "\n" + example, str(file))
    assert tomllib.loads(example)["targets"].keys() == registry.targets.keys()
    assert LOCAL_HOST not in registry.host_names(), "no worker of these deployments takes steps on local"


def test_no_template_has_an_empty_key() -> None:
    """To the object store's client an empty key is a key, and the identity of the pod or machine is never asked for."""
    (secret,) = [manifest for manifest in manifests() if manifest["kind"] == "Secret"]
    settings = (FOLDER.parent / "systemd" / "host.env.example").read_text().splitlines()
    given = secret["stringData"] | dict(line.split("=", 1) for line in settings if "=" in line and not line.startswith("#"))
    assert [name for name, value in given.items() if name.startswith(("AWS_", "AZURE_", "GOOGLE_")) and not value] == []
