"""Finds a process that gives no sign of life."""

from collections.abc import Callable
from typing import Any

from wshub.wire import BEATS


class Watchdog:
    """Calls `on_silence` once, when nothing was heard for `timeout` seconds.

    It counts looks instead of subtracting times: a hub that was itself stopped for a minute has looked once, and finds
    what the process wrote meanwhile before it looks again. Death by silence takes between `BEATS` - 1 and `BEATS`
    looks, which are `timeout` / `BEATS` seconds apart. A process is excused while nobody listens to it.
    """

    def __init__(
        self, reactor: Any, timeout: float, on_silence: Callable[[], object], is_excused: Callable[[], bool]
    ) -> None:
        self._was_heard = True
        self._is_excused = is_excused
        self._reactor = reactor
        self._interval = timeout / BEATS
        self._on_silence = on_silence
        self._silent_looks = 0
        self._next_look = reactor.callLater(self._interval, self._look)

    def hear(self) -> None:
        """There was a sign of life."""
        self._was_heard = True

    def stop(self) -> None:
        """Look no more."""
        if self._next_look.active():
            self._next_look.cancel()

    def _look(self) -> None:
        self._silent_looks = 0 if self._was_heard or self._is_excused() else self._silent_looks + 1
        self._was_heard = False
        if self._silent_looks == BEATS - 1:
            self._on_silence()
        else:
            self._next_look = self._reactor.callLater(self._interval, self._look)
