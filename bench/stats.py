"""Figures of several rounds, put together. A turn's figures are a flat dictionary of numbers."""

from dataclasses import dataclass
from statistics import median
from typing import Any

Figures = dict[str, Any]


@dataclass(frozen=True)
class Spread:
    """The median of the rounds, and the least and the most of them."""

    median: float
    least: float
    most: float


def spread_of(values: list[float]) -> Spread | None:
    """The spread of `values`; None if there are none."""
    return Spread(median(values), min(values), max(values)) if values else None


def spread(rounds: list[Figures], metric: str) -> Spread | None:
    """The spread of one metric."""
    return spread_of([figures[metric] for figures in rounds if metric in figures])


def ratio(ours: list[Figures], theirs: list[Figures], metric: str) -> Spread | None:
    """Ours divided by theirs, round by round: what the machine did to one turn, it did to its neighbour as well."""
    pairs = zip(ours, theirs, strict=False)  # a system that has failed has fewer
    return spread_of([a[metric] / b[metric] for a, b in pairs if metric in a and b.get(metric)])


def summary(rounds: list[Figures]) -> dict[str, dict[str, float]]:
    """All metrics, for the JSON."""
    names = [name for name, value in rounds[0].items() if isinstance(value, int | float)] if rounds else []
    found = {name: spread(rounds, name) for name in names}
    return {name: vars(each) for name, each in found.items() if each}
