"""What a worker does not wait for when it starts."""

import subprocess
import sys

SLOW = ("numpy", "sqlglot", "pgparse", "aiomysql", "sqlalchemy", "alembic", "jinja2", "markdown_it", "apprise", "rich", "typer")


def test_slow_libraries_are_imported_when_they_are_used() -> None:
    """A worker polls before it has loaded what only some of its activities need."""
    told = f"import sys, starter.worker_process; print(*(name for name in {SLOW} if name in sys.modules))"
    ran = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.split() == []
