"""What a person sees of a trial at its gate: a dot for every round, and the same as one line of text."""

import math
from collections.abc import Sequence

from perfwright.models.trial import Judgement

BARS = "▁▂▃▄▅▆▇█"
BINS = 21
WIDTH, ROW, LEFT, TOP = 640, 14, 40, 34
SHOWN = 240


def strip_of(data: Sequence[float]) -> str:
    """`-8.1 % ▁▂▇█▂▁▁│▁ +1.0 %`: how many rounds at which difference; the bar stands where both cost the same. Empty without rounds."""
    if not data:
        return ""
    low, high = min(*data, -0.001, 0.0), max(*data, 0.001, 0.0)
    bins = [0] * BINS
    for one in data:
        bins[_bin(one, low, high)] += 1
    most, zero = max(bins), _bin(0.0, low, high)
    bars = [BARS[round((len(BARS) - 1) * count / most)] if count else " " for count in bins]
    return f"{math.expm1(low):+.1%} {''.join(bars[:zero])}│{''.join(bars[zero:])} {math.expm1(high):+.1%}"


def draw_rounds(title: str, data: Sequence[float], judgement: Judgement | None, margin: float) -> str:
    """An SVG: rounds downwards, their differences across, what counts as none shaded, the estimate and its interval below."""
    shown = list(data[-SHOWN:])
    interval = judgement.ratio.interval if judgement is not None and judgement.ratio is not None else None
    ends = [] if interval is None else [interval.low, interval.high]
    reach = max([2 * margin, *(abs(one) for one in shown), *(abs(math.log(one)) for one in ends)]) * 1.1
    row = min(ROW, max(3, 600 // max(1, len(shown))))
    height = TOP + row * len(shown) + 60

    def x(value: float) -> float:
        return round(LEFT + (WIDTH - 2 * LEFT) * (value + reach) / (2 * reach), 1)

    bottom = TOP + row * len(shown)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>',
        f'<text x="{LEFT}" y="18">{_escaped(title)}</text>',
        f'<rect x="{x(-margin)}" y="{TOP}" width="{round(x(margin) - x(-margin), 1)}" height="{row * len(shown)}" fill="#e8e8e8"/>',
        f'<line x1="{x(0)}" y1="{TOP}" x2="{x(0)}" y2="{bottom + 24}" stroke="#666"/>',
    ]
    for number, one in enumerate(shown):
        colour = "#0072b2" if one < 0 else "#d55e00"
        lines.append(f'<circle cx="{x(one)}" cy="{TOP + row * number + row / 2}" r="{min(4, row / 2)}" fill="{colour}"/>')
    if judgement is not None and judgement.ratio is not None:
        middle = math.log(judgement.ratio.value)
        if ends:
            low, high = (math.log(one) for one in ends)
            lines.append(f'<line x1="{x(low)}" y1="{bottom + 14}" x2="{x(high)}" y2="{bottom + 14}" stroke="#000" stroke-width="3"/>')
        lines.append(f'<circle cx="{x(middle)}" cy="{bottom + 14}" r="6" fill="#000"/>')
    lines += [
        f'<text x="{LEFT}" y="{bottom + 44}">{math.expm1(-reach):+.1%}</text>',
        f'<text x="{x(0)}" y="{bottom + 44}" text-anchor="middle">same</text>',
        f'<text x="{WIDTH - LEFT}" y="{bottom + 44}" text-anchor="end">{math.expm1(reach):+.1%}</text>',
        "</svg>",
    ]
    return "\n".join(lines)


def _bin(value: float, low: float, high: float) -> int:
    return min(BINS - 1, int(BINS * (value - low) / (high - low)))


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")[:100]
