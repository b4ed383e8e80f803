"""How far out the signed-rank Z must be for a watch of so many windows to call a breach.

A watch looks at every window, at the latest of them, and may go on for days: the longer, the more chances for a false alarm. One constant
boundary for each length of a watch pays for all of its looks, found by drawing signs: `python -m tools.trial_boundaries --watch` draws the
table anew. Its level is that of a guard in a whole watch, if windows are independent and as often off to one side of the margin as to the
other; where harm stays well below its margin there are hardly any.
"""

JUDGED = (12, 16, 20, 24)
"""The latest windows: a breach is one at any of them. At the beginning also all that there are, from the first of these numbers on."""
WATCH_WINDOWS = (24, 48, 120, 240, 480, 960, 2_880, 20_160, 86_400)
"""At most; of half a minute: twelve minutes, ... an hour, ... four hours, eight hours, a day, a week, thirty days."""
WATCH_BOUNDARIES = (3.02, 3.27, 3.49, 3.63, 3.74, 3.84, 4.05, 4.22, 4.28)
"""Per guard at 0.5 %; entry by entry as `WATCH_WINDOWS`. Those of a day and more are counted: nearly all of the latest 24 are above."""


def watch_boundary(windows: int) -> float:
    """For a watch of so many windows; of more than a request allows, the last one."""
    return next((boundary for most, boundary in zip(WATCH_WINDOWS, WATCH_BOUNDARIES, strict=True) if windows <= most), WATCH_BOUNDARIES[-1])
