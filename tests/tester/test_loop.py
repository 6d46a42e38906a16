"""An asyncio loop whose time is moved by hand."""

import asyncio
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from wshub.tester.loop import MovedLoop


@pytest.fixture
def loop():
    """A loop, closed in the end."""
    loop = MovedLoop()
    yield loop
    loop.close()


def test_time_stands_still(loop):
    """What is due later does not happen, however long one waits; what can run does."""
    calls = []
    loop.call_soon(calls.append, "soon")
    loop.call_later(0.001, calls.append, "later")
    loop.advance(0)
    time.sleep(0.01)
    loop.advance(0)
    assert calls == ["soon"]
    assert loop.time() == 0


def test_time_is_moved_from_timer_to_timer(loop):
    """Each call sees the time at which it is due, those that it makes included; a year takes no time."""
    calls = []

    def again():
        calls.append(loop.time())
        loop.call_later(86400, again)

    loop.call_later(86400, again)
    loop.advance(365 * 86400)
    assert calls == [86400 * day for day in range(1, 366)]
    assert loop.time() == 365 * 86400


def test_until(loop):
    """Time stops where enough has happened."""
    done = []
    loop.call_later(3, done.append, 1)
    loop.call_later(5, done.append, 2)
    loop.advance(10, lambda: done)
    assert (done, loop.time()) == ([1], 3)


def test_timeouts_of_asyncio(loop):
    """`asyncio.timeout` goes by this time too."""

    async def wait():
        async with asyncio.timeout(7):
            await asyncio.Event().wait()

    task = loop.create_task(wait())
    loop.advance(6.9)
    assert not task.done()
    loop.advance(0.2)
    assert isinstance(task.exception(), TimeoutError)


def test_what_threads_bring(loop):
    """A thread's result comes when it is looked for in real time."""
    may_go = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        future = loop.run_in_executor(executor, may_go.wait, 5)
        loop.advance(1000)
        assert not future.done()
        may_go.set()
        deadline = time.monotonic() + 5
        while not future.done():
            assert time.monotonic() < deadline
            loop.look()
        assert loop.time() == 1000
