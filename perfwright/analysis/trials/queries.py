"""Several queries or endpoints in one trial: each is judged by itself, never one pooled figure, and the more there are the harder.

They are judged once, at the end, on a number of pairs that was fixed beforehand: probabilities are exact for the signs of the ranks, and
adjusted by Holm ("A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6, 1979), which needs no
independence between queries.
"""

from collections.abc import Mapping, Sequence
from statistics import NormalDist

import numpy as np

from perfwright.analysis.tree_weights import Floats
from perfwright.analysis.trials.boundaries import LEVEL, LOOKS
from perfwright.analysis.trials.estimates import ratio_estimate
from perfwright.analysis.trials.sequential import MARGIN
from perfwright.analysis.trials.signed_ranks import upper_p
from perfwright.models.trial import QueryJudgement, QueryVerdict


def holm(probabilities: Sequence[float]) -> tuple[float, ...]:
    """Adjusted probabilities, in the order given: those up to a level are rejected with that family-wise error."""
    adjusted = [0.0] * len(probabilities)
    least = 0.0
    for place, number in enumerate(sorted(range(len(probabilities)), key=lambda one: probabilities[one])):
        least = max(least, min(1.0, (len(probabilities) - place) * probabilities[number]))
        adjusted[number] = least
    return tuple(adjusted)


def judge_queries(
    data: Mapping[str, Sequence[float]], *, margin: float = MARGIN, higher_is_better: bool = False, level: float = LEVEL
) -> tuple[QueryJudgement, ...]:
    """One judgement for each query, in the order given.

    `data`: query -> log B / A per pair. `level`: per direction, of calling any of the queries different that is within the margin.
    Queries without data are `unseen`; one with fewer than twelve pairs is never decided. Both count in the correction, so that it
    does not depend on what happened to be measured.
    """
    values = {query: np.asarray(pairs, dtype=np.float64) for query, pairs in data.items()}
    if not all(np.isfinite(one).all() for one in values.values()):
        raise ValueError("a datum is not a finite number: a pair without a measurement is void, not data")
    differences = holm([min(1.0, 2 * min(_above(one, margin), _above(-one, margin))) for one in values.values()])
    equivalences = holm([max(_above(-one, -margin), _above(one, -margin)) for one in values.values()])
    boundary = NormalDist().inv_cdf(1 - level / max(1, len(values)))
    judged = []
    for (query, pairs), difference_p, equivalence_p in zip(values.items(), differences, equivalences, strict=True):
        if not len(pairs):
            judged.append(QueryJudgement(query=query, verdict="unseen", pairs=0))
            continue
        judged.append(
            QueryJudgement(
                query=query,
                verdict=_verdict(-pairs if higher_is_better else pairs, difference_p, equivalence_p, level, margin),
                pairs=len(pairs),
                ratio=ratio_estimate(pairs, boundary, level=1 - 2 * level),
                difference_p=difference_p,
                equivalence_p=equivalence_p,
            )
        )
    return tuple(judged)


def _above(values: Floats, shift: float) -> float:
    """Probability of data as far above the shift by chance; one where there are too few to decide."""
    return upper_p(values - shift) if len(values) >= LOOKS[0] else 1.0


def _verdict(cost: Floats, difference_p: float, equivalence_p: float, level: float, margin: float) -> QueryVerdict:
    if difference_p <= 2 * level:
        return "worse" if _above(cost, margin) < _above(-cost, margin) else "better"
    return "equivalent" if equivalence_p <= level else "inconclusive"
