"""What makes a classic service go in a test: a thread, which waits for what the test does."""

import queue
import threading
import time
from collections.abc import Callable

from wshub.service.queues import ClassicService, ReceiveQueue, SendQueue, ShutDown, ShutdownFlag
from wshub.tester.channel import NotingChannel
from wshub.tester.loop import LOOK
from wshub.wire.payloads import Transaction

PATIENCE = 10.0  # seconds of real time that the service is given to come back to its queue
POLLS = 3  # times in a row that a service has looked into its queue in vain: so it looks there in between


class ClassicDriver:
    """Runs a classic service in a thread, and waits each time until it asks for what is next."""

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

    def close(self) -> None:
        self._channel.hang_up()
        self._clock.hang_up()

    def _settle(self) -> None:
        assert self._clock.wait_until_idle(PATIENCE), (
            f"run() has not asked for its next transaction in {PATIENCE:g} seconds"
        )
        self._raise()
        assert not self._clock.has_ended or self._clock.is_hung_up, "run() has returned: the hub takes that for a death"

    def _raise(self) -> None:
        if self._error:
            error, self._error = self._error, None
            raise error


class _ClassicClock:
    """What a classic service waits for: transactions, and the test's time."""

    def __init__(self, channel: NotingChannel) -> None:
        self.is_hung_up = False
        self.has_ended = False
        self._inbox: queue.SimpleQueue[Transaction] = queue.SimpleQueue()
        self._time = 0.0
        self._due: float | None = None
        self._is_waiting = False
        self._polls = 0
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
            self.has_ended = True
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
        return self.has_ended or ((self._is_waiting or self._polls >= POLLS) and self._inbox.empty())
