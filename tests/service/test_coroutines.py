"""`wshub.AsyncService`: hooks that are coroutines, each service in a thread with real pipes."""

import asyncio
import fcntl
import struct
import termios
import threading

import pytest

import wshub
from wshub.errors import WireError
from wshub.service.coroutines import HIGH_MARK, LOW_MARK, AsyncService
from wshub.wire import BINARY, CLOSE, DATA, MAX_MESSAGE, MULTICAST, NEWSOCKET, SLOW
from wshub.wire.payloads import decode_multicast

from .conftest import DEADLINE, Inbox, opening


class Recorder(AsyncService):
    """Remembers which hooks were called, and with what."""

    def __init__(self):
        self.calls = Inbox()

    async def on_start(self):
        self.calls.put("start")

    async def on_open(self, client):
        self.calls.put(("open", client.id))

    async def on_message(self, client, data):
        self.calls.put(("message", client.id, data))

    async def on_close(self, client, code, reason):
        self.calls.put(("close", client.id, code, reason))

    async def on_stop(self):
        self.calls.put("stop")


class Echo(AsyncService):
    """Sends every message back."""

    async def on_message(self, client, data):
        client.send(data)


class Gate:
    """What a hook waits for until the test opens it; of the service's own loop, but for use in the test's thread."""

    def __init__(self):
        self._event = None
        self._loop = None
        self.entered = Inbox()

    async def wait(self, name=None):
        """Say that somebody is here, and wait."""
        if self._event is None:
            self._event, self._loop = asyncio.Event(), asyncio.get_running_loop()
        self.entered.put(name)
        await asyncio.wait_for(self._event.wait(), DEADLINE)

    def open(self):
        """Let everybody through."""
        self._loop.call_soon_threadsafe(self._event.set)


@pytest.fixture
def gate():
    """A closed gate."""
    return Gate()


def bytes_in_pipe(fd):
    """How much has been written to a pipe and not been read."""
    return struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, bytes(4)))[0]


def test_public_name():
    """`wshub.AsyncService` is this class."""
    assert wshub.AsyncService is AsyncService


# The hooks.


def test_all_hooks_in_order(run_service):
    """Each hook is called with what its signature says, in the order in which things happen, on_stop last and once."""
    service = Recorder()
    hub = run_service(service)
    client = hub.connect()
    hub.message(client, "text", b"bytes")
    hub.gone(client, 1000, "done")
    assert hub.stop() is None
    assert service.calls.items == [
        "start",
        ("open", client),
        ("message", client, "text"),
        ("message", client, b"bytes"),
        ("close", client, 1000, "done"),
        "stop",
    ]


def test_on_start_before_ready(run_service, gate):
    """READY is not said before on_start has ended, however long it awaits."""

    class Slow(AsyncService):
        async def on_start(self):
            await gate.wait()

    hub = run_service(Slow(), is_ready=False)
    gate.entered.get()
    assert hub.transactions.items == []
    gate.open()
    assert hub.get_ready() == {}


def test_on_start_raises(run_service):
    """What on_start raises ends the service before it is ready."""

    class Broken(AsyncService):
        async def on_start(self):
            await asyncio.sleep(0)
            raise KeyError("no database")

    hub = run_service(Broken(), is_ready=False)
    assert isinstance(hub.stop(), KeyError)
    assert hub.transactions.rest() == []


def test_a_service_without_hooks(run_service):
    """Every hook may be missing."""
    hub = run_service(AsyncService())
    client = hub.connect()
    hub.message(client, "x")
    hub.gone(client)
    assert hub.stop() is None
    assert hub.transactions.rest() == []


def test_init_that_forgets_super(run_service):
    """An `__init__` without `super()` breaks neither clients nor broadcast nor timers."""

    class Forgetful(AsyncService):
        def __init__(self):
            self.greeting = "hello"

        async def on_open(self, client):
            client.send(self.greeting)
            self.call_later(0, self.broadcast, str(sorted(self.clients)))

    hub = run_service(Forgetful())
    client = hub.connect()
    assert hub.get_text() == (client, "hello")
    assert decode_multicast(hub.get()[2]) == ((client,), b"[1]")


