"""How far a run of EXPLAINs is, kept on the worker's host after every statement, so that a killed worker's next attempt goes on behind it.

What is finished is a line with its plans; what is begun is a line too, written before the server is asked. A statement that was begun and
not finished was in flight: it is asked once more, told, and given up when it was in flight too often (it may be what kills the worker).
"""

import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from activities.artifacts import ArtifactStore
from activities.compute import in_own_process
from activities.errors import refuse
from activities.postgres_explain_session import Backend
from activities.postgres_explain_statement import Explained
from activities.recording_folder import RecordingFolder
from perfwright.analysis.explaining.plan_answers import PLAN_SET_BYTES_AT_MOST
from perfwright.analysis.masking.documents import masked_plans
from perfwright.analysis.statements.stored import MEDIA_TYPE, decode, encode
from perfwright.models.artifact import ArtifactRef
from perfwright.models.database import DatabaseFacts, DatabaseSystem
from perfwright.models.errors import ErrorType
from perfwright.models.query_performance import ExplainOutcome
from perfwright.models.query_steps import CostlyStatement, PlanSet, StatementPlans
from perfwright.models.statement import Statement, StatementTable
from perfwright.models.vocabulary import Model

DONE_FILE, BEGUN_FILE = "explained.jsonl", "begun.jsonl"
EXECUTIONS_AT_MOST = 2
"""Of a statement that was in flight when its worker was killed."""
STARTS_AT_MOST = 3
INLINE_TABLE_BYTES, INLINE_PLAN_BYTES = 256 * 1024, 2 * 1024 * 1024
"""Of a compressed statement table, and of plans as JSON: about a tenth of a second's reading. More is read in a process of its own, which
neither holds up the worker nor takes its memory."""


class _Done(Model):
    plans: StatementPlans
    costly: CostlyStatement | None = None
    bytes: int = 0


class _Begun(Model):
    fingerprint: str
    executing: bool = False
    pid: int = 0
    started_at: str = ""


class ExplainProgress:
    """Lines of one run in its recording folder. `masked`: the server's system, where literals are masked: they are in no line."""

    def __init__(self, folder: RecordingFolder, masked: DatabaseSystem | None = None) -> None:
        self._folder, self._masked = folder, masked
        self._bytes = 0
        self.outcomes: dict[str, ExplainOutcome] = {}
        self.costly: dict[str, CostlyStatement] = {}
        self.in_flight: _Begun | None = None
        """What an earlier attempt left behind."""
        self._starts: Counter[str] = Counter()
        self._executions: Counter[str] = Counter()

    def resume(self) -> None:
        """Read what earlier attempts did."""
        for done in self._done():
            self._note(done)
        latest: dict[str, _Begun] = {}
        for line in self._folder.lines(BEGUN_FILE):
            if "fingerprint" in line:
                begun = _Begun.model_validate(line)
                latest[begun.fingerprint] = begun
                (self._executions if begun.executing else self._starts)[begun.fingerprint] += 1
        self.in_flight = next((begun for begun in reversed(latest.values()) if begun.fingerprint not in self.outcomes), None)
        if latest:
            # A line that a kill cut short must not swallow the next one.
            self._folder.append(DONE_FILE, {})
            self._folder.append(BEGUN_FILE, {})

    @property
    def left_backend(self) -> Backend | None:
        """The server's process that may still be at work for a killed worker."""
        begun = self.in_flight
        return Backend(begun.pid, begun.started_at) if begun and begun.pid else None

    def given_up(self, fingerprint: str) -> bool:
        """Whether the statement was in flight so often that it is not asked again."""
        return self._executions[fingerprint] >= EXECUTIONS_AT_MOST or self._starts[fingerprint] >= STARTS_AT_MOST

    def begin(self, fingerprint: str, backend: Backend, *, executing: bool = False) -> None:
        begun = _Begun(fingerprint=fingerprint, executing=executing, pid=backend.pid, started_at=backend.started_at)
        self._folder.append(BEGUN_FILE, begun.model_dump())

    def finish(self, explained: Explained) -> None:
        """Keep what became of a statement; its plans are left out where all plans together are too large."""
        plans = masked_plans(explained.plans, self._masked) if self._masked else explained.plans
        size = len(plans.model_dump_json().encode())
        if self._bytes + size > PLAN_SET_BYTES_AT_MOST and plans.plans:
            reason = f"its plans are not kept: those of this run have {PLAN_SET_BYTES_AT_MOST >> 20} MiB already"
            outcome = plans.outcome.model_copy(
                update={"mode": "not explained", "plans": 0, "reason": "; ".join(filter(None, (plans.outcome.reason, reason)))}
            )
            plans, size = StatementPlans(fingerprint=plans.fingerprint, outcome=outcome), 0
        done = _Done(plans=plans, costly=explained.costly, bytes=size)
        self._folder.append(DONE_FILE, done.model_dump(mode="json"))
        self._note(done)

    def _note(self, done: _Done) -> None:
        self._bytes += done.bytes
        self.outcomes[done.plans.fingerprint] = done.plans.outcome
        if done.costly:
            self.costly[done.plans.fingerprint] = done.costly

    def _done(self) -> Iterator[_Done]:
        return (_Done.model_validate(line) for line in self._folder.lines(DONE_FILE) if "plans" in line)

    async def store(self, artifacts: ArtifactStore, path: str, database: DatabaseFacts, fingerprints: tuple[str, ...]) -> ArtifactRef:
        """All plans as one artifact, in the order asked for."""
        arguments = (str(self._folder.root), str(self._folder.path), database, fingerprints)
        data = await in_own_process(plan_set, *arguments) if self._bytes > INLINE_PLAN_BYTES else plan_set(*arguments)
        return await artifacts.put(path, data, MEDIA_TYPE, f"Plans of {database.database}")


def plan_set(root: str, folder: str, database: DatabaseFacts, fingerprints: tuple[str, ...]) -> bytes:
    """The artifact's bytes from the lines of a run."""
    lines = RecordingFolder(Path(root).parent, Path(folder).name).lines(DONE_FILE)
    plans = {one.fingerprint: one for line in lines if "plans" in line for one in [StatementPlans.model_validate(line["plans"])]}
    return encode(PlanSet(database=database, statements=tuple(plans[fingerprint] for fingerprint in fingerprints if fingerprint in plans)))


async def wanted_statements(artifacts: ArtifactStore, table: ArtifactRef, fingerprints: tuple[str, ...]) -> dict[str, Statement]:
    """Those of the statement table, by fingerprint. Raises ArtifactCorrupt."""
    try:
        if table.size_bytes <= INLINE_TABLE_BYTES:
            return statements_of(await artifacts.get(table), fingerprints)
        with tempfile.TemporaryDirectory(prefix="perfwright-") as folder:
            file = Path(folder) / "table"
            await artifacts.get_file(table, file)
            return await in_own_process(statements_in, str(file), fingerprints)
    except ValueError as trouble:
        raise refuse(ErrorType.ARTIFACT_CORRUPT, f"{table.uri}: {trouble}", way_out="Run the process again") from None


def statements_in(file: str, fingerprints: tuple[str, ...]) -> dict[str, Statement]:
    return statements_of(Path(file).read_bytes(), fingerprints)


def statements_of(data: bytes, fingerprints: tuple[str, ...]) -> dict[str, Statement]:
    table, wanted = decode(StatementTable, data), set(fingerprints)
    return {one.fingerprint: one for one in (*table.unreadable, *table.statements) if one.fingerprint in wanted}
