"""`wshub.Service`: hooks that are plain methods, each service in a thread with real pipes."""

import math
import sys
import threading
import time

import pytest

import wshub
from wshub.service.handlers import Service
from wshub.wire import BINARY, CLOSE, DATA, MAX_MESSAGE, MULTICAST, MULTICAST_BINARY, NEWSOCKET, SLOW
from wshub.wire.payloads import decode_multicast

from .conftest import DEADLINE, Inbox, opening, start_thread


class Recorder(Service):
    """Remembers which hooks were called, and with what."""

    def __init__(self):
        self.calls = Inbox()

    def on_start(self):
        self.calls.put("start")

    def on_open(self, client):
        self.calls.put(("open", client.id))

    def on_message(self, client, data):
        self.calls.put(("message", client.id, data))

    def on_close(self, client, code, reason):
        self.calls.put(("close", client.id, code, reason))

    def on_stop(self):
        self.calls.put("stop")


class Echo(Service):
    """Sends every message back."""

    def on_message(self, client, data):
        client.send(data)


def test_public_name():
    """`wshub.Service` is this class."""
    assert wshub.Service is Service


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


def test_on_start_before_ready(run_service):
    """READY is not said before on_start has returned: no client can come earlier."""
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Service):
        def on_start(self):
            entered.set()
            assert go_on.wait(DEADLINE)

    hub = run_service(Slow(), is_ready=False)
    assert entered.wait(DEADLINE)
    assert hub.transactions.items == []
    go_on.set()
    assert hub.get_ready() == {}


def test_on_start_raises(run_service):
    """What on_start raises ends the service before it is ready."""

    class Broken(Service):
        def on_start(self):
            raise KeyError("no database")

    hub = run_service(Broken(), is_ready=False)
    assert isinstance(hub.stop(), KeyError)
    assert hub.transactions.rest() == []


def test_on_close_once_for_each_on_open(run_service):
    """Every client that opened is closed once, whoever began it and in whatever batches it comes."""
    service = Recorder()
    hub = run_service(service)
    first = hub.connect()
    second = hub.connect()
    hub.gone(first, 1005, "")
    hub.post((NEWSOCKET, 3, opening()), (DATA, 3, "x"), (CLOSE, 3, (1006, "lost")), (CLOSE, second, (1001, "bye")))
    hub.stop()
    assert [call for call in service.calls.items if call[0] == "close"] == [
        ("close", first, 1005, ""),
        ("close", 3, 1006, "lost"),
        ("close", second, 1001, "bye"),
    ]


def test_clients_holds_those_who_are_connected(run_service):
    """`clients` has a client by its id from on_open on, and not any more in its on_close."""
    seen = Inbox()

    class Watcher(Service):
        def on_open(self, client):
            seen.put(("open", sorted(self.clients), self.clients[client.id] is client))

        def on_close(self, client, code, reason):
            seen.put(("close", sorted(self.clients), client.is_open, client.send("too late")))

    hub = run_service(Watcher())
    first, second = hub.connect(), hub.connect()
    hub.gone(first)
    assert seen.get_many(3) == [
        ("open", [first], True),
        ("open", [first, second], True),
        ("close", [second], False, False),
    ]
    hub.stop()
    assert hub.transactions.rest() == []


def test_state_stays_with_the_client(run_service):
    """What a hook remembers about a client is there in the next one."""

    class Counter(Service):
        def on_open(self, client):
            client.state.count = 0

        def on_message(self, client, data):
            client.state.count += 1
            client.send(str(client.state.count))

    hub = run_service(Counter())
    first, second = hub.connect(), hub.connect()
    hub.message(first, "a", "b")
    hub.message(second, "c")
    assert [hub.get_text() for _ in range(3)] == [(first, "1"), (first, "2"), (second, "1")]


def test_a_service_without_hooks(run_service):
    """Every hook may be missing."""
    hub = run_service(Service())
    client = hub.connect()
    hub.message(client, "x")
    hub.gone(client)
    assert hub.stop() is None
    assert hub.transactions.rest() == []