@pytest.mark.parametrize("message", ["", "grüß €", b"", b"\xff\x00", "x" * 200_000, bytes(200_000)])
def test_echo(run_service, message):
    """A text comes back as text, bytes as bytes, of any size."""
    hub = run_service(Echo())
    client = hub.connect()
    hub.message(client, message)
    payload = message.encode() if isinstance(message, str) else message
    assert hub.get() == (DATA if isinstance(message, str) else BINARY, client, payload)


def test_answers_of_one_turn_cross_together(run_service):
    """What is sent in one turn of the loop is one batch, not one for each message."""
    hub = run_service(Echo())
    client = hub.connect()
    before = len(hub.batches)
    hub.message(client, *(str(number) for number in range(200)))
    assert [hub.get_text()[1] for _ in range(200)] == list(map(str, range(200)))
    assert len(hub.batches) - before == 1


# One client's messages in order, clients side by side.


def test_one_client_in_order(run_service):
    """A client's hooks run one after the other, however long each one awaits."""

    class Uneven(AsyncService):
        def __init__(self):
            self.running = 0

        async def on_message(self, client, data):
            self.running += 1
            assert self.running == 1
            for _ in range((7 * int(data)) % 5):
                await asyncio.sleep(0)
            self.running -= 1
            client.send(data)

    hub = run_service(Uneven())
    client = hub.connect()
    for start in range(0, 200, 50):
        hub.message(client, *map(str, range(start, start + 50)))
    assert [hub.get_text() for _ in range(200)] == [(client, str(number)) for number in range(200)]


def test_messages_wait_for_on_open(run_service, gate):
    """No message of a client before its on_open has ended."""

    class Slow(Recorder):
        async def on_open(self, client):
            await gate.wait()
            await super().on_open(client)

    service = Slow()
    hub = run_service(service)
    client = hub.connect()
    hub.message(client, "early")
    gate.entered.get()
    assert service.calls.items == ["start"]
    gate.open()
    assert service.calls.get_many(3) == ["start", ("open", client), ("message", client, "early")]


def test_a_slow_client_keeps_nobody_waiting(run_service, gate):
    """While one client's hook awaits, the messages of others are dealt with; its own wait."""

    class Mixed(AsyncService):
        async def on_message(self, client, data):
            if data == "slow":
                await gate.wait()
            client.send(data)

    hub = run_service(Mixed())
    slow, quick = hub.connect(), hub.connect()
    hub.post((DATA, slow, "slow"), (DATA, slow, "behind"), (DATA, quick, "quick"))
    assert hub.get_text() == (quick, "quick")
    hub.message(quick, "again")
    assert hub.get_text() == (quick, "again")
    gate.open()
    assert [hub.get_text() for _ in range(2)] == [(slow, "slow"), (slow, "behind")]


def test_many_clients_side_by_side(run_service, gate):
    """The hooks of a hundred clients are all under way at once."""

    class Meeting(AsyncService):
        async def on_message(self, client, data):
            await gate.wait(client.id)
            client.send(data)

    hub = run_service(Meeting())
    clients = [hub.connect() for _ in range(100)]
    for client in clients:
        hub.message(client, "x")
    assert sorted(gate.entered.get_many(100)) == clients
    gate.open()
    assert sorted(hub.get_text()[0] for _ in range(100)) == clients


