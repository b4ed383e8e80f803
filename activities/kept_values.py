"""Values of statements on the target's host, where literals are masked: plans need them, and no artifact or history may have them.

Samples that are handed on name what is kept here. Who reads them on another host, or too late, goes on without values: generic plans.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from activities.recording_folder import RecordingFolder
from perfwright.analysis.masking.documents import masked_digest
from perfwright.models.database import DatabaseSystem
from perfwright.models.statement import LogDigest, Statement, StatementSample

FILE = "values.jsonl"
KEPT_S = 3 * 86_400.0
"""A review may take a weekend."""


class KeptValues:
    """Samples with their values in the worker's state folder, readable to its user only; `kept_as` is `prefix:number`."""

    def __init__(self, state_folder: Path) -> None:
        self._state_folder = state_folder
        self._read: dict[str, dict[str, StatementSample]] = {}

    def keep(self, prefix: str, samples: Iterable[StatementSample]) -> None:
        """In place of what was kept for the prefix. Raises StoreUnavailable."""
        folder = self._folder(prefix)
        path = folder.open()
        with folder.told():
            folder.root.chmod(0o700)
            (path / FILE).unlink(missing_ok=True)
            with (path / FILE).open("x", encoding="utf-8") as file:
                file.writelines(one.model_dump_json() + "\n" for one in samples)

    def resolved(self, statements: Mapping[str, Statement]) -> tuple[dict[str, Statement], int]:
        """The statements with the values of their samples, and how many of those have samples that are not kept here (any more)."""
        found: dict[str, Statement] = {}
        lost = 0
        for name, statement in statements.items():
            samples = [self.sample(one) for one in statement.samples]
            lost += None in samples
            kept = tuple(one for one in samples if one is not None)
            found[name] = statement if kept == statement.samples else statement.model_copy(update={"samples": kept})
        return found, lost

    def sample(self, sample: StatementSample) -> StatementSample | None:
        """With its values; None: they are not here."""
        if not sample.kept_as:
            return sample
        prefix = sample.kept_as.rpartition(":")[0]
        if prefix not in self._read:
            kept = (StatementSample.model_validate(line) for line in self._folder(prefix).lines(FILE))
            self._read[prefix] = {one.kept_as: one for one in kept}
        return self._read[prefix].get(sample.kept_as)

    def _folder(self, prefix: str) -> RecordingFolder:
        return RecordingFolder(self._state_folder, f"values-{prefix}", root="values", abandoned_after_s=KEPT_S)


@dataclass(frozen=True)
class KeptIn:
    """Where a process of its own keeps what it reads."""

    state_folder: str
    prefix: str


def without_values(digest: LogDigest, system: DatabaseSystem, values: KeptIn) -> LogDigest:
    """The digest as it may be handed on; its values are kept."""
    kept = KeptValues(Path(values.state_folder))
    masked, samples = masked_digest(digest, system, values.prefix)
    kept.keep(values.prefix, samples)
    return masked


def told_lost(lost: int) -> tuple[str, ...]:
    """A warning of them."""
    return (f"the values of {lost} statements are not kept on this host (any more): they were planned without them",) if lost else ()
