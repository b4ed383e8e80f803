"""Wilson's score interval for a share of independent samples.

Wilson, "Probable inference, the law of succession, and statistical inference", Journal of the American Statistical Association 22, 1927.
"""

import math


def wilson_bounds(share: float, samples: float, standard_errors: float) -> tuple[float, float]:
    """Both ends, which rounding may put a little outside of 0 to 1. `samples` is above 0; effective samples need not be whole."""
    z = standard_errors
    middle = (share + z * z / (2 * samples)) / (1 + z * z / samples)
    half = z / (1 + z * z / samples) * math.sqrt(share * (1 - share) / samples + z * z / (4 * samples * samples))
    return middle - half, middle + half