def test_messages_before_a_close_are_handled(run_service, gate):
    """A client that has gone while its messages waited: all of them are handled, then on_close, once."""

    class Slow(Recorder):
        async def on_message(self, client, data):
            if data == "first":
                await gate.wait()
            await super().on_message(client, data)
            self.calls.put(("sent", client.send("too late")))

    service = Slow()
    hub = run_service(service)
    client = hub.connect()
    hub.post((DATA, client, "first"), (DATA, client, "second"), (CLOSE, client, (1000, "")))
    gate.entered.get()
    gate.open()
    assert hub.stop() is None
    assert service.calls.items[2:] == [
        ("message", client, "first"),
        ("sent", False),
        ("message", client, "second"),
        ("sent", False),
        ("close", client, 1000, ""),
        "stop",
    ]


def test_no_message_after_close(run_service):
    """Once the service has closed a client no message of it arrives; on_close does."""

    class Closer(Recorder):
        async def on_message(self, client, data):
            await super().on_message(client, data)
            if data == "close me":
                client.close(4000, "enough")

    service = Closer()
    hub = run_service(service)
    client = hub.connect()
    hub.message(client, "first", "close me", "same batch")
    assert hub.get_close() == (client, 4000, "enough")
    hub.message(client, "next batch")
    hub.gone(client, 4000, "enough")
    hub.stop()
    assert service.calls.items[2:] == [
        ("message", client, "first"),
        ("message", client, "close me"),
        ("close", client, 4000, "enough"),
        "stop",
    ]


def test_no_message_after_close_of_one_who_has_gone(run_service):
    """The same if the client has gone meanwhile, and its last messages only waited for their turn."""

    class Closer(Recorder):
        async def on_message(self, client, data):
            await super().on_message(client, data)
            client.close()

    service = Closer()
    hub = run_service(service)
    client = hub.connect()
    hub.post((DATA, client, "first"), (DATA, client, "late"), (CLOSE, client, (1000, "")))
    hub.stop()
    assert service.calls.items[2:] == [("message", client, "first"), ("close", client, 1000, ""), "stop"]


def test_on_stop_after_all_hooks(run_service, gate):
    """on_stop is not called before every hook that is under way, and every one that waits, has ended."""

    class Slow(Recorder):
        async def on_message(self, client, data):
            await gate.wait()
            await super().on_message(client, data)

    service = Slow()
    hub = run_service(service)
    clients = [hub.connect(), hub.connect()]
    for client in clients:
        hub.message(client, "a", "b")
        hub.gone(client)
    hub.hang_up()
    gate.entered.get_many(2)
    assert "stop" not in service.calls.items
    gate.open()
    assert hub.stop() is None
    assert service.calls.items[-1] == "stop"
    assert [call[0] for call in service.calls.items if call not in ("start", "stop")].count("message") == 4
    assert [call[0] for call in service.calls.items if call not in ("start", "stop")].count("close") == 2


def test_clients_that_are_left_at_the_end(run_service):
    """A client that is still open when the pipe closes gets its on_close too: exactly one for each on_open."""
    service = Recorder()
    hub = run_service(service)
    first, second = hub.connect(), hub.connect()
    hub.gone(first)
    assert hub.stop() is None
    assert [call[1] for call in service.calls.items if call[0] == "close"] == [first, second]
    assert service.calls.items.count("stop") == 1


def test_last_words_of_on_stop(run_service):
    """What on_stop sends still crosses, also what it sends after an await."""

    class Polite(AsyncService):
        async def on_stop(self):
            for client in self.clients.values():
                client.send("good")
                await asyncio.sleep(0.001)
                client.send("bye")

    hub = run_service(Polite())
    client = hub.connect()
    assert hub.stop() is None
    assert [payload for _, its, payload in hub.transactions.rest() if its == client] == [b"good", b"bye"]


def test_clients_holds_those_who_are_connected(run_service):
    """`clients` has a client by its id from on_open on, and not any more in its on_close."""
    seen = Inbox()

    class Watcher(AsyncService):
        async def on_open(self, client):
            seen.put(("open", client.id, self.clients[client.id] is client))

        async def on_close(self, client, code, reason):
            seen.put(("close", sorted(self.clients), client.is_open))

    hub = run_service(Watcher())
    first, second = hub.connect(), hub.connect()
    assert seen.get_many(2) == [("open", first, True), ("open", second, True)]
    hub.gone(first)
    assert seen.get() == ("close", [second], False)