def test_init_that_forgets_super(run_service):
    """An `__init__` without `super()` breaks neither clients nor broadcast nor timers."""

    class Forgetful(Service):
        def __init__(self):
            self.greeting = "hello"
            self.call_later(0, lambda: self.broadcast("from a timer"))

        def on_open(self, client):
            client.send(self.greeting)
            self.call_later(0, self.broadcast, str(sorted(self.clients)))

    hub = run_service(Forgetful())
    client = hub.connect()
    assert hub.get_text() == (client, "hello")
    hub.connect()
    kinds = [hub.get()[0] for _ in range(3)]
    assert sorted(kinds) == [DATA, MULTICAST, MULTICAST]


def test_init_with_arguments_of_its_own(run_service):
    """A test may make a service with whatever arguments its own `__init__` takes."""

    class Configured(Service):
        def __init__(self, greeting, *, mark="."):
            self.greeting = greeting + mark

        def on_open(self, client):
            client.send(self.greeting)

    hub = run_service(Configured("hi", mark="!"))
    client = hub.connect()
    assert hub.get_text() == (client, "hi!")


# Messages.


@pytest.mark.parametrize("message", ["", "grüß €", "\0", b"", b"\xff\x00", "x" * 200_000, bytes(200_000)])
def test_echo(run_service, message):
    """A text comes back as text, bytes as bytes, of any size."""
    hub = run_service(Echo())
    client = hub.connect()
    hub.message(client, message)
    payload = message.encode() if isinstance(message, str) else message
    assert hub.get() == (DATA if isinstance(message, str) else BINARY, client, payload)


def test_order_of_many_messages(run_service):
    """Thousands of messages of several clients come back in order."""
    hub = run_service(Echo())
    clients = [hub.connect() for _ in range(4)]
    count = 1500
    for start in range(0, count, 500):
        hub.post(*((DATA, client, str(number)) for number in range(start, start + 500) for client in clients))
    got = hub.get_many(4 * count)
    for client in clients:
        assert [payload.decode() for _, its, payload in got if its == client] == list(map(str, range(count)))


def test_answers_of_one_batch_cross_together(run_service):
    """What is sent while a batch is dealt with is one batch too, not one for each message."""
    hub = run_service(Echo())
    client = hub.connect()
    before = len(hub.batches)
    hub.message(client, *(str(number) for number in range(200)))
    hub.get_many(200)
    assert len(hub.batches) - before == 1


@pytest.mark.parametrize("data", [bytearray(b"data"), memoryview(b"data"), memoryview(b"d-a-t-a")[::2]])
def test_everything_made_of_bytes_is_binary(run_service, data):
    """bytearray and memoryview are sent as bytes are, also by broadcast."""

    class Sender(Service):
        def on_open(self, client):
            client.send(data)
            self.broadcast(data)

    hub = run_service(Sender())
    client = hub.connect()
    assert hub.get() == (BINARY, client, b"data")
    kind, _, payload = hub.get()
    assert (kind, decode_multicast(payload)) == (MULTICAST_BINARY, ((client,), b"data"))


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (None, "TypeError"),
        (7, "TypeError"),
        (["list"], "TypeError"),
        ("\ud800", "UnicodeEncodeError"),
        (bytes(MAX_MESSAGE + 1), "ValueError"),
    ],
    ids=["None", "int", "list", "surrogate", "too large"],
)
@pytest.mark.parametrize("how", ["send", "broadcast"])
def test_what_cannot_be_sent(run_service, capsys, how, data, error):
    """A message that cannot be sent fails its hook: traceback, 1011 for the client, and the others are served."""

    class Sender(Service):
        def on_message(self, client, text):
            if text == "ok":
                client.send("fine")
            elif how == "send":
                client.send(data)
            else:
                self.broadcast(data)

    hub = run_service(Sender())
    client, other = hub.connect(), hub.connect()
    hub.message(client, "wrong")
    hub.message(other, "ok")
    assert hub.get_close()[:2] == (client, 1011)
    assert hub.get_text() == (other, "fine")
    assert error in capsys.readouterr().err


# Closing.


