"""What is kept of each shape of statement, and of all of them together in bounded memory."""

import json
import math

import msgspec

from perfwright.analysis.server_log.distinct import DistinctCount
from perfwright.analysis.server_log.messages import parameter_values
from perfwright.analysis.server_log.sketch import Sketch
from perfwright.analysis.server_log.withheld import holds_secret
from perfwright.models.statement import SAMPLES_KEPT, LoggedStatement, StatementSample, StatementSource

MOST_SHAPES = 20_000
TEXT_CHARACTERS = 100_000
"""Kept of one statement's text; a longer sample could not be run and is not kept."""
BY_CHANCE = 3
"""Calls that are kept besides: one of three random ones is in the middle half with 87 %."""
LONGEST_BY_CHANCE = 20_000
"""Of long texts fewer are kept."""
PLAN_CHARACTERS = 400_000
"""A larger plan is not kept: no person reads it, and three of each statement would fill the memory."""
PLAN_FACTOR = 4
"""A plan that is decoded for the digest takes this many times its letters."""
WEIGHT_LIMIT_BYTES = 48 << 20
"""Texts, samples and plans of all shapes together; with sketches and caches the whole state stays below 150 MB."""
_MASK = (1 << 64) - 1
_NEVER_MS = 1e300
"""Longer than any duration; JSON has no infinity."""
SHED_TO = 0.8
"""Share of either bound that is left after the cheapest were dropped: dropping is rare, and not done for every new statement."""


def weight_of(text: str) -> int:
    """Bytes of a text, about."""
    return len(text) if text.isascii() else 4 * len(text)


class Sample(msgspec.Struct):
    """One call."""

    text: str
    parameters: tuple[str | None, ...]
    duration_ms: float
    source: StatementSource
    weight: int


class Plan(msgspec.Struct):
    """One plan of auto_explain, as it was written."""

    duration_ms: float
    document: str


class Shape(msgspec.Struct):
    """One shape of statement.

    The cheapest and the costliest call are kept as samples, and a few at random, of which the one nearest to the median is told in the end.
    Random ones come by Algorithm L (Li, Reservoir-sampling algorithms of time complexity O(n(1 + log(N/n))), ACM TOMS 20 (4), 1994) from
    numbers that follow from the fingerprint, so that the same log gives the same samples.
    """

    fingerprint: str
    text: str
    sampled: bool = True
    """Whether calls may be kept: not of what may hold a secret, nor of utility statements."""
    sketch: Sketch = msgspec.field(default_factory=Sketch)
    total_ms: float = 0.0
    errors: int = 0
    cheap: Sample | None = None
    worst: Sample | None = None
    cheap_ms: float = _NEVER_MS
    worst_ms: float = -1.0
    some: list[Sample] = []
    """The random ones."""
    some_due: int = 1
    """Number of the call that is to be among them."""
    some_weight: float = 1.0
    """W of the algorithm."""
    draws: int = 0
    plans: list[Plan] = []
    weight: int = 0
    """Bytes of text, about: as `weigh` last found."""

    def add(self, duration_ms: float) -> bool:
        """Count one call; True when it would be a sample."""
        self.total_ms += duration_ms
        sketch = self.sketch
        sketch.add(duration_ms)
        return self.sampled and (duration_ms < self.cheap_ms or duration_ms > self.worst_ms or sketch.count >= self.some_due)

    def wants(self, duration_ms: float) -> bool:
        """Whether such a call would be a sample, before it is counted."""
        return self.sampled and (duration_ms < self.cheap_ms or duration_ms > self.worst_ms or self.sketch.count + 1 >= self.some_due)

    def offer_sample(self, text: str, parameters: str, duration_ms: float, source: StatementSource) -> int:
        """Keep a call that is wanted, if it can be run again. Returns by how many bytes the shape grew."""
        if len(text) + len(parameters) > TEXT_CHARACTERS or (not parameters and "$1" in text):
            return 0
        values = parameter_values(parameters)
        if values is None or holds_secret(text) or holds_secret(parameters):
            return 0
        sample = Sample(text, values, duration_ms, source, weight_of(text) + weight_of(parameters))
        if duration_ms < self.cheap_ms:
            self.cheap, self.cheap_ms = sample, duration_ms
        if duration_ms > self.worst_ms:
            self.worst, self.worst_ms = sample, duration_ms
        if self.sketch.count >= self.some_due:
            self._keep_by_chance(sample)
        return self.weigh()

    def _keep_by_chance(self, sample: Sample) -> None:
        if len(self.some) < BY_CHANCE:
            self.some.append(sample)
            if len(self.some) < BY_CHANCE:
                self.some_due = self.sketch.count + 1
                return
        elif len(sample.text) <= LONGEST_BY_CHANCE:
            self.some[int(self._draw() * BY_CHANCE)] = sample
        self.some_weight *= self._draw() ** (1 / BY_CHANCE)
        self.some_due = self.sketch.count + 1 + int(math.log(self._draw()) / math.log1p(-min(self.some_weight, 1 - 1e-12)))

    def _draw(self) -> float:
        """The next random number, over 0 and below 1 (SplitMix64: Steele, Lea, Flood, OOPSLA 2014)."""
        self.draws += 1
        mixed = (int(self.fingerprint, 16) + self.draws * 0x9E3779B97F4A7C15) & _MASK
        mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & _MASK
        return ((mixed ^ (mixed >> 31)) + 0.5) / (_MASK + 2)

    def offer_plan(self, document: str, duration_ms: float) -> int:
        """Keep a plan if it is among the slowest. Returns by how many bytes the shape grew."""
        if not self.sampled or len(document) > PLAN_CHARACTERS or holds_secret(document):
            return 0
        if len(self.plans) == SAMPLES_KEPT and duration_ms <= self.plans[-1].duration_ms:
            return 0
        self.plans = sorted([*self.plans, Plan(duration_ms, document)], key=lambda plan: -plan.duration_ms)[:SAMPLES_KEPT]
        return self.weigh()

    def strip(self) -> int:
        """Keep only what the cheapest and the costliest call were. Returns by how many bytes the shape grew: none, or less than none."""
        self.plans, self.some = [], []
        return self.weigh()

    def weigh(self) -> int:
        """Look how much there is now; returns by how many bytes it grew."""
        before, self.weight = self.weight, weight_of(self.text)
        for one in (self.cheap, self.worst, *self.some):
            if one is not None:
                self.weight += one.weight
        for plan in self.plans:
            self.weight += PLAN_FACTOR * len(plan.document)
        return self.weight - before

    def as_statement(self) -> LoggedStatement:
        """The shape as the digest has it."""
        return LoggedStatement(
            fingerprint=self.fingerprint,
            text=self.text,
            calls=self.sketch.count,
            total_ms=round(self.total_ms, 3),
            durations_ms=self.sketch.points(),
            samples=self._samples(),
            plans=tuple(json.loads(plan.document) for plan in self.plans),
            errors=self.errors,
        )

    def _samples(self) -> tuple[StatementSample, ...]:
        """Different ones, cheapest first."""
        calls, median_ms = self.sketch.count, self.sketch.median()
        words = {"cheapest": self.cheap, "costliest": self.worst}
        ends = [(one.text, one.parameters) for one in words.values() if one is not None]
        between = [one for one in self.some if (one.text, one.parameters) not in ends]
        words["near the median"] = min(between, key=lambda one: abs(one.duration_ms - median_ms), default=None)
        kept: dict[tuple[object, ...], StatementSample] = {}
        for word, one in words.items():
            if one is not None and (one.text, one.parameters) not in kept:
                kept[one.text, one.parameters] = StatementSample(
                    text=one.text,
                    parameters=one.parameters,
                    duration_ms=one.duration_ms,
                    source=one.source,
                    note=f"{word} of {calls:,} calls" if calls > 1 else "",
                )
        return tuple(sorted(kept.values(), key=lambda sample: sample.duration_ms or 0.0))


