"""What this machine knows beside the Temporal server: the target registry, and the stores it names.

A machine that only talks to the server has neither; what needs them says so.
"""

import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from temporalio.exceptions import ApplicationError

from activities.registry_file import PATH_VARIABLE, RegistryFile
from perfwright.models.artifact import ArtifactRef
from perfwright.models.history import RunQuery
from perfwright.models.registry import Registry, RegistryInvalid
from starter.refusals import NoStoreHere, Refused
from starter.up_state import running_up

if TYPE_CHECKING:
    from activities.artifacts import ArtifactStore
    from activities.history import History

NAMED_RUNS = 500
DOWNLOADS = Path(".perfwright/downloads")
"""Where artifacts of a remote store are put to be opened."""


@dataclass
class Here:
    """The registry of `--config`, PERFWRIGHT_CONFIG, the `perfwright up` of this folder, or the working directory; in this order."""

    config: str | Path | None = None
    environ: Mapping[str, str] | None = None

    def __post_init__(self) -> None:
        environ = os.environ if self.environ is None else self.environ
        up = None if self.config or environ.get(PATH_VARIABLE) else running_up()
        self._environ = environ
        self._up = up is not None
        self._named = bool(self.config or environ.get(PATH_VARIABLE) or (up and up.config))
        self._file = RegistryFile(self.config or (up.config if up else None), allow_inline_targets=self._up, environ=environ)

    @property
    def path(self) -> Path:
        return self._file.path

    @property
    def registry_file(self) -> RegistryFile:
        return self._file

    def state_folder(self) -> Path:
        """Where a worker with this registry keeps its locks, worktrees and launch files."""
        from activities.context import STATE_FOLDER

        folder = self._file.folder
        return folder if folder.name == STATE_FOLDER else folder / STATE_FOLDER

    def registry(self) -> Registry | None:
        """The registry; None where there is no file (beside `perfwright up`: an empty one). Raises Refused with all of its mistakes."""
        if not self._named and not self._up and not self._file.path.exists():
            return None
        try:
            return self._file.read()
        except RegistryInvalid as invalid:
            raise Refused(str(invalid), way_out="" if invalid.problems else "Correct it") from None

    def require_registry(self) -> Registry:
        registry = self.registry()
        if registry is None:
            raise Refused(
                "no target registry here", way_out="Write one with `perfwright init`, or name one with --config or PERFWRIGHT_CONFIG"
            )
        return registry

    def artifacts(self) -> "ArtifactStore":
        """The artifact store that the registry here names; raises NoStoreHere."""
        from activities.artifacts import ArtifactStore

        try:
            return ArtifactStore(self._stores().store.artifacts, folder_of_relative=self._file.folder)
        except ApplicationError as trouble:
            raise NoStoreHere(trouble.message) from None

    @asynccontextmanager
    async def history(self) -> AsyncIterator["History"]:
        """The history that the registry here names; raises NoStoreHere."""
        from activities.context import history_of
        from activities.history import History

        registry = self._stores()
        try:
            url = history_of(registry.store, self._environ, source=str(self.path))
            if url.startswith("sqlite") and not (self._file.folder / url.partition(":///")[2]).expanduser().exists():
                raise NoStoreHere("no history here yet", way_out="It begins with the first run of a worker that has this registry")
            history = await History.open(url, folder_of_relative=self._file.folder)
        except RegistryInvalid as invalid:
            raise NoStoreHere(str(invalid)) from None
        except ApplicationError as trouble:
            raise NoStoreHere(trouble.message) from None
        try:
            yield history
        finally:
            await history.close()

    async def run_names(self) -> dict[str, str]:
        """Run id -> `shop#12`, of the newest runs; empty where the history is not reached from here."""
        try:
            async with self.history() as history:
                return {run.run_id: run.name for run in await history.list_runs(RunQuery(limit=NAMED_RUNS))}
        except (NoStoreHere, Refused):
            return {}

    async def read(self, ref: ArtifactRef) -> bytes:
        """The content of an artifact, checked against its hash; raises NoStoreHere."""
        try:
            return await self.artifacts().get(ref)
        except ApplicationError as trouble:
            raise NoStoreHere(trouble.message) from None

    async def local_file(self, ref: ArtifactRef) -> Path:
        """The artifact as a file on this machine: where the store has it, or a copy under `.perfwright/downloads`."""
        from activities.artifacts import local_folder

        url = self._stores().store.artifacts
        if url.startswith("file://"):
            file = local_folder(url, self._file.folder) / ref.uri
            if file.is_file():
                return file
            raise NoStoreHere(f"{ref.uri} is not in {file.parent}", way_out="It was deleted, or written on another machine")
        file = DOWNLOADS / ref.uri
        file.parent.mkdir(parents=True, exist_ok=True)
        try:
            await self.artifacts().get_file(ref, file)
        except ApplicationError as trouble:
            raise NoStoreHere(trouble.message) from None
        return file

    def _stores(self) -> Registry:
        registry = self.registry()
        if registry is not None:
            return registry
        if self._up or self.path.parent.joinpath(".perfwright").is_dir():
            return Registry()  # the worker of `perfwright up` began its default stores in this folder
        raise NoStoreHere(
            "no target registry here, so the stores are not known",
            way_out="Work in the folder of perfwright.toml, or name it with --config or PERFWRIGHT_CONFIG",
        )
