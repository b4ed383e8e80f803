"""Empty history stores on a SQLite file and on a real PostgreSQL server, and runs to put into them."""

from collections.abc import AsyncIterator
from pathlib import Path
from uuid import uuid4

import pytest

from activities.history import History
from perfwright.models.artifact import ArtifactRef
from perfwright.models.gate import Decision
from perfwright.models.history import RecordedProfile, RunRecord, RunStart
from perfwright.models.measurement import EnvironmentFingerprint
from perfwright.models.result import ReportRefs
from tests.postgres import PostgresServer, postgres

__all__ = ["PROCESS", "a_record", "a_start", "history", "postgres", "url"]

PROCESS = "CpuProfilingInvestigation"


@pytest.fixture(params=["sqlite", "postgresql"])
async def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite+aiosqlite:///{tmp_path}/deep/history.db"
    server: PostgresServer = request.getfixturevalue("postgres")
    return await server.new_database()


@pytest.fixture
async def history(url: str) -> AsyncIterator[History]:
    opened = await History.open(url)
    yield opened
    await opened.close()


def a_start(target: str = "shop", process: str = PROCESS, **fields: object) -> RunStart:
    values = {
        "process": process,
        "target": target,
        "environment": "lab",
        "workflow_id": f"cpu-profiling-investigation/{target}",
        "run_id": str(uuid4()),
        "started_at": "2026-03-01T10:00:00+00:00",
        "request": {"target": target, "duration_s": 30.0},
    }
    return RunStart.model_validate(values | fields)


def a_record(start: RunStart, verdict: str = "passed", *, profile: str | None = "a", **fields: object) -> RunRecord:
    artifact = ArtifactRef(uri=f"runs/{profile}.json.gz", sha256="0" * 64, size_bytes=3, media_type="application/json")
    values = {
        "verdict": verdict,
        "summary": "One line takes 40 % of the time.",
        "closed_at": "2026-03-01T10:05:00+00:00",
        "fingerprint": EnvironmentFingerprint(host="h", kernel="6.1", cpu_model="x", cpu_count=2, memory_bytes=1),
        "report": ReportRefs(html=artifact),
        "profiles": (RecordedProfile(kind="cpu", artifact=artifact),) if profile else (),
        "decisions": (
            Decision(
                gate="profile_review", revision=1, digest="0" * 8, outcome="approved", by="ann", source="signal", at="2026-03-01T10:03:00Z"
            ),
        ),
    }
    return RunRecord.model_validate(start.model_dump() | values | fields)
