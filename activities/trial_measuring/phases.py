"""Rounds of one phase of a trial until enough is known, kept one by one, so that a killed worker's next attempt goes on.

noise    A against A: which clock, how long a round takes, how noisy it is, whether equal sides come out equal
trial    A against B: sequential looks at the metric and all guards, until they are decided or the budget is used up
watch    guards alone, again and again, until one is breached or the time is over
"""

import asyncio
import json
import os
import statistics
import time
import zlib
from typing import Any

import numpy as np
from temporalio.exceptions import ApplicationError

from activities.artifacts import ArtifactStore
from activities.errors import refuse
from activities.recording_folder import RecordingFolder
from activities.trial_measuring.kind import Rounds
from perfwright.analysis.trials.boundaries import LOOKS
from perfwright.analysis.trials.course import (
    DEFAULT_METRICS,
    NOISE_ROUNDS,
    clock_of,
    counted,
    does_not_work,
    fewest_rounds,
    judge_aa,
    judge_guards,
    judge_parts,
    judge_rounds,
    margin_of,
    medians,
    metric_data,
    parts_decided,
    plan_trial,
    weights_of,
)
from perfwright.analysis.trials.rounds import MOST_QUADS, plan_round
from perfwright.analysis.trials.sequential import design
from perfwright.models.errors import ErrorType
from perfwright.models.trial import TrialDesign
from perfwright.models.trial_run import Companion, MeasuringOrder, TakenRound, TrialEvidence
from perfwright.report.trial_picture import draw_rounds, strip_of

ROUNDS_FILE = "rounds.jsonl"
ROOT = "trials"
SEEN_VOID = 20
WATCH_EVERY_S = 5.0
WATCH_ROUNDS = 24
WATCH_WINDOW = 240
"""Rounds that are judged together."""
"""A watch that is shorter than so many of these is paced to hold as many: twice the fewest that show a breach."""
WORKS_BEFORE_PLANNED = 2
MEDIA_TYPE = "application/x-ndjson"


