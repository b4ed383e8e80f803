"""All that a worker's activities need, opened once when it starts and closed when it ends."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.history import History
from activities.registry_file import RegistryFile
from perfwright.models.errors import ErrorType
from perfwright.models.registry import RegistryInvalid, RegistryProblem, Store
from perfwright.models.registry_checks import shared_store_trouble
from perfwright.models.target import LOCAL_HOST

STATE_FOLDER = ".perfwright"
"""Beside the registry: what a worker keeps while it runs, and the default stores."""


@dataclass(frozen=True)
class WorkerContext:
    """The registry and the stores it names."""

    registry_file: RegistryFile
    artifacts: ArtifactStore
    history: History
    host: str
    allow_inline_targets: bool
    state_folder: Path
    environ: Mapping[str, str]
    """Where the secrets are that the registry names."""

    @classmethod
    async def open(
        cls,
        config: str | Path | None = None,
        host: str = LOCAL_HOST,
        *,
        allow_inline_targets: bool = False,
        environ: Mapping[str, str] = os.environ,
        working_directory: Path | None = None,
    ) -> Self:
        """Read the registry, reach both stores, and bring the history's schema to this release.

        Errors: RegistryInvalid (all mistakes at once); ApplicationError of type StoreUnavailable.
        """
        registry_file = RegistryFile(
            config, allow_inline_targets=allow_inline_targets, environ=environ, working_directory=working_directory
        )
        registry = registry_file.read()
        history_url = history_of(registry.store, environ, source=str(registry_file.path))
        hosts = registry.host_names()
        if registry.store.history_env and len(hosts) > 1:
            trouble = [RegistryProblem("store.history_env", None, told) for _, told in shared_store_trouble("", history_url, hosts)]
            if trouble:
                raise RegistryInvalid(trouble, str(registry_file.path))
        folder = registry_file.folder
        state_folder = folder if folder.name == STATE_FOLDER else folder / STATE_FOLDER
        try:
            state_folder.mkdir(parents=True, exist_ok=True)
        except OSError as trouble:
            raise refuse(
                ErrorType.STORE_UNAVAILABLE,
                f"cannot make the worker's folder {state_folder}: {trouble.strerror}",
                way_out="Start it where it may write, or keep perfwright.toml in such a folder",
            ) from None
        artifacts = ArtifactStore(registry.store.artifacts, folder_of_relative=folder)
        await artifacts.check()
        history = await History.open(history_url, folder_of_relative=folder)
        return cls(registry_file, artifacts, history, host, registry_file.allows_inline_targets(), state_folder, environ)

    async def close(self) -> None:
        await self.history.close()


def history_of(store: Store, environ: Mapping[str, str], *, source: str) -> str:
    """The URL of the history, from the registry or from the environment variable it names."""
    if store.history_env is None:
        return store.history
    if not (url := environ.get(store.history_env, "")):
        problem = f"the environment variable {store.history_env} is not set for this worker"
        raise RegistryInvalid([RegistryProblem("store.history_env", None, problem)], source)
    return url
