"""What makes a service of each style go in a test: it gets transactions, and time, and finishes.

A driver's `deliver` and `advance` return when the service has nothing more to do. `look` gives it a moment of real
time, for what its own threads do.
"""

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from wshub.service.base import LOST, HookedService
from wshub.service.coroutines import AsyncService
from wshub.service.handlers import Service
from wshub.service.queues import ClassicService, ReceiveQueue, SendQueue, ShutDown, ShutdownFlag
from wshub.tester.channel import NotingChannel
from wshub.tester.loop import LOOK, MovedLoop
from wshub.wire import Transaction

PATIENCE = 10.0  # seconds of real time that a classic service is given to come back to its queue


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


def _instantiate(cls: type[HookedService], channel: NotingChannel) -> Any:
    service = cls()
    service._begin(channel)
    return service


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

    def _settle(self) -> None:
        self.service._call_what_is_due()
        self._channel.flush()


class CoroutinesDriver:
    """Runs the main coroutine of a `wshub.AsyncService` on a loop whose time is moved."""

    def __init__(self, cls: type[AsyncService], channel: NotingChannel) -> None:
        self._channel = channel
        self._loop = MovedLoop()
        self._main: asyncio.Task[None] | None = None
        self._is_ready = False
        self.service = _instantiate(cls, channel)

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
            is_over = self._main.done()
        else:
            is_over = True
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
        self._loop.advance(0)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
        assert is_over, "the service does not finish: a hook that began has not come to its end"

    def _on_ready(self) -> None:
        self._is_ready = True

    def _advance(self, seconds: float, until: Callable[[], object] = lambda: False) -> None:
        self._loop.advance(seconds, until)
        self._check()

    def _check(self) -> None:
        if self._main is not None and self._main.done() and not self._main.cancelled():
            self._main.result()  # what on_start, or the reading of the pipe, has raised


START_TIMEOUT = 30.0  # seconds of the test's time that on_start may wait for: the hub's start_timeout
STOP_TIMEOUT = 5.0  # and those for the end: its stop_timeout


class ClassicDriver:
    """Runs a service in the seed's style in a thread, and waits each time until it asks for what is next."""

    def __init__(self, cls: type[ClassicService], channel: NotingChannel) -> None:
        self._error: BaseException | None = None
        self._clock = _ClassicClock(channel)
        channel.receive = self._clock.receive  # type: ignore[method-assign]
        receive_queue = ReceiveQueue(channel, ShutdownFlag())
        receive_queue._monotonic = self._clock.now
        self.service = cls(SendQueue(channel, receive_queue), receive_queue)
        self._channel = channel
        self._thread = threading.Thread(target=self._run, daemon=True, name="classic service")

    def _run(self) -> None:
        try:
            self.service.run()
        except ShutDown:
            pass
        except BaseException as error:
            self._error = error
        finally:
            self._channel.flush()
            self._clock.end()

    def now(self) -> float:
        return self._clock.now()

    def start(self) -> None:
        self._thread.start()
        self._settle()

    def deliver(self, transaction: Transaction) -> None:
        self._clock.put(transaction)
        self._settle()

    def advance(self, seconds: float, until: Callable[[], object]) -> None:
        end = self.now() + seconds
        while not until() and self._clock.move_to_next(end):
            self._settle()
        if not until():
            self._clock.move_to(end)

    def look(self) -> None:
        time.sleep(LOOK)
        self._settle()

    def finish(self) -> None:
        self._channel.hang_up()
        self._clock.hang_up()
        self._thread.join(PATIENCE)
        assert not self._thread.is_alive(), f"run() does not return within {PATIENCE:g} seconds of being asked to"
        self._raise()

    def _settle(self) -> None:
        assert self._clock.wait_until_idle(PATIENCE), (
            f"run() has not asked for its next transaction in {PATIENCE:g} seconds"
        )
        self._raise()
        assert self._thread.is_alive() or self._clock.is_hung_up, "run() has returned: the hub takes that for a death"

    def _raise(self) -> None:
        if self._error:
            error, self._error = self._error, None
            raise error


POLLS = 3  # times in a row that a service has looked into its queue in vain: so it looks there in between


class _ClassicClock:
    """What a classic service waits for: transactions, and the test's time."""

    def __init__(self, channel: NotingChannel) -> None:
        self.is_hung_up = False
        self._inbox: queue.SimpleQueue[Transaction] = queue.SimpleQueue()
        self._time = 0.0
        self._due: float | None = None
        self._is_waiting = False
        self._polls = 0
        self._has_ended = False
        self._changed = threading.Condition()

    def now(self) -> float:
        return self._time

    def receive(self, timeout: float | None = None) -> list[Transaction] | None:
        """In the place of `Channel.receive`."""
        with self._changed:
            self._due = None if timeout is None else self._time + timeout
            while True:
                if not self._inbox.empty():
                    self._polls = 0
                    return [self._inbox.get()]
                if self.is_hung_up:
                    return None
                if timeout == 0:
                    self._polls += 1
                    self._changed.notify_all()
                    return []
                if self._due is not None and self._due <= self._time:
                    return []
                self._is_waiting = True
                self._changed.notify_all()
                self._changed.wait()
                self._is_waiting = False

    def put(self, transaction: Transaction) -> None:
        """Something comes from the hub."""
        with self._changed:
            self._inbox.put(transaction)
            self._begin()

    def move_to_next(self, end: float) -> bool:
        """Move time to where the service's waiting ends; false if that is after `end`."""
        with self._changed:
            if not self._is_waiting or self._due is None or self._due > end:
                return False
            self._time = self._due
            self._begin()
            return True

    def move_to(self, end: float) -> None:
        """Move time."""
        with self._changed:
            self._time = max(self._time, end)

    def hang_up(self) -> None:
        """No more transactions."""
        with self._changed:
            self.is_hung_up = True
            self._begin()

    def end(self) -> None:
        """The service has ended."""
        with self._changed:
            self._has_ended = True
            self._changed.notify_all()

    def wait_until_idle(self, timeout: float) -> bool:
        """Wait until the service waits, or has ended; false if it does not within `timeout` seconds."""
        with self._changed:
            return self._changed.wait_for(self._is_idle, timeout)

    def _begin(self) -> None:
        self._polls = 0
        self._is_waiting = False
        self._changed.notify_all()

    def _is_idle(self) -> bool:
        return self._has_ended or ((self._is_waiting or self._polls >= POLLS) and self._inbox.empty())
