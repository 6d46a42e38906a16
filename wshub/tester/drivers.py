"""What makes a service of each style go in a test: it gets transactions, and time, and finishes.

A driver's `deliver` and `advance` return when the service has nothing more to do. `look` gives it a moment of real
time, for what its own threads do.
"""

import asyncio
import time
from collections.abc import Callable
from typing import Any, Protocol

from wshub.service.base import LOST
from wshub.service.coroutines import AsyncService
from wshub.service.handlers import Service
from wshub.tester.channel import NotingChannel
from wshub.tester.loop import LOOK, MovedLoop
from wshub.wire.payloads import Transaction

PATIENCE = 10.0  # seconds of real time that a service is given to start or finish
START_TIMEOUT = 30.0  # seconds of the test's time that on_start may wait for: the hub's start_timeout
STOP_TIMEOUT = 5.0  # and those for the end: its stop_timeout


class Driver(Protocol):
    """See the module."""

    service: Any

    def start(self) -> None:
        """Everything up to READY."""

    def now(self) -> float:
        """The service's time, in seconds from its start."""

    def deliver(self, transaction: Transaction) -> None:
        """Something comes from the hub."""

    def advance(self, seconds: float, until: Callable[[], object]) -> None:
        """Let time pass, or until `until()` is true."""

    def look(self) -> None:
        """See the module."""

    def finish(self) -> None:
        """The hub closes the pipe."""

    def close(self) -> None:
        """Let go of everything, whatever has happened."""


class HandlersDriver:
    """Calls the hooks of a `wshub.Service` in place, as its loop would."""

    def __init__(self, cls: type[Service], channel: NotingChannel) -> None:
        self._time = 0.0
        self._channel = channel
        service = cls.__new__(cls)
        service._monotonic = self.now  # before __init__, which may make timers
        cls.__init__(service)
        service._begin(channel)
        self.service = service

    def now(self) -> float:
        return self._time

    def start(self) -> None:
        self.service.on_start()
        self._settle()

    def deliver(self, transaction: Transaction) -> None:
        self.service._dispatch([transaction])
        self._settle()

    def advance(self, seconds: float, until: Callable[[], object]) -> None:
        end = self._time + seconds
        while not until() and (due := self.service._timers.next_due()) is not None and due <= end:
            self._time = max(self._time, due)
            self._settle()
        if not until():
            self._time = max(self._time, end)

    def look(self) -> None:
        time.sleep(LOOK)
        self._settle()

    def finish(self) -> None:
        self.service._guarded(None, self.service.on_stop)
        for client in self.service._take_those_left():
            self.service._guarded(client, self.service.on_close, client, *LOST)
        self._channel.flush()

    def close(self) -> None:
        pass

    def _settle(self) -> None:
        self.service._call_what_is_due()
        self._channel.flush()


class CoroutinesDriver:
    """Runs the main coroutine of a `wshub.AsyncService` on a loop whose time is moved."""

    def __init__(self, cls: type[AsyncService], channel: NotingChannel) -> None:
        self._channel = channel
        self._main: asyncio.Task[None] | None = None
        self._is_ready = False
        self.service = cls()
        self.service._begin(channel)
        self._loop = MovedLoop()

    def now(self) -> float:
        return self._loop.time()

    def start(self) -> None:
        self._main = self._loop.create_task(self.service._main(self._on_ready))
        self._advance(START_TIMEOUT, lambda: self._is_ready)
        deadline = time.monotonic() + PATIENCE
        while not self._is_ready:
            assert time.monotonic() < deadline, f"on_start has not returned in {PATIENCE:g} seconds"
            self.look()
        self._advance(0)

    def deliver(self, transaction: Transaction) -> None:
        self._loop.call_soon(self.service._accept, [transaction])
        self._advance(0)

    def advance(self, seconds: float, until: Callable[[], object]) -> None:
        self._advance(seconds, until)

    def look(self) -> None:
        self._loop.look()
        self._check()

    def finish(self) -> None:
        if self._main is not None and not self._main.done():
            self._channel.hang_up()
            self._advance(STOP_TIMEOUT, self._main.done)
            deadline = time.monotonic() + PATIENCE
            while not self._main.done() and time.monotonic() < deadline:
                self.look()
            assert self._main.done(), "the service does not finish: a hook that began has not come to its end"

    def close(self) -> None:
        if not self._loop.is_closed():
            for task in asyncio.all_tasks(self._loop):
                task.cancel()
            self._loop.advance(0)
            if self._main is not None and self._main.done() and not self._main.cancelled():
                self._main.exception()  # or asyncio complains that nobody has asked
            self._loop.close()

    def _on_ready(self) -> None:
        self._is_ready = True

    def _advance(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        self._loop.advance(seconds, until)
        self._check()

    def _check(self) -> None:
        if self._main is not None and self._main.done() and not self._main.cancelled():
            self._main.result()  # what on_start, or the reading of the pipe, has raised