class ShapeTable(msgspec.Struct):
    """All shapes, by fingerprint. When there are too many the cheapest are dropped, and counted; when they weigh too much, the plans and
    random samples of the cheapest go first."""

    shapes: dict[str, Shape] = {}
    weight: int = 0
    dropped: DistinctCount = msgspec.field(default_factory=DistinctCount)
    dropped_calls: int = 0
    dropped_ms: float = 0.0
    most_shapes: int = MOST_SHAPES
    weight_limit_bytes: int = WEIGHT_LIMIT_BYTES

    def add(self, shape: Shape) -> None:
        """Make it known."""
        self.shapes[shape.fingerprint] = shape
        self.weight += shape.weigh()

    def is_full(self) -> bool:
        """Whether no other shape may be added."""
        return len(self.shapes) >= self.most_shapes or self.weight > self.weight_limit_bytes

    def left_out(self) -> int:
        """How many different shapes were dropped and did not come again, about."""
        return max(0, self.dropped.with_others(self.shapes).estimate() - len(self.shapes)) if self.dropped.set_bits else 0

    def shed(self) -> None:
        """Make room, by total time from the cheapest on."""
        self.weight = sum(shape.weight for shape in self.shapes.values())
        by_cost = sorted(self.shapes.values(), key=lambda shape: shape.total_ms)
        allowed = int(self.weight_limit_bytes * SHED_TO) if self.weight > self.weight_limit_bytes else self.weight_limit_bytes
        number = int(self.most_shapes * SHED_TO) if len(by_cost) >= self.most_shapes else len(by_cost)
        for shape in by_cost:
            if self.weight <= allowed:
                break
            self.weight += shape.strip()
        for shape in by_cost:
            if len(self.shapes) <= number and self.weight <= allowed:
                break
            del self.shapes[shape.fingerprint]
            self.weight -= shape.weight
            self.dropped.add(shape.fingerprint)
            self.dropped_calls += shape.sketch.count
            self.dropped_ms += shape.total_ms

    def by_cost(self) -> list[Shape]:
        """Costliest first; equal ones by fingerprint."""
        return sorted(self.shapes.values(), key=lambda shape: (-shape.total_ms, shape.fingerprint))