@pytest.mark.parametrize(
    ("arguments", "expected"), [((), (1000, "")), ((3000,), (3000, "")), ((4999, "grüß"), (4999, "grüß"))]
)
def test_close(run_service, arguments, expected):
    """A service can close a client with a code and a reason; what it has sent before goes first."""

    class Closer(Service):
        def on_open(self, client):
            client.send("bye")
            client.close(*arguments)

    hub = run_service(Closer())
    client = hub.connect()
    assert hub.get_text() == (client, "bye")
    assert hub.get_close() == (client, *expected)


def test_no_message_after_close(run_service):
    """Once the service has closed a client no message of it arrives, of this batch or a later one; on_close does."""

    class Closer(Recorder):
        def on_message(self, client, data):
            super().on_message(client, data)
            if data == "close me":
                client.close(4000)

    service = Closer()
    hub = run_service(service)
    client = hub.connect()
    hub.message(client, "first", "close me", "same batch")
    hub.message(client, "next batch")
    hub.gone(client, 4000, "")
    hub.stop()
    assert service.calls.items[2:] == [
        ("message", client, "first"),
        ("message", client, "close me"),
        ("close", client, 4000, ""),
        "stop",
    ]


def test_close_is_said_once(run_service):
    """A second close, and messages after the first, do not cross; a wrong code fails even then."""
    seen = Inbox()

    class Closer(Service):
        def on_open(self, client):
            client.close(4000, "first")
            client.close(4001, "second")
            seen.put(client.send("late"), client.is_open, client.is_closing)
            with pytest.raises(ValueError, match="1006"):
                client.close(1006)
            seen.put("done")

    hub = run_service(Closer())
    client = hub.connect()
    assert seen.get_many(4) == [False, False, True, "done"]
    assert hub.get_close() == (client, 4000, "first")
    hub.stop()
    assert hub.transactions.rest() == []


def test_closed_client_gets_no_broadcast(run_service):
    """A client that the service has closed is still among `clients` until on_close, but nothing is sent to it."""

    class Closer(Service):
        def on_message(self, client, data):
            client.close()
            client_count = len(self.clients)
            assert self.broadcast("to the others") == client_count - 1

    hub = run_service(Closer())
    first, second = hub.connect(), hub.connect()
    hub.message(first, "x")
    assert hub.get_close() == (first, 1000, "")
    assert decode_multicast(hub.get()[2]) == ((second,), b"to the others")


# Broadcast.


class Broadcaster(Service):
    """Broadcasts what it gets, to all but those in `exclude`."""

    def __init__(self, exclude):
        self.exclude = exclude
        self.counts = Inbox()

    def on_message(self, client, data):
        self.counts.put(self.broadcast(data, exclude=self.exclude(self, client)))


@pytest.mark.parametrize(
    ("exclude", "expected"),
    [
        (lambda service, client: (), [1, 2, 3, 4]),
        (lambda service, client: [client], [1, 3, 4]),
        (lambda service, client: [client.id], [1, 3, 4]),
        (lambda service, client: {client, 3}, [1, 4]),
        (lambda service, client: (each for each in (1, client)), [3, 4]),
        (lambda service, client: {1: "by id", 4: "too"}, [2, 3]),
        (lambda service, client: [99, 2, 2], [1, 3, 4]),
    ],
    ids=["nobody", "client", "id", "both", "generator", "dict", "unknown and twice"],
)
def test_broadcast_but_not_to(run_service, exclude, expected):
    """A broadcast crosses once, for all clients but the excluded ones, who are given as clients or ids."""
    service = Broadcaster(exclude)
    hub = run_service(service)
    clients = [hub.connect() for _ in range(4)]
    hub.message(clients[1], "all")
    kind, socket_id, payload = hub.get()
    assert (kind, socket_id) == (MULTICAST, 0)
    socket_ids, message = decode_multicast(payload)
    assert sorted(socket_ids) == expected
    assert message == b"all"
    assert service.counts.get() == len(expected)
    hub.stop()
    assert hub.transactions.rest() == []


