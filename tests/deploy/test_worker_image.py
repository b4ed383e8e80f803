"""The Dockerfile, by the rules that linters of Dockerfiles know, and against what the worker needs."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = ROOT / "deploy" / "docker" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Keyword and arguments of every instruction, continuation lines joined, comments left out."""
    lines = "\n".join(line for line in DOCKERFILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", lines)
    return [(word.upper(), rest.strip()) for word, _, rest in (line.partition(" ") for line in joined.splitlines() if line.strip())]


def all_of(keyword: str) -> list[str]:
    return [rest for word, rest in instructions() if word == keyword]


def last_stage() -> list[tuple[str, str]]:
    starts = [number for number, (word, _) in enumerate(instructions()) if word == "FROM"]
    return instructions()[starts[-1] :]


def test_it_is_built_in_stages_from_one_pinned_image() -> None:
    """The base is named once, with a full version; what only builds is not in the image that runs."""
    assert len(all_of("FROM")) == 3
    assert all(stage.startswith("${PYTHON_IMAGE} AS ") for stage in all_of("FROM"))
    assert re.fullmatch(r"PYTHON_IMAGE=python:3\.\d+\.\d+-slim-[a-z]+", all_of("ARG")[0])
    assert "latest" not in DOCKERFILE.read_text()


def test_it_runs_as_nobody_in_particular() -> None:
    """The last user is a number that is not root, which Kubernetes can check."""
    assert [rest for word, rest in last_stage() if word == "USER"] == ["10001:10001"]


def test_packages_are_the_hashed_ones() -> None:
    """What is installed from the outside is exactly what the requirements say, and nothing of it runs while it is installed."""
    (installed,) = [rest for rest in all_of("RUN") if "pip install" in rest]
    assert {"--require-hashes", "--no-cache-dir", "--only-binary"} <= set(installed.split())
    assert (ROOT / "requirements" / "run.txt").read_text().count("--hash=sha256:") > 40
    assert "-index" not in DOCKERFILE.read_text()


def test_system_packages_leave_nothing_behind() -> None:
    """apt-get without recommendations, in one layer with update and clean-up."""
    layers = [rest for rest in all_of("RUN") if "apt-get" in rest]
    assert len(layers) == 2
    for layer in layers:
        assert "apt-get update" in layer and "--no-install-recommends" in layer and "--yes" in layer
        assert "rm -rf /var/lib/apt/lists/*" in layer
        assert "upgrade" not in layer and "apt " not in layer.replace("/apt ", "")


def test_nothing_is_fetched_and_run() -> None:
    """No downloads past the package managers, no ADD, no sudo."""
    assert not all_of("ADD")
    assert not re.search(r"\b(curl|wget|sudo)\b", " ".join(all_of("RUN")))


@pytest.mark.parametrize("keyword", ["ENTRYPOINT", "CMD"])
def test_commands_are_in_exec_form(keyword: str) -> None:
    """Signals reach the worker: no shell stands between."""
    told = all_of(keyword)
    assert told and all(rest.startswith("[") for rest in told)


def test_it_says_whether_it_is_healthy() -> None:
    """With a health check in exec form, and a first process that reaps."""
    (check,) = all_of("HEALTHCHECK")
    assert 'CMD ["python", "/opt/perfwright/healthcheck.py"]' in check
    assert all_of("ENTRYPOINT")[0].startswith('["tini", "-s", "--", "python", "/opt/perfwright/app/worker.py"')


def test_the_profilers_are_inside() -> None:
    """py-spy by the requirements, perf with binutils by Debian, jcmd and jfr out of a JDK."""
    text = DOCKERFILE.read_text()
    assert re.search(r"^py-spy==", (ROOT / "requirements" / "run.txt").read_text(), re.MULTILINE)
    assert {"linux-perf", "binutils"} <= set(" ".join(all_of("RUN")).split())
    assert "/bin/jcmd /usr/local/bin/jcmd" in text and "/bin/jfr /usr/local/bin/jfr" in text


def test_every_copied_path_exists_and_is_sent_to_the_build() -> None:
    """A COPY of what .dockerignore keeps out fails only where there is an engine."""
    sent = [line.removeprefix("!") for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    sources = [source for rest in all_of("COPY") if "--from" not in rest for source in rest.split()[:-1] if not source.startswith("--")]
    assert {"perfwright", "activities", "workflows", "starter", "worker.py"} <= set(sources)
    for source in sources:
        assert (ROOT / source).exists(), source
        assert any(source == path or source.startswith(f"{path}/") for path in sent), source


def test_the_host_entry_keeps_two_capabilities() -> None:
    """Whatever the runtime gave, what measures has SYS_PTRACE and PERFMON, is not root and cannot become it."""
    script = (ROOT / "deploy" / "docker" / "perfwright-host").read_text()
    for option in ("bounding-set", "inh-caps", "ambient-caps"):
        assert f"--{option}=-all,+sys_ptrace,+perfmon" in script
    assert "--reuid=10001 --regid=10001 --clear-groups --no-new-privs" in script