@pytest.mark.parametrize("exclude", [lambda client: [client], lambda client: [client.id]], ids=["client", "id"])
def test_broadcast_crosses_once(run_service, exclude):
    """One transaction for all the others."""

    class Broadcaster(AsyncService):
        async def on_message(self, client, data):
            client.send(str(self.broadcast(data, exclude=exclude(client))))

    hub = run_service(Broadcaster())
    clients = [hub.connect() for _ in range(5)]
    hub.message(clients[2], "all")
    kind, socket_id, payload = hub.get()
    assert (kind, socket_id) == (MULTICAST, 0)
    assert decode_multicast(payload) == ((1, 2, 4, 5), b"all")
    assert hub.get_text() == (clients[2], "4")


# What goes wrong.


@pytest.mark.parametrize("hook", ["on_open", "on_message"])
@pytest.mark.parametrize("is_late", [False, True], ids=["at once", "after an await"])
def test_hook_that_raises_closes_its_client(run_service, capsys, hook, is_late):
    """Traceback on stderr, that client closed with 1011 and told no more; the others live on, on_close still comes."""
    calls = Inbox()

    class Fragile(AsyncService):
        async def fail_if(self, name, client):
            if client.id == 1:
                calls.put(name)
                if name == hook:
                    if is_late:
                        await asyncio.sleep(0)
                    raise LookupError(f"{hook} is broken")

        async def on_open(self, client):
            await self.fail_if("on_open", client)

        async def on_message(self, client, data):
            await self.fail_if("on_message", client)
            client.send(data)

        async def on_close(self, client, code, reason):
            await self.fail_if("on_close", client)

    hub = run_service(Fragile())
    client, other = hub.connect(), hub.connect()
    hub.message(client, "a", "b")
    assert hub.get_close()[:2] == (client, 1011)
    hub.gone(client, 1011, "")
    hub.message(other, "still here")
    assert hub.get_text() == (other, "still here")
    assert hub.stop() is None
    errors = capsys.readouterr().err
    assert "Traceback" in errors
    assert errors.count(f"LookupError: {hook} is broken") == 1
    assert calls.items == [*(["on_open"] if hook == "on_message" else []), hook, "on_close"]


@pytest.mark.parametrize("hook", ["on_close", "on_stop"])
def test_last_hooks_that_raise(run_service, capsys, hook):
    """An exception in on_close or on_stop is a traceback on stderr and nothing else."""

    class Fragile(Echo):
        async def on_close(self, client, code, reason):
            if hook == "on_close":
                raise LookupError("broken")

        async def on_stop(self):
            if hook == "on_stop":
                raise LookupError("broken")

    hub = run_service(Fragile())
    client, other = hub.connect(), hub.connect()
    hub.gone(client)
    hub.message(other, "still here")
    assert hub.get_text() == (other, "still here")
    hub.gone(other)
    assert hub.stop() is None
    assert capsys.readouterr().err.count("LookupError: broken") == (2 if hook == "on_close" else 1)


@pytest.mark.parametrize("data", [None, 7, "\ud800", bytes(MAX_MESSAGE + 1)], ids=["None", "int", "surrogate", "large"])
def test_what_cannot_be_sent(run_service, capsys, data):
    """A message that cannot be sent fails its hook, and the client is closed with 1011."""

    class Sender(AsyncService):
        async def on_open(self, client):
            client.send(data)

    hub = run_service(Sender())
    client = hub.connect()
    assert hub.get_close()[:2] == (client, 1011)
    hub.stop()
    assert "Error: " in capsys.readouterr().err