def test_broadcast_to_nobody(run_service):
    """With everybody excluded nothing crosses, and the count is 0."""
    service = Broadcaster(lambda service, client: service.clients)
    hub = run_service(service)
    hub.message(hub.connect(), "all")
    assert service.counts.get() == 0
    hub.stop()
    assert hub.transactions.rest() == []


def test_broadcast_and_send_keep_their_order(run_service):
    """What is sent to one and to all arrives in the order in which it was sent."""

    class Sender(Service):
        def on_open(self, client):
            client.send("1")
            self.broadcast(b"2")
            client.send("3")

    hub = run_service(Sender())
    hub.connect()
    assert [kind for kind, _, _ in hub.get_many(3)] == [DATA, MULTICAST_BINARY, DATA]


# What goes wrong in a hook.


class Fragile(Service):
    """Its hooks raise when they are told to."""

    def __init__(self, broken):
        self.broken = broken
        self.calls = Inbox()

    def fail_if(self, hook, client=None):
        self.calls.put((hook, client and client.id))
        if hook == self.broken:
            raise LookupError(f"{hook} is broken")

    def on_open(self, client):
        if client.id == 1:
            self.fail_if("on_open", client)

    def on_message(self, client, data):
        if client.id == 1:
            self.fail_if("on_message", client)
        client.send(data)

    def on_close(self, client, code, reason):
        self.fail_if("on_close", client)

    def on_stop(self):
        self.fail_if("on_stop")


@pytest.mark.parametrize("hook", ["on_open", "on_message"])
def test_hook_that_raises_closes_its_client(run_service, capsys, hook):
    """Traceback on stderr, that client closed with 1011 and told no more; the others live on, on_close still comes."""
    service = Fragile(hook)
    hub = run_service(service)
    client, other = hub.connect(), hub.connect()
    hub.message(client, "a", "b")
    hub.message(other, "still here")
    closed, code, reason = hub.get_close()
    assert (closed, code) == (client, 1011)
    assert reason
    assert hub.get_text() == (other, "still here")
    errors = capsys.readouterr().err
    assert f"LookupError: {hook} is broken" in errors
    assert "Traceback" in errors
    assert errors.count("LookupError:") == 1
    hub.gone(client, 1011, "")
    assert hub.stop() is None
    assert service.calls.items.count((hook, client)) == 1
    assert service.calls.items.count(("on_close", client)) == 1


def test_on_close_that_raises(run_service, capsys):
    """Traceback on stderr; there is nobody to close, and the others live on."""
    hub = run_service(Fragile("on_close"))
    client, other = hub.connect(), hub.connect()
    hub.gone(client)
    hub.message(other, "still here")
    assert hub.get_text() == (other, "still here")
    assert "LookupError: on_close is broken" in capsys.readouterr().err


def test_on_stop_that_raises(run_service, capsys):
    """Traceback on stderr, and the service finishes as if nothing had been."""
    hub = run_service(Fragile("on_stop"))
    assert hub.stop() is None
    assert "LookupError: on_stop is broken" in capsys.readouterr().err


@pytest.mark.parametrize("how", ["call_later", "call_every", "call_from_thread"])
def test_call_that_raises(run_service, capsys, how):
    """A call that raises closes nobody: traceback on stderr, and the service lives on."""
    calls = Inbox()

    class Broken(Echo):
        def fail(self):
            calls.put("failed")
            raise LookupError("the call is broken")

        def on_start(self):
            if how == "call_from_thread":
                self.call_from_thread(self.fail)
            else:
                getattr(self, how)(0.001, self.fail)

    hub = run_service(Broken())
    client = hub.connect()
    assert calls.get() == "failed"
    hub.message(client, "still here")
    assert hub.get_text() == (client, "still here")
    assert hub.stop() is None
    assert hub.transactions.rest() == []
    assert "LookupError: the call is broken" in capsys.readouterr().err


def test_repeated_call_goes_on_after_it_raised(run_service, capsys):
    """call_every is not cancelled by an exception."""
    calls = Inbox()

    class Broken(Service):
        def on_start(self):
            self.call_every(0.001, self.fail)

        def fail(self):
            calls.put(1)
            raise LookupError("again")

    hub = run_service(Broken())
    calls.get_many(3)
    assert hub.stop() is None
    assert capsys.readouterr().err.count("LookupError: again") >= 3


