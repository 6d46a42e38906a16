"""The thread of a service process that waits for the hub's end, and says in the meantime that the process lives."""

from __future__ import annotations

import os
import select
import signal
import time
from _thread import start_new_thread

from wshub.service.channel import Channel
from wshub.wire import BEATS, FROM_HUB, HEARTBEAT, TO_HUB
from wshub.wire.batches import encode_columns

LAST_WORDS = 1.0  # seconds that a service has for its on_stop when the hub has died
FIRST_LOOK = 0.5  # seconds; how soon heartbeats begin once they may


class Watcher:
    """Ends the whole process group when the hub is gone, also if the service is too busy to notice that.

    A thread, because the kernel's own way, prctl, is only to be had through ctypes, which costs a megabyte.

    It also writes the heartbeats, and not the loop that reads the pipe: a hook may well take a minute, and a classic
    service another between two transactions. What stops this thread too is what nothing in the process recovers from:
    it is stopped, or foreign code keeps the interpreter to itself.
    """

    def __init__(self, channel: Channel, hub: int) -> None:
        self._hub = hub
        self._channel = channel
        self._interval: float | None = None
        start_new_thread(self._run, ())

    def begin_heartbeats(self, hang_timeout: float) -> None:
        """From now on say that the process lives, often enough for a hub that waits `hang_timeout` seconds for it."""
        self._interval = hang_timeout / BEATS

    def _run(self) -> None:
        poll = select.poll()
        poll.register(FROM_HUB, 0)  # for nothing but its end, which may also mean that there is time to finish
        while not poll.poll(1000 * (self._interval or FIRST_LOOK)):
            if self._interval:
                self._beat()
        while os.getppid() == self._hub:
            time.sleep(0.5)
        time.sleep(LAST_WORDS)
        os.killpg(0, signal.SIGKILL)

    def _beat(self) -> None:
        """Write a heartbeat, unless another thread is writing: then the hub hears of that, or is slow itself."""
        writing = self._channel._writing
        if writing.acquire(False):
            try:
                os.write(TO_HUB, BEAT)  # at most PIPE_BUF bytes: never in pieces
            except OSError:
                pass  # the hub is gone, or the author has closed the pipe: both are found out elsewhere
            finally:
                writing.release()


BEAT = b"".join(encode_columns([(HEARTBEAT, 0, b"")]))


def end_with(hub: int) -> None:
    """At the end of the process: if it is the hub's end as well, let it be that of whatever the process has started.

    While the hub lives it does so itself. When it dies its pipes are closed a little before it is gone.
    """
    for _ in range(10):
        if os.getppid() != hub:
            os.killpg(0, signal.SIGKILL)
        time.sleep(0.005)
