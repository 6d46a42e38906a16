"""Heartbeats: they come while the process lives, be it ever so busy, and only then. The hub's end: see test_main."""

import os
import signal
from contextlib import suppress
from time import monotonic

import pytest

from wshub.wire import BEATS, DATA, HEARTBEAT

WORKS = """
    import re
    import time
    import wshub

    class Service(wshub.Service):
        {}
        def on_message(self, client, data):
            eval(data)
            client.send("done")
"""


BUSY = "exec('while time.monotonic() < end: pass', {'time': time, 'end': time.monotonic() + 1.2})"


@pytest.mark.parametrize("work", ["time.sleep(1.2)", BUSY], ids=["sleeps", "computes"])
def test_a_long_hook_does_not_stop_them(start_service, work):
    """A hook that blocks or computes for longer than the time is none of the watcher's business."""
    service = start_service(WORKS.format(""), limits=("hang_timeout=0.6",))
    assert service.declared["hang_timeout"] == "0.6"
    client = service.connect()
    service.message(client, work)
    kinds = []
    while DATA not in kinds:
        kinds.append(service.get()[0])
    assert set(kinds[:-1]) == {HEARTBEAT}
    assert len(kinds) > BEATS


@pytest.mark.parametrize("own", ["hang_timeout = 0", "hang_timeout = 3600"])
def test_what_the_class_says_goes_first(start_service, own):
    """A class that wants none, or few, gets that."""
    service = start_service(WORKS.format(own), limits=("hang_timeout=0.1",))
    assert service.declared["hang_timeout"] == str(float(own.rpartition(" ")[2]))
    client = service.connect()
    service.message(client, "time.sleep(0.7)")
    kinds = [service.get()[0]]
    while DATA not in kinds:
        kinds.append(service.get()[0])
    assert len(kinds) <= 2


def test_foreign_code_that_keeps_the_lock_stops_them(start_service):
    """While a regular expression runs away with the interpreter's lock there is none."""
    service = start_service(WORKS.format(""), limits=("hang_timeout=0.6",))
    client = service.connect()
    assert service.get()[0] == HEARTBEAT
    began = monotonic()
    service.message(client, "re.match('(a+)+b', 'a' * 25)")
    kinds = []
    while DATA not in kinds:
        kinds.append(service.get()[0])
    lasted = monotonic() - began
    assert len(kinds) - 1 < lasted / 0.1 / 2 + 2, f"{len(kinds) - 1} heartbeats in {lasted} seconds"


def test_a_heartbeat_never_comes_in_the_middle_of_a_batch(start_service):
    """Large messages, of which each takes many writes, arrive whole while heartbeats go between them."""
    service = start_service(
        """
        import time
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                for number in range(30):
                    time.sleep(0.03)
                    client.send(bytes([number]) * (4 << 20))
        """,
        limits=("hang_timeout=0.006",),
    )
    service.message(service.connect(), "go")
    messages, beats = [], 0
    while len(messages) < 30:
        kind, _, payload = service.get()
        if kind == HEARTBEAT:
            beats += 1
        else:
            messages.append(payload)
    assert [(len(message), message[0], set(message) == {message[0]}) for message in messages] == [
        (4 << 20, number, True) for number in range(30)
    ]
    assert beats > 0


def test_a_stopped_process_sends_none(start_service):
    """None comes from a process that is stopped, and they go on when it does."""
    service = start_service(WORKS.format(""), limits=("hang_timeout=0.3",))
    service.connect()
    assert service.get()[0] == HEARTBEAT
    os.kill(service.pid, signal.SIGSTOP)
    os.waitid(os.P_PID, service.pid, os.WSTOPPED)
    with suppress(AssertionError):
        service.transactions.wait(lambda: False, timeout=0.2)  # what was on its way is here now
    before = len(service.transactions.items)
    with pytest.raises(AssertionError, match="not in time"):
        service.transactions.wait(lambda: len(service.transactions.items) > before, timeout=0.5)
    os.kill(service.pid, signal.SIGCONT)
    assert service.get()[0] == HEARTBEAT