# Timers and threads.


def test_call_later(run_service):
    """A call is made once, not before its time, with its arguments, while the service waits for the hub."""
    calls = Inbox()

    class Later(Service):
        def on_open(self, client):
            self.begun = time.monotonic()
            self.call_later(0.03, self.later, client, "argument")

        def later(self, client, argument):
            calls.put(time.monotonic() - self.begun)
            client.send(argument)

    hub = run_service(Later())
    client = hub.connect()
    assert hub.get_text() == (client, "argument")
    assert 0.03 <= calls.get() < 5
    hub.stop()
    assert len(calls.items) == 1
    assert hub.transactions.rest() == []


def test_calls_in_the_order_of_their_times(run_service):
    """Timers fire by time, those of one time by when they were made."""
    calls = Inbox()

    class Several(Service):
        def on_start(self):
            for seconds, name in [(0.03, "c"), (0.01, "a"), (0.02, "b"), (0.03, "d"), (0, "now"), (-1, "past")]:
                self.call_later(seconds, calls.put, name)

    run_service(Several())
    assert calls.get_many(6) == ["past", "now", "a", "b", "c", "d"]


def test_call_every(run_service):
    """A repeated call comes again and again, also while clients keep the service busy, until it is cancelled."""
    calls = Inbox()

    class Ticker(Service):
        def on_start(self):
            self.timer = self.call_every(0.002, self.tick)

        def tick(self):
            calls.put("tick")
            if len(calls.items) == 5:
                self.timer.cancel()
                self.call_later(0.02, calls.put, "later")

    run_service(Ticker())
    assert calls.get_many(6) == ["tick"] * 5 + ["later"]


@pytest.mark.parametrize("seconds", [0, -1, 0.0])
def test_call_every_needs_time(seconds):
    """Repeating without a pause is a ValueError that says so."""
    with pytest.raises(ValueError, match="more than 0"):
        Service().call_every(seconds, print)


def test_cancel_by_another_of_the_same_turn(run_service, capsys):
    """A call that is due may still be taken back by one that is due before it; that is no error."""
    calls = Inbox()

    class Canceller(Service):
        def on_start(self):
            self.call_later(0, self.cancel)
            self.victim = self.call_later(0, calls.put, "cancelled")
            self.call_later(0.005, calls.put, "after all")

        def cancel(self):
            self.victim.cancel()

    run_service(Canceller())
    assert calls.get() == "after all"
    assert capsys.readouterr().err == ""


def test_cancel(run_service):
    """A cancelled call is not made, whoever cancels it and when, as often as one likes."""
    calls = Inbox()

    class Canceller(Service):
        def on_start(self):
            victim = self.call_later(0.01, calls.put, "cancelled at once")
            victim.cancel()
            victim.cancel()
            other = self.call_later(0.02, calls.put, "cancelled by another")
            self.call_later(0.01, other.cancel)
            self.call_later(0.03, calls.put, "after all")

    run_service(Canceller())
    assert calls.get() == "after all"


@pytest.mark.parametrize("seconds", [30 * 86400, 1e10, math.inf])
def test_call_in_the_far_future(run_service, seconds):
    """A call that is due in a month, or never, keeps the service from nothing."""

    class Patient(Echo):
        def on_start(self):
            self.call_later(seconds, print, "at last")

    hub = run_service(Patient())
    client = hub.connect()
    hub.message(client, "still here")
    assert hub.get_text() == (client, "still here")
    assert hub.stop() is None


def test_timers_go_on_while_messages_come(run_service):
    """A flood of messages does not keep a timer from its turn."""
    fired = threading.Event()

    class Busy(Echo):
        def on_open(self, client):
            self.call_later(0.005, fired.set)

    hub = run_service(Busy())
    client = hub.connect()
    deadline = time.monotonic() + DEADLINE
    while not fired.is_set():
        hub.message(client, *["x"] * 50)
        assert time.monotonic() < deadline
    assert hub.stop() is None


