"""How far a trial of advice is, kept on the worker's host after each piece of it, so that a killed worker's next attempt goes on behind it.

As `postgres_explain_progress` does it for plans: what is begun is a line, written before the server is asked, and what is finished is one
with what came of it. What was begun and not finished was in flight: it is tried once more, and given up after that.
"""

from collections import Counter

from activities.postgres_explain_session import Backend
from activities.recording_folder import RecordingFolder
from perfwright.analysis.explaining.paired_times import PairedTimes
from perfwright.models.query_performance import VerifiedRewrite, WhatIf
from perfwright.models.vocabulary import Model

DONE_FILE, BEGUN_FILE = "tried.jsonl", "begun.jsonl"
STARTS_AT_MOST = 2
GIVEN_UP = "its worker was killed again and again meanwhile: not tried any more"


class Done(Model):
    """What came of one piece of advice; all that it has not is empty."""

    job: str
    what_if: WhatIf | None = None
    verdict: VerifiedRewrite | None = None
    times: PairedTimes | None = None
    warning: str = ""


class _Begun(Model):
    job: str
    pid: int = 0
    started_at: str = ""


class TryingProgress:
    """Lines of one trial in its recording folder, with what earlier attempts left there."""

    def __init__(self, folder: RecordingFolder) -> None:
        self._folder = folder
        self.done = {one.job: one for line in folder.lines(DONE_FILE) if "job" in line for one in [Done.model_validate(line)]}
        begun = [_Begun.model_validate(line) for line in folder.lines(BEGUN_FILE) if "job" in line]
        self._starts = Counter(one.job for one in begun)
        self._left = next((one for one in reversed(begun) if one.job not in self.done), None)
        if begun:
            # A line that a kill cut short must not swallow the next one.
            folder.append(DONE_FILE, {})
            folder.append(BEGUN_FILE, {})

    def take_left_backend(self) -> Backend | None:
        """The server's process that may still be at work for a killed worker; told once."""
        left, self._left = self._left, None
        return Backend(left.pid, left.started_at) if left and left.pid else None

    def given_up(self, job: str) -> bool:
        return self._starts[job] >= STARTS_AT_MOST

    def begin(self, job: str, backend: Backend) -> None:
        self._folder.append(BEGUN_FILE, _Begun(job=job, pid=backend.pid, started_at=backend.started_at).model_dump())

    def finish(self, done: Done) -> None:
        self._folder.append(DONE_FILE, done.model_dump(mode="json"))
        self.done[done.job] = done
