"""Running lines: their systems in turns, A B C A B C, as often as there are rounds, with word of how far it is."""

import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import groupby
from pathlib import Path

from bench.line import Line
from bench.server import BenchError
from bench.stats import Figures
from bench.systems import System
from bench.turn import take_turn

HEADLINES = {"idle": ("private", "KiB"), "service": ("first_ms", "ms"), "storm": ("served", "served")}


@dataclass
class LineResult:
    """What came of a line."""

    line: Line
    rounds: dict[str, list[Figures]] = field(default_factory=dict)
    """By system, in the order of the rounds."""
    missing: dict[str, str] = field(default_factory=dict)
    """By system: why it has no figures, or not all of them."""


class Progress:
    """One line that is rewritten on a terminal; elsewhere a line for each round."""

    def __init__(self, lines: int) -> None:
        self._lines = lines
        self.line = 0
        """Which of them it is at."""
        self._begun = time.monotonic()
        self._is_terminal = sys.stderr.isatty()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return time.monotonic() - self._begun

    def say(self, text: str, is_end: bool = False) -> None:
        """Where it is now; `is_end`, that a round has ended."""
        minutes, seconds = divmod(int(self.seconds), 60)
        text = f"{minutes:3}:{seconds:02} [{self.line}/{self._lines}] {text}"
        if self._is_terminal:
            print(f"\r\x1b[K{text[-shutil.get_terminal_size().columns + 1 :]}", end="", file=sys.stderr, flush=True)
        elif is_end:
            print(text, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Make room for a table."""
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class Runner:
    """What all turns have in common."""

    systems: dict[str, System]
    places: str
    """A name that `turn.placement` knows."""
    twistd: Path
    warmup: float
    deadline: float | None
    """Seconds after which no turn begins; None for as long as it takes."""

    def run(self, lines: list[Line], done: Callable[[LineResult], None]) -> list[LineResult]:
        """Run `lines`; tell `done` of each one as it ends."""
        progress = Progress(len(lines))
        results: list[LineResult] = []
        for _, group in groupby(lines, lambda line: line.group or line.name):
            of_group = [LineResult(line, missing=self._missing(line)) for line in group]
            for number in range(max(result.line.rounds for result in of_group)):
                for at, result in enumerate(of_group):
                    if number < result.line.rounds:
                        progress.line = len(results) + at + 1
                        self._round(result, number + 1, progress)
            progress.clear()
            for result in of_group:
                done(result)
            results += of_group
        return results

    def _missing(self, line: Line) -> dict[str, str]:
        return {name: self.systems[name].missing for name in line.systems if self.systems[name].missing}

    def _round(self, result: LineResult, number: int, progress: Progress) -> None:
        line = result.line
        metric, unit = HEADLINES.get(line.kind, ("cpu", "µs"))
        said: list[str] = []
        for name in line.systems:
            if name in result.missing or (self.deadline is not None and progress.seconds > self.deadline):
                continue
            progress.say(f"{line.name}: round {number} of {line.rounds}: {', '.join([*said, name])} …")
            try:
                figures = take_turn(line, self.systems[name], self.places, self.twistd, self.warmup)
            except BenchError as error:
                result.missing[name] = str(error)
                continue
            result.rounds.setdefault(name, []).append(figures)
            said.append(f"{name} {figures[metric]:.3g} {unit}")
        progress.say(f"{line.name}: round {number} of {line.rounds}: {', '.join(said) or 'nothing'}", is_end=True)
