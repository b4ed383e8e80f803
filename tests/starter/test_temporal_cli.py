"""Where the `temporal` CLI comes from, and what is told when it comes from nowhere."""

import fcntl
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from starter import temporal_build
from starter.failures import CannotStart
from starter.temporal_build import build
from starter.temporal_cli import PINNED, cache_folder, find_temporal_cli

GOOD = "temporal version 1.8.2 (Server 1.31.2, UI 2.50.1)"
OLD = "temporal version 1.0.0 (Server 1.24.2, UI 2.28.0)"


def program(path: Path, body: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return path


def cli(path: Path, answer: str = GOOD) -> Path:
    return program(path, f"echo '{answer}'")


def never(what: str) -> Callable[..., None]:
    def refuse(*_: object) -> None:
        raise CannotStart(f"{what} is not for this test")

    return refuse


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A machine with a shell, an empty PATH of its own and an empty cache."""
    (tmp_path / "bin").mkdir()
    return {"PATH": str(tmp_path / "bin"), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "cache")}


def find(environ: dict[str, str], **instead: Callable[..., None]):
    return find_temporal_cli(environ=environ, **({"fetch": never("download"), "compile_it": never("build")} | instead))


def test_the_chosen_cli_wins(environ: dict[str, str], tmp_path: Path) -> None:
    """TEMPORAL_CLI_PATH is used whatever else is there."""
    cli(tmp_path / "bin" / "temporal")
    chosen = cli(tmp_path / "mine" / "temporal")
    found = find(environ | {"TEMPORAL_CLI_PATH": str(chosen)})
    assert (found.path, found.version, found.origin) == (chosen, "1.8.2", "TEMPORAL_CLI_PATH")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (f"echo '{OLD}'", "version 1.0.0 is too old: it carries server 1.24.2, 1.28 or newer is needed"),
        ("echo 'temporal version 0.11.0 (server 1.22.4)'", "names no server version"),
        ("echo broken >&2; exit 3", "ended with exit code 3 (broken)"),
    ],
)
def test_a_chosen_cli_that_does_not_work_is_an_error(environ: dict[str, str], tmp_path: Path, body: str, reason: str) -> None:
    """Whoever chose a CLI hears why it cannot be used, instead of silently getting another."""
    cli(tmp_path / "bin" / "temporal")
    chosen = program(tmp_path / "mine" / "temporal", body)
    with pytest.raises(CannotStart, match=re.escape(reason)) as refused:
        find(environ | {"TEMPORAL_CLI_PATH": str(chosen)})
    assert str(chosen) in str(refused.value) and "unset it" in str(refused.value)


def test_an_old_cli_on_path_is_skipped_and_the_cache_serves(environ: dict[str, str], tmp_path: Path) -> None:
    """A too old `temporal` on PATH is left alone, and the result tells why."""
    old = cli(tmp_path / "bin" / "temporal", OLD)
    cached = cli(cache_folder(environ) / "temporal")
    found = find(environ)
    assert (found.path, found.origin) == (cached, "cache")
    assert len(found.tried) == 1 and str(old) in found.tried[0] and "too old" in found.tried[0]


def test_a_download_is_kept_and_made_once(environ: dict[str, str]) -> None:
    """What was downloaded is in the cache afterwards: the next search neither downloads nor builds."""
    found = find(environ, fetch=lambda part, version, say: cli(part))
    assert found.origin == "downloaded" and found.path == cache_folder(environ) / "temporal"
    assert find(environ).origin == "cache"
    assert [f.name for f in cache_folder(environ).iterdir() if f.name != ".lock"] == ["temporal"], "nothing half made stays behind"


def test_a_build_that_does_not_run_never_reaches_the_cache(environ: dict[str, str]) -> None:
    """A binary is run once under its temporary name; one that fails is told and thrown away."""
    with pytest.raises(CannotStart, match=r"Go build of tools/temporal: .*exit code 1"):
        find(environ, compile_it=lambda part, version, environ, say: program(part, "exit 1"))
    assert not (cache_folder(environ) / "temporal").exists()


def test_a_broken_cache_is_made_again(environ: dict[str, str]) -> None:
    """A damaged binary in the cache is replaced."""
    program(cache_folder(environ) / "temporal", "exit 1")
    assert find(environ, fetch=lambda part, version, say: cli(part)).origin == "downloaded"
    assert find(environ).origin == "cache"


def test_when_nothing_works_everything_tried_is_told(environ: dict[str, str]) -> None:
    """One error lists every place and its reason, and what to do."""
    with pytest.raises(CannotStart) as refused:
        find(environ, compile_it=build)
    text = str(refused.value)
    for part in ("on PATH: not there", "the cache (", "download is not for this test", "Go is not installed", "TEMPORAL_CLI_PATH"):
        assert part in text


def test_an_unwritable_cache_is_told(environ: dict[str, str], tmp_path: Path) -> None:
    """A cache folder that cannot be made is named with the variable that moves it; nothing is downloaded in vain."""
    (tmp_path / "file").write_text("")
    with pytest.raises(CannotStart, match=r"nothing can be kept in .*Not a directory.*XDG_CACHE_HOME"):
        find(environ | {"XDG_CACHE_HOME": str(tmp_path / "file")})


@pytest.mark.parametrize(
    ("go", "reason"),
    [
        ("echo go1.19.8", "version 1.19.8, 1.26.4 or newer is needed"),
        ('[ "$2" = GOVERSION ] && echo go1.24.1 || echo local', "GOTOOLCHAIN=auto lets it fetch that itself"),
        ("echo 'no GOROOT' >&2; exit 2", "does not tell its version (no GOROOT)"),
        ('[ "$1" = env ] && echo go1.30.0 && exit; echo "disk full" >&2; exit 1', "failed: disk full"),
    ],
)
def test_a_go_that_cannot_build_is_told(environ: dict[str, str], tmp_path: Path, go: str, reason: str) -> None:
    """Too old, forbidden to fetch its successor, broken, or failing: each has its own reason."""
    program(tmp_path / "bin" / "go", go)
    with pytest.raises(CannotStart, match=re.escape(reason)):
        build(tmp_path / "out", PINNED, environ, lambda line: None)


def test_a_build_reports_progress_and_writes_where_it_was_told(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`go build` is asked for the pinned version and the given file, and people see that it goes on."""
    monkeypatch.setattr(temporal_build, "SAY_EVERY_S", 0.0)
    program(
        tmp_path / "bin" / "go",
        '[ "$1" = env ] && echo go1.30.0 && exit\n[ "$1" = mod ] && exit 0\necho pkg/one >&2; echo "$@" > "$0.args"; echo "#!/bin/sh" > "$6"',
    )
    said: list[str] = []
    build(tmp_path / "out", PINNED, environ, said.append)
    asked = (tmp_path / "bin" / "go.args").read_text()
    assert f"Version={PINNED}" in asked and str(tmp_path / "out") in asked and (tmp_path / "out").exists()
    assert any("2 to 5 minutes" in line for line in said) and any("built in" in line for line in said)


def test_two_searches_make_one_binary(environ: dict[str, str]) -> None:
    """While one process makes the binary another waits for it and uses the same."""
    folder = cache_folder(environ)
    folder.mkdir(parents=True)
    waiting = threading.Event()
    found = []
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        search = threading.Thread(
            target=lambda: found.append(
                find_temporal_cli(environ=environ, say=lambda line: waiting.set(), fetch=never("download"), compile_it=never("build"))
            )
        )
        search.start()
        assert waiting.wait(30), "it tells that it waits"
        cli(folder / "temporal")
    search.join(30)
    assert found[0].origin == "cache"


def test_the_pinned_version_is_the_one_in_go_mod() -> None:
    """What is downloaded and what is built are the same version."""
    assert f"github.com/temporalio/cli v{PINNED} " in (temporal_build.SOURCE / "go.mod").read_text()


def test_without_internet_the_download_gives_up_soon(tmp_path: Path) -> None:
    """A proxy that refuses ends the download at once, with a reason and nothing left behind."""
    script = "import sys, pathlib, starter.temporal_download as d; d.download(pathlib.Path(sys.argv[1]), '1.8.2', print)"
    nowhere = {"HTTPS_PROXY": "http://127.0.0.1:1", "HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1", "NO_PROXY": ""}
    ran = subprocess.run(
        [sys.executable, "-c", script, str(tmp_path / "temporal")], env=os.environ | nowhere, capture_output=True, text=True, timeout=60
    )
    assert ran.returncode != 0 and "CannotStart" in ran.stderr
    assert not (tmp_path / "temporal").exists()


def test_the_program_prints_only_the_path(tmp_path: Path) -> None:
    """Scripts can use `$(python -m starter.temporal_cli)`; a failure is told on stderr with exit code 5."""
    good = cli(tmp_path / "temporal")
    for chosen, code in ((good, 0), (tmp_path / "missing", 5)):
        ran = subprocess.run(
            [sys.executable, "-m", "starter.temporal_cli"],
            env=os.environ | {"TEMPORAL_CLI_PATH": str(chosen)},
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ran.returncode == code
        assert ran.stdout == (f"{good}\n" if code == 0 else "")
        assert (ran.stderr == "") == (code == 0)
