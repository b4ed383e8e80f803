"""A trial: A (as it is) and B (changed), measured side by side in rounds, judged while it runs.

One round gives one *datum*: the logarithm of what B costs over what A costs, from two freshly started sides. Never are slices, iterations
or requests judged as if they were independent.
"""

from typing import Literal

from pydantic import Field

from perfwright.models.measurement import Estimate
from perfwright.models.vocabulary import Model

Side = Literal["A", "B"]
Quad = Literal["ABBA", "BAAB"]
"""Four slices in an order in which a steady drift cancels."""
Clock = Literal["cpu", "wall"]
Scale = Literal["ratio", "difference"]
TrialVerdict = Literal["better", "worse", "equivalent", "continue", "inconclusive"]
GuardVerdict = Literal["held", "breached", "unclear", "unseen"]
QueryVerdict = Literal["better", "worse", "equivalent", "inconclusive", "unseen"]
NoiseVerdict = Literal["usable", "too noisy", "biased", "dependent", "too few"]


class TrialDesign(Model):
    """Everything that decides, fixed before the first datum is seen."""

    margin: float = Field(gt=0.0, lt=1.0)
    """Difference of logarithms that counts as none."""
    higher_is_better: bool = False
    looks: tuple[int, ...]
    """Numbers of rounds after which the data are judged; the last is the most that the budget affords."""
    boundary: float = Field(gt=0.0)
    """Of the signed-rank Z, the same at every look."""
    level: float
    """Most probability of calling the worst equal B better, and of calling it worse; each."""

    @property
    def rounds_at_most(self) -> int:
        return self.looks[-1]


class Judgement(Model):
    """Where a trial stands, or how it ended."""

    verdict: TrialVerdict
    rounds: int
    """Judged: those of the look that decided, or of the last one held."""
    next_look: int | None = None
    """Rounds to have for the next look; None when nothing more is to be done."""
    ratio: Estimate | None = None
    """B over A, with its interval at the boundary; None before the first look."""
    sigma: float | None = None
    """Robust standard deviation of a datum."""
    smallest_effect: float | None = None
    """Share of a difference that 0.9 power would have seen with so many rounds; optimistic under heavy tails."""


class RoundPlan(Model):
    """What chance decides about one round, drawn before it; both sides get the same core, hash seed and padding."""

    first: Side
    """Which side is started first."""
    core: int
    hash_seed: int
    """PYTHONHASHSEED."""
    padding_bytes: int
    """Length of an environment variable that moves the stack."""
    quads: tuple[Quad, ...]

    @property
    def order(self) -> str:
        """The sides of all slices: `ABBABAAB`."""
        return "".join(self.quads)


class Slice(Model):
    """Iterations of one side run together. The first pays for the switch and is told apart, so that it can be left out."""

    side: Side
    iterations: int = Field(ge=1)
    wall_s: float
    cpu_s: float
    """With all children."""
    first_wall_s: float
    first_cpu_s: float


class Block(Model):
    """A time in which one side was on, where sides are switched rather than restarted."""

    side: Side
    after_switch_s: tuple[float, ...]
    """When each value was taken, from the switch on."""
    values: tuple[float, ...]
    state: str = ""
    """Digest of build, settings, pods and traffic mix; a pair in which it changes is void."""


class Guard(Model):
    """What must not get worse while something else gets better."""

    metric: str
    margin: float = Field(gt=0.0)
    """Harm that is put up with: a difference of logarithms, or in the metric's unit where `scale` is `difference`."""
    higher_is_better: bool = False
    scale: Scale = "ratio"
    """`difference` for what may be zero, such as an error rate."""


class GuardJudgement(Model):
    """Held only if harm above the margin is ruled out; no data is never a pass."""

    metric: str
    verdict: GuardVerdict
    rounds: int
    harm: float | None = None
    """As the guard's margin; negative is an improvement."""
    harm_low: float | None = None
    harm_high: float | None = None
    smallest_harm: float | None = None
    """That 0.9 power would have seen."""


class QueryJudgement(Model):
    """One of several queries judged together."""

    query: str
    verdict: QueryVerdict
    pairs: int
    ratio: Estimate | None = None
    difference_p: float | None = None
    """That it differs by more than the margin; adjusted for the number of queries (Holm)."""
    equivalence_p: float | None = None
    """That it differs by less; adjusted likewise."""
    metric: str = ""
    """What it was judged by, where that is not told elsewhere: `wall_s`, or `blocks` where times are too noisy."""


class NoiseJudgement(Model):
    """What A against A says before B is judged."""

    verdict: NoiseVerdict
    reason: str
    rounds: int
    sigma: float | None = None
    lag_one: float | None = None
    """Rank correlation of a datum with the next."""
    rounds_needed: int | None = None
    """For the wanted effect with 0.9 power; None where the longest trial would not do."""
    seconds_needed: float | None = None
    smallest_effect: float | None = None
    """Share that the budget lets 0.9 power see."""