def test_call_from_thread_while_the_loop_waits(run_service):
    """A call from another thread is made in the service's own, at once, and what it sends goes out."""

    class Threaded(Service):
        def on_open(self, client):
            self.thread_id = threading.get_ident()
            start_thread(self.work, client)

        def work(self, client):
            self.call_from_thread(self.done, client, "done")

        def done(self, client, text):
            client.send(f"{text} {threading.get_ident() == self.thread_id}")

    hub = run_service(Threaded())
    client = hub.connect()
    assert hub.get_text() == (client, "done True")


def test_call_from_thread_keeps_order(run_service):
    """Calls from one thread are made in the order in which it asked for them, none lost, whatever else goes on."""
    calls = Inbox()
    service = Echo()
    hub = run_service(service)
    client = hub.connect()

    def work(name):
        for number in range(500):
            service.call_from_thread(calls.put, (name, number))

    threads = [start_thread(work, name) for name in "abc"]
    for number in range(50):
        hub.message(client, str(number))
    got = calls.get_many(1500)
    for thread in threads:
        thread.join(DEADLINE)
    for name in "abc":
        assert [number for its, number in got if its == name] == list(range(500))
    assert [hub.get_text()[1] for _ in range(50)] == list(map(str, range(50)))


def test_call_from_thread_in_a_hook(run_service):
    """The method may be used in the service's own thread too: the call is made after the hook."""
    calls = Inbox()

    class Deferring(Service):
        def on_open(self, client):
            self.call_from_thread(calls.put, "called")
            calls.put("hook")

    hub = run_service(Deferring())
    hub.connect()
    assert calls.get_many(2) == ["hook", "called"]


def test_call_from_thread_that_calls_itself(run_service):
    """A call that asks for another each time does not keep the clients from being served."""

    class Eager(Echo):
        def on_start(self):
            self.is_over = threading.Event()
            self.again()

        def again(self):
            if not self.is_over.is_set():
                self.call_from_thread(self.again)

    service = Eager()
    hub = run_service(service)
    try:
        client = hub.connect()
        hub.message(client, "still here")
        assert hub.transactions.wait(lambda: (DATA, client, b"still here") in hub.transactions.items, timeout=1)
    finally:
        service.is_over.set()
    assert hub.stop() is None


def test_call_from_thread_of_a_thread_that_init_started(run_service):
    """A thread that begins in `__init__`, before the loop does, may already ask for calls."""
    calls, asked = Inbox(), Inbox()

    class Early(Service):
        def __init__(self):
            thread = start_thread(self.work)
            thread.join(DEADLINE)

        def work(self):
            try:
                self.call_from_thread(calls.put, "called")
            except Exception as error:
                asked.put(error)
            else:
                asked.put("asked")

    run_service(Early())
    assert asked.get() == "asked"
    assert calls.get() == "called"


# The end.


def test_end_of_input_ends_the_service(run_service):
    """When the hub closes the pipe everything that came before is dealt with, then on_stop, then the end."""
    service = Recorder()
    hub = run_service(service)
    client = hub.connect()
    hub.message(client, *map(str, range(300)))
    hub.gone(client)
    assert hub.stop() is None
    assert len(service.calls.items) == 1 + 1 + 300 + 1 + 1
    assert service.calls.items[-1] == "stop"


def test_last_words_of_on_stop(run_service):
    """What on_stop sends still crosses."""

    class Polite(Service):
        def on_stop(self):
            for client in self.clients.values():
                client.send("good bye")
            self.broadcast(b"all")

    hub = run_service(Polite())
    client = hub.connect()
    hub.stop()
    assert [kind for kind, _, _ in hub.transactions.rest()] == [DATA, MULTICAST_BINARY]
    assert client == 1


def test_no_timer_fires_after_on_stop(run_service):
    """Once the service has stopped nothing is called any more."""
    calls = Inbox()

    class Timed(Service):
        def on_start(self):
            self.call_later(0.02, calls.put, "timer")

        def on_stop(self):
            calls.put("stop")

    hub = run_service(Timed())
    hub.stop()
    assert "stop" in calls.items
    assert calls.items[-1] == "stop"