class Phase:
    """Rounds of one phase, taken by this attempt and by those before it."""

    def __init__(self, order: MeasuringOrder, folder: RecordingFolder, step: str) -> None:
        self.order, self._folder = order, folder
        self.mark = zlib.crc32(step.encode())
        """Of this step of this run: no two share draws, or a place in the store."""
        self.rounds = [TakenRound.model_validate(line) for line in folder.lines(ROUNDS_FILE)]
        self._seed = (order.request.seed, self.mark)
        self._cores = sorted(os.sched_getaffinity(0))
        self.metric = order.metric or order.request.metric or DEFAULT_METRICS.get(order.request.measurement.kind, "")
        self._plan: TrialDesign | None = None
        self._doing = "opening both sides"

    def progress(self) -> dict[str, Any]:
        """What people see while it measures."""
        judged = {"rounds": len(counted(self.rounds)), "void": len(self.rounds) - len(counted(self.rounds))}
        seconds = {"measured_s": round(self.seconds, 1), "of_s": self.order.seconds}
        at_most = {"of_rounds": self._plan.rounds_at_most} if self._plan else {}
        return {"doing": self._doing, "phase": self.order.phase, **judged, **at_most, **seconds}

    @property
    def seconds(self) -> float:
        """Measured by all attempts."""
        return sum(one.wall_s for one in self.rounds)

    @property
    def round_s(self) -> float:
        return statistics.median([one.wall_s for one in counted(self.rounds)] or [0.0])

    @property
    def window(self) -> list[TakenRound]:
        """What is judged: all rounds, or those of a watch's latest window."""
        if self.order.phase != "watch":
            return self.rounds
        return self.rounds[(len(self.rounds) - 1) // WATCH_WINDOW * WATCH_WINDOW :] if self.rounds else []

    async def take(self, rounds: Rounds) -> tuple[Companion, ...]:
        self._doing = "measuring"
        if self.order.phase == "noise":
            await self._take_noise(rounds)
        elif self.order.phase == "trial":
            await self._take_trial(rounds)
            self._doing = "counting"
            return await rounds.companions()
        else:
            await self._watch(rounds)
        return ()

    async def _take_noise(self, rounds: Rounds) -> None:
        """Thirty rounds, or what half the budget affords, and never fewer than a verdict takes, if the whole budget affords those."""
        budget_s = self.order.request.budget_s
        while (taken := len(counted(self.rounds))) < NOISE_ROUNDS:
            if taken >= WORKS_BEFORE_PLANNED:
                least_s = LOOKS[0] * self.round_s
                if least_s > budget_s or (self.seconds >= self.order.seconds and taken >= LOOKS[0]):
                    return
            await self._take_one(rounds)

    async def _take_trial(self, rounds: Rounds) -> None:
        request, round_s = self.order.request, self.order.round_s
        while not round_s and len(counted(self.rounds)) < WORKS_BEFORE_PLANNED:
            await self._take_one(rounds)
        # From the duration of a round as A against A had it, before any datum of B is seen; else of the shortest of the first ones, also
        # when an attempt goes on later: their start is cold, and what is planned beyond the time is never reached.
        round_s = round_s or min(one.wall_s for one in counted(self.rounds)[:WORKS_BEFORE_PLANNED])
        self._plan = plan_trial(request, self.metric, self.order.seconds, round_s)
        if self._plan is None:
            return
        looks = self._plan.looks
        while not self._over():
            await self._take_one(rounds)
            taken = len(metric_data(self.rounds, self.metric, weights_of(request)))
            if taken in looks and self._decided():
                return

    def _over(self) -> bool:
        assert self._plan is not None, "planned before it begins"
        return len(counted(self.rounds)) >= self._plan.rounds_at_most or self.seconds >= self.order.seconds

    def _decided(self) -> bool:
        """Nothing more can change what is done: it is no better, or a guard is breached, or it is better and all guards are decided."""
        assert self._plan is not None, "planned before it begins"
        verdict = judge_rounds(self.order.request, self.rounds, self.metric, self._plan, ended=False).verdict
        guards = judge_guards(self.order.request, self.rounds, self._plan)
        if verdict in ("worse", "equivalent") or any(one.verdict == "breached" for one in guards):
            return True
        if verdict != "better" or not all(one.verdict == "held" for one in guards):
            return False
        return parts_decided(self.order.request, self.rounds, self.metric)

    async def _watch(self, rounds: Rounds) -> None:
        """Window after window, so that what is long past does not hide a breach."""
        self._plan = design(WATCH_WINDOW, margin=margin_of(self.order.request, self.metric))
        assert self._plan is not None, "a window affords the fewest rounds"
        every_s = min(WATCH_EVERY_S, self.order.seconds / WATCH_ROUNDS)
        while self.seconds < self.order.seconds:
            await self._take_one(rounds, at_least_s=every_s)
            if any(one.verdict == "breached" for one in judge_guards(self.order.request, self.window, self._plan)):
                return

    async def _take_one(self, rounds: Rounds, *, at_least_s: float = 0.0) -> None:
        """One round, kept before the next begins. Raises ToolFailed where too many do not count."""
        number = self.rounds[-1].number + 1 if self.rounds else 0
        plan = plan_round(np.random.default_rng((*self._seed, number)), self._cores, quads=MOST_QUADS)
        began = time.monotonic()
        try:
            measured = await rounds.measure(plan, number)
            taken = TakenRound(number=number, values=dict(measured.values), data=dict(measured.data), void=measured.void[:300])
        except ApplicationError as trouble:
            if trouble.type not in (ErrorType.TOOL_FAILED, ErrorType.TOOL_TIMEOUT):
                raise
            taken = TakenRound(number=number, void=trouble.message[:300])
        await asyncio.sleep(max(0.0, at_least_s - (time.monotonic() - began)))
        taken = taken.model_copy(update={"wall_s": round(time.monotonic() - began, 4)})
        self._folder.append(ROUNDS_FILE, taken.model_dump(mode="json"))
        self.rounds.append(taken)
        if reason := does_not_work(self.window):
            void = len(self.window) - len(counted(self.window))
            raise refuse(ErrorType.TOOL_FAILED, f"{void} of {len(self.window)} rounds do not count: {reason}")

    def evidence(self, companions: tuple[Companion, ...], notes: tuple[str, ...]) -> TrialEvidence:
        """What the rounds say."""
        order, request = self.order, self.order.request
        clock = order.clock
        if not self.metric:
            clock = clock_of(self.rounds)
            self.metric = f"{clock}_s"
        metric, round_s = self.metric, self.round_s
        said: dict[str, Any] = {}
        warnings = list(notes)
        if order.phase == "noise":
            said["noise"] = judge_aa(request, self.rounds, metric, round_s)
            if plan := plan_trial(request, metric, request.budget_s, max(round_s, 1e-3)):
                said["guards"] = judge_guards(request, self.rounds, plan)
        elif self._plan is not None:
            said["guards"] = judge_guards(request, self.window, self._plan)
            if order.phase == "trial":
                said["judgement"] = judge_rounds(request, self.rounds, metric, self._plan, ended=True)
                said["queries"] = judge_parts(request, self.rounds, metric)
        else:
            warnings.append(f"the budget does not afford the {fewest_rounds(metric)} rounds that a verdict takes")
        void = tuple(f"round {one.number + 1}: {one.void}" for one in self.rounds if one.void)
        return TrialEvidence(
            phase=order.phase,
            clock=clock,
            metric=metric,
            rounds=len(counted(self.rounds)),
            void=void[:SEEN_VOID],
            seconds=round(self.seconds, 3),
            round_s=round(round_s, 4),
            companions=companions,
            medians=medians(self.rounds),
            warnings=tuple(warnings),
            **said,
        )

    async def stored(self, evidence: TrialEvidence, artifacts: ArtifactStore) -> TrialEvidence:
        """With all rounds, and a picture of them."""
        request = self.order.request
        place = f"{request.artifact_prefix}/{self.order.phase}-{self.mark:08x}"
        lines = "".join(json.dumps(one.model_dump(mode="json"), separators=(",", ":")) + "\n" for one in self.rounds)
        data = await artifacts.put(f"{place}/rounds.jsonl", lines.encode(), MEDIA_TYPE, f"Rounds of {request.title[:100]}")
        values = metric_data(self.rounds, evidence.metric, weights_of(request))
        title, margin = f"{request.title}: {evidence.metric}, B against A", margin_of(request, evidence.metric)
        drawn = draw_rounds(title, values, evidence.judgement, margin)
        picture = await artifacts.put(f"{place}/rounds.svg", drawn.encode(), "image/svg+xml", f"Rounds of {request.title[:100]}")
        return evidence.model_copy(update={"data": data, "picture": picture, "strip": strip_of(values)})
