"""From names to targets, with a registry file that people edit meanwhile."""

import os
from pathlib import Path

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.registry_file import RegistryFile
from activities.targets import TargetQuery, Targets
from perfwright.models.registry import RegistryInvalid
from perfwright.models.target import InlineTarget, ProcessSelector, Target

REGISTRY = """
[targets.web]
kind = "process"
environment = "lab"
process = { port = 8700 }
allow = ["restart"]
[targets.web-db]
kind = "postgresql"
dsn_env = "WEB_DB_DSN"
"""
INLINE = InlineTarget(process=ProcessSelector(pid=4711))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "perfwright.toml"
    path.write_text(REGISTRY)
    return path


async def resolve(registry_file: RegistryFile, query: TargetQuery) -> Target:
    return await ActivityEnvironment().run(Targets(registry_file).resolve_target, query)


async def refusal(registry_file: RegistryFile, query: TargetQuery) -> ApplicationError:
    with pytest.raises(ApplicationError) as refused:
        await resolve(registry_file, query)
    assert refused.value.non_retryable
    return refused.value


async def test_a_name_becomes_a_target(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name of the registry is resolved without the secret that its variable holds."""
    monkeypatch.setenv("WEB_DB_DSN", "postgresql://u:very-secret-word@h/d")
    target = await resolve(RegistryFile(file), TargetQuery(target="web"))
    assert (target.name, target.environment, target.host, target.inline) == ("web", "lab", "local", False)
    database = await resolve(RegistryFile(file), TargetQuery(target="web-db"))
    assert database.dsn_env == "WEB_DB_DSN" and database.environment == "production"
    assert "very-secret-word" not in database.model_dump_json()


async def test_an_unknown_name_is_refused(file: Path) -> None:
    """An unknown name is refused with the nearest names and the list of all."""
    refused = await refusal(RegistryFile(file), TargetQuery(target="web-bd"))
    assert refused.type == "UnknownTarget"
    assert "targets: web, web-db; nearest: web-db" in refused.message


async def test_operations_are_allowed_by_name(file: Path) -> None:
    """Profiling is always allowed; what else a process wants to do must be in the target's `allow`."""
    registry = RegistryFile(file)
    await resolve(registry, TargetQuery(target="web-db", operation="profile"))
    await resolve(registry, TargetQuery(target="web", operation="restart"))
    refused = await refusal(registry, TargetQuery(target="web", operation="ddl"))
    assert refused.type == "TargetRefused"
    assert '"web" does not allow "ddl" (allowed: profile, restart)' in refused.message
    assert 'Add "ddl" to targets.web.allow' in refused.message


async def test_inline_targets_are_refused_unless_allowed(file: Path) -> None:
    """A target given in the input is refused with the ways out, unless the worker or its registry allows it."""
    refused = await refusal(RegistryFile(file), TargetQuery(target=INLINE))
    assert refused.type == "TargetRefused"
    assert "pid 4711" in refused.message and "perfwright up" in refused.message and str(file) in refused.message
    target = await resolve(RegistryFile(file, allow_inline_targets=True), TargetQuery(target=INLINE))
    assert (target.name, target.environment, target.host, target.inline) == ("pid-4711", "inline", "local", True)
    assert target.process == INLINE.process
    file.write_text("[worker]\nallow_inline_targets = true\n")
    assert (await resolve(RegistryFile(file), TargetQuery(target=INLINE))).inline
    refused = await refusal(RegistryFile(file), TargetQuery(target=INLINE, operation="restart"))
    assert refused.type == "TargetRefused"


async def test_edits_are_seen_without_a_restart(file: Path) -> None:
    """A target that is added to the file is there at once."""
    registry = RegistryFile(file)
    await refusal(registry, TargetQuery(target="job"))
    file.write_text(REGISTRY + '[targets.job]\nkind = "process"\nprocess = { pid = 1 }\n')
    assert (await resolve(registry, TargetQuery(target="job"))).name == "job"


async def test_an_edit_of_the_same_size_is_seen(file: Path) -> None:
    """An edit that leaves size and time of the file as they were is seen as well."""
    registry = RegistryFile(file)
    assert registry.read().targets["web"].process == ProcessSelector(port=8700)
    before = file.stat()
    file.write_text(REGISTRY.replace("8700", "8701"))
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.read().targets["web"].process == ProcessSelector(port=8701)


async def test_a_broken_edit_stops_new_starts_only(file: Path) -> None:
    """While an edit is broken new starts are refused with every mistake, and processes that run keep the last valid registry."""
    registry = RegistryFile(file)
    registry.read()
    file.write_text(REGISTRY.replace("8700", "99999").replace("dsn_env", "dsn_evn"))
    for _ in range(2):
        refused = await refusal(registry, TargetQuery(target="web"))
        assert refused.type == "InvalidInput"
        assert "targets.web.process.port (line 5)" in refused.message and "targets.web-db.dsn_evn (line 9)" in refused.message
    assert registry.latest_valid().target("web") is not None
    file.unlink()
    assert registry.latest_valid().target("web") is not None
    file.write_text(REGISTRY)
    assert (await resolve(registry, TargetQuery(target="web"))).name == "web"


def test_the_file_is_looked_for_in_order(tmp_path: Path) -> None:
    """The argument wins over PERFWRIGHT_CONFIG, and that over the working directory."""
    for name in ("argument", "variable", "here/perfwright"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.toml").write_text(f'[hosts."{name.replace("/", "-")}"]')
    here, environ = tmp_path / "here", {"PERFWRIGHT_CONFIG": str(tmp_path / "variable.toml")}
    found = [
        RegistryFile(tmp_path / "argument.toml", environ=environ, working_directory=here),
        RegistryFile("../argument.toml", environ={}, working_directory=here),
        RegistryFile(environ=environ, working_directory=here),
        RegistryFile(environ={}, working_directory=here),
    ]
    assert [next(iter(file.read().hosts)) for file in found] == ["argument", "argument", "variable", "here-perfwright"]
    assert found[3].folder == here


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Without a file the registry is empty where inline targets are allowed; elsewhere, and where one was named, it is an error."""
    assert RegistryFile(environ={}, working_directory=tmp_path, allow_inline_targets=True).read().targets == {}
    with pytest.raises(RegistryInvalid, match="perfwright init"):
        RegistryFile(environ={}, working_directory=tmp_path).read()
    with pytest.raises(RegistryInvalid, match="--config names it"):
        RegistryFile(tmp_path / "x.toml", environ={}, allow_inline_targets=True).read()
    with pytest.raises(RegistryInvalid, match="PERFWRIGHT_CONFIG names it"):
        RegistryFile(environ={"PERFWRIGHT_CONFIG": "x.toml"}, working_directory=tmp_path, allow_inline_targets=True).read()


def test_what_cannot_be_read_is_told(tmp_path: Path) -> None:
    """A folder, and a file that is no text, are told as what they are."""
    with pytest.raises(RegistryInvalid, match="Is a directory"):
        RegistryFile(tmp_path, environ={}).read()
    (tmp_path / "binary").write_bytes(b"a = \xff\xfe")
    with pytest.raises(RegistryInvalid, match=r"not UTF-8 text: .* at byte 4"):
        RegistryFile(tmp_path / "binary", environ={}).read()