def test_cancelled_error_in_a_hook(run_service, capsys):
    """A CancelledError that comes out of a hook, of a task that it awaited, is an error like any other."""
    calls = Inbox()

    class Awaiting(AsyncService):
        async def on_message(self, client, data):
            task = asyncio.create_task(asyncio.sleep(1000))
            task.cancel()
            await task

        async def on_close(self, client, code, reason):
            calls.put("close")

    hub = run_service(Awaiting())
    client = hub.connect()
    hub.message(client, "x")
    hub.gone(client)
    hub.stop()
    assert calls.items == ["close"]
    assert "CancelledError" in capsys.readouterr().err


def test_cancelled_error_does_not_stop_the_pipe(run_service):
    """Hooks that end with a CancelledError are over: they do not count as waiting for ever."""
    calls = Inbox()

    class Awaiting(Echo):
        async def on_close(self, client, code, reason):
            calls.put(client.id)
            task = asyncio.create_task(asyncio.sleep(1000))
            task.cancel()
            await task

    hub = run_service(Awaiting())
    clients = range(1, HIGH_MARK + 10)
    for client in clients:
        hub.post((NEWSOCKET, client, opening()), (CLOSE, client, (1000, "")))
    calls.wait(lambda: len(calls.items) == len(clients), timeout=3)
    last = len(clients) + 1
    hub.post((NEWSOCKET, last, opening()), (DATA, last, "still here"))
    assert hub.get_text() == (last, "still here")


# Back-pressure.


class Turnstile(AsyncService):
    """Each message waits until it is let through; on_open does not."""

    def __init__(self):
        self.calls = Inbox()

    async def on_start(self):
        self.loop = asyncio.get_running_loop()
        self.tickets = asyncio.Semaphore(0)

    async def on_open(self, client):
        self.calls.put(("open", client.id))

    async def on_message(self, client, data):
        self.calls.put(("message", client.id))
        await self.tickets.acquire()
        client.send(data)

    def let_through(self, count):
        """To be called by the test."""
        self.in_loop(lambda: [self.tickets.release() for _ in range(count)])

    def in_loop(self, call):
        """Call something in the loop's thread, and wait until it has been."""
        done = threading.Event()
        self.loop.call_soon_threadsafe(lambda: (call(), done.set()))
        assert done.wait(DEADLINE)

    def wait_some_turns(self):
        """Wait until the loop has looked at its descriptors a few times."""
        for _ in range(5):
            self.in_loop(lambda: None)


def test_reading_pauses_at_the_high_mark(run_service):
    """With more than 1,024 transactions waiting the pipe is not read; it is again once 512 wait. Nothing is lost."""
    assert (HIGH_MARK, LOW_MARK) == (1024, 512)
    service = Turnstile()
    hub = run_service(service)
    client = hub.connect()
    messages = [str(number) for number in range(1100)]
    hub.message(client, *messages)
    assert service.calls.get_many(2) == [("open", client), ("message", client)]
    other = hub.connect()
    service.wait_some_turns()
    waiting = bytes_in_pipe(hub.child_reads)
    assert waiting > 0
    service.let_through(1100 - 513)
    got = [hub.get_text()[1] for _ in range(1100 - 513)]
    service.wait_some_turns()
    assert bytes_in_pipe(hub.child_reads) == waiting
    service.let_through(1)
    service.calls.wait(lambda: ("open", other) in service.calls.items)
    service.let_through(512)
    got += [hub.get_text()[1] for _ in range(513)]
    assert got == messages


def test_reading_goes_on_at_the_mark_itself(run_service):
    """1,024 transactions may wait: the pipe is read on, and other clients are served."""
    service = Turnstile()
    hub = run_service(service)
    client = hub.connect()
    service.calls.get()
    hub.message(client, *["x"] * 1024)
    assert service.calls.get() == ("message", client)
    other = hub.connect()
    service.calls.wait(lambda: ("open", other) in service.calls.items)
    service.let_through(1024)
    assert [hub.get_text() for _ in range(1024)] == [(client, "x")] * 1024


