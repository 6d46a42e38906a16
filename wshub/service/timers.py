"""``call_later`` and ``call_every`` for a loop that waits on a pipe."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any


class Timer:
    """A call that is due at a time; ``cancel()`` takes it back, at any time and as often as one likes."""

    __slots__ = ("args", "call", "due", "every", "number")

    def __init__(self, due: float, number: int, every: float | None, call: Callable[..., Any], args: Any) -> None:
        self.due = due
        self.number = number
        self.every = every
        self.call: Callable[..., Any] | None = call
        self.args = args

    def cancel(self) -> None:
        """Do not make the call, or not again."""
        self.call = None
        self.args = ()

    def __lt__(self, other: Timer) -> bool:
        return (self.due, self.number) < (other.due, other.number)


class Timers:
    """Timers in the order in which they are due; those of one time in the order in which they were made."""

    def __init__(self) -> None:
        self._heap: list[Timer] = []
        self._numbers = count()

    def __bool__(self) -> bool:
        return bool(self._heap)

    def add(self, due: float, every: float | None, call: Callable[..., Any], args: tuple[Any, ...]) -> Timer:
        """Make a timer for the time `due`, and then for every `every` seconds."""
        timer = Timer(due, next(self._numbers), every, call, args)
        heapq.heappush(self._heap, timer)
        return timer

    def next_due(self) -> float | None:
        """When the next call is due; None if there is none."""
        while self._heap and self._heap[0].call is None:
            heapq.heappop(self._heap)
        return self._heap[0].due if self._heap else None

    def pop_due(self, now: float) -> list[Timer]:
        """The timers whose time has come. Repeating ones are set for their next time, however much they missed."""
        due = []
        while (first := self.next_due()) is not None and first <= now:
            timer = heapq.heappop(self._heap)
            due.append(timer)
        for timer in due:
            if timer.every is not None:
                missed = int((now - timer.due) / timer.every)
                timer.due += timer.every * (missed + 1)
                heapq.heappush(self._heap, timer)
        return due
