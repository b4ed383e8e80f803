"""Statements of a trial on a clone: each is judged by itself, whatever the trial's metric is.

An index that is dropped has its bytes for a metric, and all statements together for a guard: one that is a hundredth of their time may get
ten times slower within that. Each is judged by its time. Where that is too noisy to decide, one that reads half as many blocks again is
worse: blocks are the same in every run. More blocks alone say nothing, because a plan that is quicker may well read more of them.
"""

import math
from collections.abc import Mapping, Sequence

from perfwright.analysis.trials.boundaries import LEVEL, LOOKS
from perfwright.analysis.trials.queries import judge_queries
from perfwright.models.trial import QueryJudgement

TIME, BLOCKS = "wall_s", "blocks"
MANY_BLOCKS = math.log(1.5)


def judge_statements(
    times: Mapping[str, Sequence[float]], blocks: Mapping[str, Sequence[float]], *, margin: float
) -> tuple[QueryJudgement, ...]:
    """One judgement for each. `times`, `blocks`: statement -> log B / A per round; of some there may be blocks alone. `margin`: of
    times."""
    counted = {one.query: one.model_copy(update={"metric": BLOCKS}) for one in judge_queries(blocks, margin=MANY_BLOCKS)}
    judged = []
    for one in judge_queries(times, margin=margin):
        by_blocks = counted.pop(one.query, None)
        told = by_blocks is not None and by_blocks.verdict == "worse" and one.verdict in ("inconclusive", "unseen")
        judged.append(by_blocks if by_blocks is not None and told else one.model_copy(update={"metric": TIME}))
    return (*judged, *counted.values())


def fewest_rounds_for(statements: int) -> int:
    """After which one of so many can be shown to be worse at all, by signs that are all alike: 2 * 2^-n, times their number (Holm), within
    twice the level."""
    return max(LOOKS[0], math.ceil(math.log2(max(1, statements) / LEVEL)))
