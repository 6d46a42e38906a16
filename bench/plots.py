"""Plots as SVG, by hand: bars with their spread, and curves over a logarithmic axis. They read on light and on dark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

OURS, THEIRS, TEXT, FAINT = "#2f9e6e", "#8f9bb3", "#7a8499", "#7a849944"
FONT = 'font-family="system-ui, sans-serif" font-size="13"'
WIDTH, LABEL, VALUE, ROW = 720, 150, 150, 24
"""Of the plot, of the names at the left, of the figures at the right, and of one bar with the room around it."""


@dataclass(frozen=True)
class Bar:
    """One bar: its name, the median, and the least and the most of all rounds."""

    name: str
    median: float
    least: float
    most: float
    is_ours: bool


def bars(panels: Sequence[tuple[str, Sequence[Bar]]], unit: str) -> str:
    """Panels of horizontal bars, one under the other, each with its own title and scale."""
    parts: list[str] = []
    top = 0
    for title, of_panel in panels:
        parts.append(text(0, top + 16, title, weight="600"))
        scale = (WIDTH - LABEL - VALUE) / max(bar.most for bar in of_panel)
        for i, bar in enumerate(of_panel):
            parts += one_bar(bar, top + 28 + i * ROW, scale, unit)
        top += 28 + len(of_panel) * ROW + 16
    return svg(WIDTH, top, parts)


def one_bar(bar: Bar, y: float, scale: float, unit: str) -> list[str]:
    """A bar, a whisker from the least to the most, and the figure."""
    middle = y + ROW / 2
    least, most = LABEL + bar.least * scale, LABEL + bar.most * scale
    colour = OURS if bar.is_ours else THEIRS
    width = max(bar.median * scale, 1)
    return [
        text(LABEL - 8, middle + 4, bar.name, anchor="end", weight="600" if bar.is_ours else "400"),
        f'<rect x="{LABEL}" y="{y + 4:.1f}" width="{width:.1f}" height="{ROW - 8}" fill="{colour}"/>',
        f'<path d="M{least:.1f} {middle}H{most:.1f}" stroke="{TEXT}" stroke-width="2"/>',
        text(most + 8, middle + 4, f"{figure(bar.median)} {unit}"),
    ]


def curves(title: str, named: Mapping[str, Sequence[tuple[float, float]]], x_title: str, ours: str) -> str:
    """Curves through points (x, y), x on a logarithmic axis, y from 0."""
    height, left, right, top, bottom = 300, 50, 130, 40, 250
    points = [point for curve in named.values() for point in curve]
    first, last = (math.log10(edge(x for x, _ in points)) for edge in (min, max))
    highest = max(y for _, y in points) * 1.1

    def place(x: float, y: float) -> tuple[float, float]:
        along = (math.log10(x) - first) / ((last - first) or 1)
        return left + along * (WIDTH - left - right), bottom - y / highest * (bottom - top)

    parts = [text(0, 16, title, weight="600"), text((WIDTH - right + left) / 2, height - 8, x_title, anchor="middle")]
    step = round_step(highest / 4)
    for i in range(int(highest / step) + 1):
        at = place(points[0][0], i * step)[1]
        parts += [
            f'<path d="M{left} {at:.1f}H{WIDTH - right}" stroke="{FAINT}"/>',
            text(left - 8, at + 4, figure(i * step), anchor="end"),
        ]
    for x in sorted({x for x, _ in points}):
        parts.append(text(place(x, 0)[0], bottom + 20, f"{x:,.0f}", anchor="middle"))
    lowest = math.inf  # of the names so far: they are kept apart
    for name, curve in sorted(named.items(), key=lambda item: -item[1][-1][1]):
        colour = OURS if name == ours else THEIRS
        places = [place(*point) for point in curve]
        path = "L".join(f"{x:.1f} {y:.1f}" for x, y in places)
        parts.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{colour}"/>' for x, y in places]
        at = places[-1][1] + 4 if lowest == math.inf else max(places[-1][1] + 4, lowest + 16)
        lowest = at
        parts.append(text(places[-1][0] + 10, at, name, weight="600" if name == ours else "400"))
    return svg(WIDTH, height, parts)


def round_step(least: float) -> float:
    """1, 2 or 5 times a power of ten, and not less than `least`."""
    power: float = 10 ** math.floor(math.log10(least))
    return next(factor * power for factor in (1, 2, 5, 10) if factor * power >= least)


def figure(value: float) -> str:
    """Three digits, or a whole number."""
    return f"{value:,.0f}" if value >= 100 or value == int(value) else f"{value:.3g}"


def text(x: float, y: float, words: str, anchor: str = "start", weight: str = "400") -> str:
    """Some words."""
    place = f'x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text {place} fill="{TEXT}">{escape(words)}</text>'


def svg(width: int, height: int, parts: Sequence[str]) -> str:
    """A whole file."""
    size = f'viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {FONT}>'
    return "\n".join([head, *parts, "</svg>", ""])
