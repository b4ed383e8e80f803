"""The Pareto front of a sweep as SVG: p99 pause to the right, memory upwards, as large as the throughput."""

import math
from collections.abc import Sequence
from html import escape

from perfwright.models.gc_tuning import GcScore

WIDTH, HEIGHT = 720, 360
LEFT, RIGHT, TOP, BOTTOM = 70, 260, 24, 46
LEAST_MS = 0.01


def draw_front(scores: Sequence[GcScore], chosen: str, pause_target_ms: float, memory_limit_ratio: float) -> str:
    """Self-contained; the pause on a logarithmic scale. Candidates that could not be measured are left out; an infinite target is none."""
    drawn = [one for one in scores if one.throughput_ratio > 0]
    if math.isinf(pause_target_ms):
        pause_target_ms = max(LEAST_MS, *(one.pause_p99_ms for one in drawn))
    xs = [math.log10(max(LEAST_MS, one.pause_p99_ms)) for one in drawn] + [math.log10(pause_target_ms)]
    ys = [one.memory_ratio for one in drawn] + [memory_limit_ratio, 1.0]
    x0, x1, y0, y1 = min(xs) - 0.15, max(xs) + 0.15, min(ys) - 0.08, max(ys) + 0.08

    def x(ms: float) -> float:
        return LEFT + (math.log10(max(LEAST_MS, ms)) - x0) / (x1 - x0) * (WIDTH - LEFT - RIGHT)

    def y(ratio: float) -> float:
        return HEIGHT - BOTTOM - (ratio - y0) / (y1 - y0) * (HEIGHT - TOP - BOTTOM)

    target_x, limit_y = x(pause_target_ms), y(memory_limit_ratio)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="p99 pause against memory" '
        'style="width:100%;height:auto;font:12px sans-serif">',
        f'<rect x="{LEFT}" y="{limit_y:.1f}" width="{max(0.0, target_x - LEFT):.1f}" height="{max(0.0, HEIGHT - BOTTOM - limit_y):.1f}" '
        'fill="#2e9e5b" fill-opacity="0.12"/>',
        f'<path d="M{LEFT} {TOP}V{HEIGHT - BOTTOM}H{WIDTH - RIGHT}" fill="none" stroke="#8892a0"/>',
    ]
    for ms in (10.0**exponent for exponent in range(math.ceil(x0), math.floor(x1) + 1)):
        parts.append(f'<path d="M{x(ms):.1f} {HEIGHT - BOTTOM}v5" stroke="#8892a0"/>')
        parts.append(f'<text x="{x(ms):.1f}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle" fill="currentColor">{ms:g} ms</text>')
    ratios = sorted({1.0, round(memory_limit_ratio, 3), round(max(ys), 2)})
    parts += [f'<text x="{LEFT - 8}" y="{y(ratio) + 4:.1f}" text-anchor="end" fill="currentColor">x{ratio:g}</text>' for ratio in ratios]
    parts.append(f'<text x="{LEFT}" y="{HEIGHT - 8}" fill="currentColor">p99 of noticed pauses; green: both within their limits</text>')
    parts.append(f'<text x="{LEFT}" y="{TOP - 8}" fill="currentColor">memory, to as it is</text>')
    for number, one in enumerate(drawn, start=1):
        name = one.candidate or "as it is"
        fill = "#d0612a" if one.candidate == chosen and chosen else "#1f5fa8" if one.on_front else "#a9b2bd"
        radius = 4 + 4 * min(2.0, one.throughput_ratio)
        told = f"{name}: p99 {one.pause_p99_ms:.2f} ms, memory x{one.memory_ratio:.2f}, throughput x{one.throughput_ratio:.2f}"
        cx, cy, line_y = x(one.pause_p99_ms), y(one.memory_ratio), TOP + 18 * number
        parts += [
            f'<circle cx="{cx:.1f}" cy="{cy:.1f}" r="{radius:.1f}" fill="{fill}" fill-opacity="0.7"><title>{escape(told)}</title></circle>',
            f'<text x="{cx:.1f}" y="{cy - radius - 3 - 12 * (number % 3):.1f}" text-anchor="middle" fill="currentColor">{number}</text>',
            f'<circle cx="{WIDTH - RIGHT + 18}" cy="{line_y - 4}" r="5" fill="{fill}"/>',
            f'<text x="{WIDTH - RIGHT + 28}" y="{line_y}" fill="currentColor">{number} {escape(name)}</text>',
        ]
    return "".join(parts) + "</svg>"