def test_reading_pauses_again_and_again(run_service):
    """A flood far above the mark comes through whole and in order, and the end is noticed after it."""
    hub = run_service(Echo())
    clients = [hub.connect() for _ in range(3)]
    count = 3000
    for start in range(0, count, 1500):
        hub.post(*((DATA, client, str(number)) for number in range(start, start + 1500) for client in clients))
    hub.hang_up()
    got = hub.get_many(3 * count)
    for client in clients:
        assert [payload.decode() for _, its, payload in got if its == client] == list(map(str, range(count)))
    assert hub.stop() is None


def test_end_while_paused(run_service):
    """A hub that hangs up while the pipe is not read is noticed once it is, and what was in the pipe is handled."""
    service = Turnstile()
    hub = run_service(service)
    client = hub.connect()
    hub.message(client, *["x"] * 1100)
    service.calls.get_many(2)
    hub.message(client, "last")
    hub.hang_up()
    service.let_through(1101)
    assert [payload for _, _, payload in hub.get_many(1101)] == [b"x"] * 1100 + [b"last"]
    assert hub.stop() is None


# Timers.


def test_call_later(run_service, capsys):
    """A function or a coroutine function is called once, with its arguments, and what it sends goes out."""

    class Later(AsyncService):
        async def on_open(self, client):
            self.call_later(0.001, client.send, "function")
            self.call_later(0.02, self.later, client, "coroutine")

        async def later(self, client, text):
            await asyncio.sleep(0)
            client.send(text)

    hub = run_service(Later())
    client = hub.connect()
    assert [hub.get_text() for _ in range(2)] == [(client, "function"), (client, "coroutine")]
    hub.stop()
    assert hub.transactions.rest() == []
    assert capsys.readouterr().err == ""


def test_call_later_is_not_early(run_service):
    """A call is not made before its time."""
    times = Inbox()

    class Later(AsyncService):
        async def on_start(self):
            loop = asyncio.get_running_loop()
            begun = loop.time()
            self.call_later(0.03, lambda: times.put(loop.time() - begun))

    run_service(Later())
    assert 0.029 <= times.get() < 5


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_call_every(run_service, capsys, kind):
    """A function or a coroutine function is called again and again until its task is cancelled."""
    calls = Inbox()

    class Ticker(AsyncService):
        async def on_start(self):
            self.timer = self.call_every(0.002, self.tick if kind == "function" else self.tick_slowly, "arg")

        def tick(self, argument):
            calls.put(argument)
            if len(calls.items) == 5:
                self.timer.cancel()
                self.call_later(0.02, calls.put, "later")

        async def tick_slowly(self, argument):
            await asyncio.sleep(0)
            self.tick(argument)

    run_service(Ticker())
    assert calls.get_many(6) == ["arg"] * 5 + ["later"]
    assert capsys.readouterr().err == ""


def test_call_every_does_not_overlap(run_service):
    """A repeated coroutine that takes longer than its time is not begun again before it has ended."""
    calls = Inbox()

    class Slow(AsyncService):
        async def on_start(self):
            self.call_every(0.001, self.work)

        async def work(self):
            calls.put("begin")
            await asyncio.sleep(0.005)
            calls.put("end")

    run_service(Slow())
    assert calls.get_many(8) == ["begin", "end"] * 4


@pytest.mark.parametrize("seconds", [0, -1])
def test_call_every_needs_time(run_service, capsys, seconds):
    """Repeating without a pause is a ValueError that says so."""

    class Wrong(AsyncService):
        async def on_start(self):
            self.call_every(seconds, print)

    error = run_service(Wrong(), is_ready=False).stop()
    assert isinstance(error, ValueError)
    assert "more than 0" in str(error)


