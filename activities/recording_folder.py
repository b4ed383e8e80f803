"""Where a recording in progress is kept on its host, so that a killed worker's next attempt goes on from there.

One folder per recording under the worker's state folder. Lines are appended and flushed one by one; a line that a kill cut short is
ignored when read back. When the recording is done only its result stays, so that an attempt whose answer got lost is not repeated;
what nobody came back for goes after a day.
"""

import asyncio
import json
import re
import shutil
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError

from activities.errors import refuse
from perfwright.models.errors import ErrorType
from perfwright.models.vocabulary import Model

ABANDONED_AFTER_S = 86_400.0
RESULT_FILE = "result.jsonl"

ModelT = TypeVar("ModelT", bound=Model)


class RecordingFolder:
    """Files of one recording: `<state folder>/recordings/<prefix with dashes>/`."""

    def __init__(self, state_folder: Path, prefix: str, *, root: str = "recordings", abandoned_after_s: float = ABANDONED_AFTER_S) -> None:
        self.root, self._abandoned_after_s = state_folder / root, abandoned_after_s
        self.path = self.root / re.sub(r"[^A-Za-z0-9._-]+", "-", prefix)

    def open(self) -> Path:
        """Create the folder if need be, and remove recordings that nobody came back for. Raises StoreUnavailable."""
        with self.told():
            self.path.mkdir(parents=True, exist_ok=True)
        for other in self.root.iterdir():
            if other != self.path and time.time() - _touched_at(other) > self._abandoned_after_s:
                shutil.rmtree(other, ignore_errors=True)
        return self.path

    def append(self, name: str, line: dict[str, Any]) -> None:
        """Add one JSON line; it survives a kill of this process. Raises StoreUnavailable where the disk is full."""
        text = json.dumps(line, separators=(",", ":")) + "\n"
        with self.told(), (self.path / name).open("a", encoding="utf-8") as file:
            file.write(text)

    def lines(self, name: str) -> Iterator[dict[str, Any]]:
        """The whole lines of an earlier attempt, in order; nothing when there are none."""
        try:
            text = (self.path / name).read_text(encoding="utf-8")
        except FileNotFoundError:
            return
        for line in text.split("\n"):
            try:
                value = json.loads(line)
            except json.JSONDecodeError:
                continue
            if isinstance(value, dict):
                yield value

    def result(self, model: type[ModelT]) -> ModelT | None:
        """What an earlier attempt finished with, if it did."""
        return next((model.model_validate(line) for line in self.lines(RESULT_FILE)), None)

    def finish(self, result: Model) -> None:
        """Keep the result and nothing else."""
        self.append(RESULT_FILE, result.model_dump(mode="json"))
        for file in self.path.iterdir():
            if file.name != RESULT_FILE:
                file.unlink(missing_ok=True)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)

    @contextmanager
    def told(self) -> Iterator[None]:
        """What cannot be written raises StoreUnavailable, with the folder."""
        try:
            yield
        except OSError as trouble:
            raise refuse(
                ErrorType.STORE_UNAVAILABLE,
                f"cannot write the recording in progress to {self.path}: {trouble.strerror}",
                way_out="Make room there, or start the host worker where it may write",
            ) from trouble


def nobody_comes_back() -> bool:
    """Whether this activity was cancelled for good: not by a shutdown, pause or timeout, after which another attempt goes on."""
    details = activity.cancellation_details()
    return details is not None and not details.worker_shutdown and (details.cancel_requested or details.not_found)


async def resumable(folder: RecordingFolder, model: type[ModelT], work: Callable[[], Awaitable[ModelT]]) -> ModelT:
    """The answer of an earlier attempt, or the work; its files stay only for an attempt that will come back."""
    if done := folder.result(model):
        return done
    folder.open()
    try:
        answer = await work()
    except asyncio.CancelledError:
        if nobody_comes_back():
            folder.remove()
        raise
    except ApplicationError as refused:
        if refused.non_retryable:
            folder.remove()
        raise
    folder.finish(answer)
    return answer


def _touched_at(path: Path) -> float:
    try:
        return max([path.stat().st_mtime, *(file.stat().st_mtime for file in path.iterdir())])
    except OSError:
        return time.time()