def test_clients_that_are_left_at_the_end(run_service):
    """A client that is still open when the pipe closes gets its on_close too: exactly one for each on_open."""
    service = Recorder()
    hub = run_service(service)
    first, second = hub.connect(), hub.connect()
    hub.gone(first)
    assert hub.stop() is None
    assert [call[1] for call in service.calls.items if call[0] == "close"] == [first, second]
    assert service.calls.items.count("stop") == 1


def test_exit_in_a_hook_ends_the_service(run_service):
    """`sys.exit()` is no exception of a hook: it ends the service, as its author wants."""

    class Leaving(Service):
        def on_message(self, client, data):
            sys.exit(3)

    hub = run_service(Leaving())
    hub.message(hub.connect(), "go")
    hub.transactions.rest()
    error = hub.stop()
    assert isinstance(error, SystemExit)
    assert error.code == 3


def test_broadcast_follows_who_is_there(run_service):
    """Each broadcast goes to those who are open at that moment, however often the same ones were meant before."""

    class Service(wshub.Service):
        def on_message(self, client, data):
            if data == "close me":
                client.close()
            self.broadcast(data)

    hub = run_service(Service())
    first, second = hub.connect(), hub.connect()

    def addressed(text):
        hub.message(first, text)
        while (transaction := hub.get())[0] != MULTICAST:
            pass
        return decode_multicast(transaction[2])[0]

    assert addressed("a") == addressed("b") == (first, second)
    third = hub.connect()
    assert addressed("c") == (first, second, third)
    hub.gone(second)
    assert addressed("d") == (first, third)
    assert addressed("close me") == (third,)


# Clients that are slow.


class Drains(Recorder):
    """Says who is slow, and what becomes of messages."""

    def on_message(self, client, data):
        reached = self.broadcast("x")
        self.calls.put((data, client.is_slow, client.send("y").name, int(reached), reached.waiting))
        if data == "close":
            client.close()

    def on_drain(self, client):
        self.calls.put(("drain", client.id, client.is_slow, client.send("z").name))


def test_slow_client(run_service):
    """From SLOW to SLOW what is sent waits, broadcasts say for how many; then comes on_drain, and all is as before."""
    service = Drains()
    hub = run_service(service)
    first, second = hub.connect(), hub.connect()
    hub.message(first, "before")
    hub.post((SLOW, first, b"\1"), (DATA, first, "slow"), (DATA, second, "other"), (SLOW, first, b"\0"))
    hub.message(first, "after")
    assert service.calls.get_many(8)[3:] == [
        ("before", False, "SENT", 2, 0),
        ("slow", True, "WAITING", 2, 1),
        ("other", False, "SENT", 2, 1),
        ("drain", first, False, "SENT"),
        ("after", False, "SENT", 2, 0),
    ]
    hub.stop()


def test_slow_client_that_goes(run_service):
    """A slow client that has gone, or that the service has closed, waits for nothing any more: no on_drain."""
    service = Drains()
    hub = run_service(service)
    gone, closed, other = hub.connect(), hub.connect(), hub.connect()
    hub.post((SLOW, gone, b"\1"), (SLOW, closed, b"\1"), (CLOSE, gone, (1006, "")))
    hub.post((DATA, closed, "close"), (SLOW, closed, b"\0"), (DATA, other, "now"))
    hub.stop()
    assert ("close", True, "WAITING", 2, 1) in service.calls.items
    assert ("now", False, "SENT", 1, 0) in service.calls.items
    assert not any(call[0] == "drain" for call in service.calls.items)


def test_on_drain_that_raises(run_service, capsys):
    """The traceback is printed, the client closed, and the service lives."""

    class Broken(Recorder):
        def on_drain(self, client):
            raise KeyError("oops")

    hub = run_service(Broken())
    client = hub.connect()
    hub.post((SLOW, client, b"\1"), (SLOW, client, b"\0"))
    hub.stop()
    assert (CLOSE, client) in [each[:2] for each in hub.transactions.rest()]
    assert "oops" in capsys.readouterr().err