def test_cancel_call_later(run_service):
    """A cancelled call is not made; cancelling it twice does nothing."""
    calls = Inbox()

    class Canceller(AsyncService):
        async def on_start(self):
            timer = self.call_later(0.001, calls.put, "cancelled")
            timer.cancel()
            timer.cancel()
            self.call_later(0.02, calls.put, "after all")

    run_service(Canceller())
    assert calls.get() == "after all"


@pytest.mark.parametrize("kind", ["function", "coroutine"])
def test_repeated_call_goes_on_after_it_raised(run_service, capsys, kind):
    """A call that raises is a traceback on stderr; it is made again, and the service lives on."""
    calls = Inbox()

    class Broken(Echo):
        async def on_start(self):
            self.call_every(0.001, self.fail if kind == "function" else self.fail_slowly)

        def fail(self):
            calls.put(1)
            raise LookupError("again")

        async def fail_slowly(self):
            await asyncio.sleep(0)
            self.fail()

    hub = run_service(Broken())
    calls.get_many(3)
    client = hub.connect()
    hub.message(client, "still here")
    assert hub.get_text() == (client, "still here")
    assert hub.stop() is None
    assert capsys.readouterr().err.count("LookupError: again") >= 3


def test_timers_end_before_on_stop(run_service):
    """Once on_stop is called no timer fires any more, however long it awaits."""
    calls = Inbox()

    class Timed(AsyncService):
        async def on_start(self):
            self.call_every(0.001, calls.put, "tick")
            self.call_later(0.01, calls.put, "later")

        async def on_stop(self):
            calls.put("stop")
            await asyncio.sleep(0.02)

    hub = run_service(Timed())
    hub.stop()
    assert calls.items[-1] == "stop"


def test_asyncio_is_all_there(run_service):
    """Tasks, queues and threads of asyncio's own work in a hook."""

    class Working(AsyncService):
        async def on_message(self, client, data):
            client.send(await asyncio.to_thread(str.upper, data))
            async with asyncio.timeout(DEADLINE):
                client.send("".join(await asyncio.gather(*(self.slow(c) for c in data))))

        async def slow(self, char):
            await asyncio.sleep(0)
            return char + "."

    hub = run_service(Working())
    client = hub.connect()
    hub.message(client, "abc")
    assert [hub.get_text()[1] for _ in range(2)] == ["ABC", "a.b.c."]


# Clients that are slow.


def test_on_drain(run_service, gate):
    """It is called in its client's turn, if the client is not slow again by then, and not once it is closed."""

    class Drains(Recorder):
        async def on_message(self, client, data):
            self.calls.put((data, client.is_slow, client.send("y").name))
            await gate.wait()
            if data == "close":
                client.close()

        async def on_drain(self, client):
            self.calls.put(("drain", client.id, client.is_slow))

    service = Drains()
    hub = run_service(service)
    client, closed = hub.connect(), hub.connect()
    hub.post((SLOW, client, b"\1"), (SLOW, closed, b"\1"))
    hub.post((DATA, client, "slow"), (DATA, closed, "close"))
    assert gate.entered.get_many(2) == [None, None]
    hub.post((SLOW, client, b"\0"), (SLOW, client, b"\1"), (SLOW, client, b"\0"), (SLOW, client, b"\1"))
    hub.post((SLOW, closed, b"\0"), (DATA, client, "again"))
    gate.open()
    assert gate.entered.get() is None
    assert not any(call[0] == "drain" for call in service.calls.items)
    hub.post((SLOW, client, b"\0"))
    hub.stop()
    calls = [call for call in service.calls.items if call[0] in ("slow", "again", "drain")]
    assert calls == [("slow", True, "WAITING"), ("again", True, "WAITING"), ("drain", client, False)]


def test_what_cannot_be_read(run_service):
    """A stream that is no stream any more ends the service: what else is lost with it, nobody could know."""
    service = run_service(Echo())
    service.write(b"\xff" * 8)
    service.thread.join(DEADLINE)
    assert isinstance(service.stop(), WireError)
