"""One service process as the hub sees it: its life, and the transactions that go to and fro."""

import os
import re
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wshub.processes.life
from wshub.errors import HubStopping, ServiceDied, ServiceFailed, WireError
from wshub.processes.delivery import CLOSED_MEANWHILE
from wshub.processes.life import Event, State
from wshub.processes.link import ServiceLink
from wshub.processes.pending import ENDED, LATE, LEFT, REFUSED, Accepted
from wshub.processes.socket import SERVICE_DIED
from wshub.service.channel import Channel
from wshub.service.client import Client
from wshub.sockets.frames import make_frame
from wshub.wire import (
    ACCEPT,
    BINARY,
    CLOSE,
    DATA,
    FAILED,
    MAX_TRACEBACK,
    MULTICAST,
    MULTICAST_BINARY,
    NEWSOCKET,
    READY,
    REFUSE,
    REQUEST,
    SLOW,
)
from wshub.wire.batches import BatchReader, encode_columns
from wshub.wire.payloads import decode_batch, encode_address, encode_close, encode_multicast, encode_ready

OPENING = ("127.0.0.1", 40000, "/echo", "", "host: localhost", None)


def in_one_piece(transactions):
    """The bytes of a batch, in one piece."""
    return b"".join(encode_columns(transactions))


class FakeSocket:
    """A client's connection that remembers what it was told."""

    wshub_direct = None

    def __init__(self):
        self.calls = []

    def wshub_send(self, frames):
        self.calls.append(list(frames))

    def wshub_close(self, code, reason):
        self.calls.append((code, reason))

    def wshub_pause(self):
        self.calls.append("pause")

    def wshub_resume(self):
        self.calls.append("resume")


class Changes(list):
    """Remembers every change of state, with whether to kill."""

    def __call__(self, link, event, kill):
        self.append((link.state, event, kill))


def make_link(state=State.STARTING, sockets=0):
    """A link in any state, the changes that it tells of from then on, and its sockets."""
    changes = Changes()
    link = ServiceLink(changes)
    if state is State.FAILED:
        link.happen(Event.FAILED)
    elif state is not State.STARTING:
        link.happen(Event.READY)
    clients = [FakeSocket() for _ in range(sockets)]
    for client in clients:
        link.open(client, OPENING)
    if state is State.STOPPING:
        link.happen(Event.STOP)
    elif state is State.DEAD:
        link.happen(Event.EXITED)
    assert link.state is state
    changes.clear()
    return link, changes, clients


def say(link, *transactions):
    """The service says something, in one batch."""
    link.receive(in_one_piece(list(transactions)))


def heard(link):
    """All that waits for the service, as the service decodes it."""
    stream = b"".join(piece for pieces in iter(link.take_batch, ()) for piece in pieces)
    return [each for body in BatchReader().feed(stream) for each in decode_batch(body)]


# Its life.


def cells():
    """The table in the module's docstring: where each event leads from each state, and whether it kills."""
    header, *rows = re.search(r"    event .*?\n\n", wshub.processes.life.__doc__, re.DOTALL)[0].rstrip().splitlines()
    table = {}
    for state in (State.STARTING, State.READY, State.STOPPING):
        start = header.index(state.name)
        for row in rows:
            goes_to, _, kill = row[start : start + 12].strip().partition(" ")
            target = State[goes_to] if goes_to else state
            table[state, Event[row.split()[0]]] = (target, bool(kill))
    return table


def test_the_table_names_every_event():
    """The documented table has a row for each event."""
    assert {event for _, event in cells()} == set(Event)


@pytest.mark.parametrize(("state", "event", "target", "kill"), [(*cell, *leads) for cell, leads in cells().items()])
def test_every_cell_of_the_table(state, event, target, kill):
    """An event leads where the table says, kills where it says, and is told of just if the state changes."""
    link, changes, _ = make_link(state)
    link.happen(event)
    assert link.state is target
    assert changes == ([] if target is state else [(target, event, kill)])


@pytest.mark.parametrize("state", [State.FAILED, State.DEAD])
@pytest.mark.parametrize("event", Event)
def test_final_states(state, event):
    """Nothing changes a link that has failed or died."""
    link, changes, _ = make_link(state)
    link.happen(event)
    assert link.state is state
    assert changes == []


def test_sockets_are_closed_when_it_dies():
    """Each socket that is left is closed with 1011, once; one that has gone is not."""
    link, _, (gone, *left) = make_link(State.READY, sockets=3)
    link.close(1, 1000, "")
    link.happen(Event.EXITED)
    link.happen(Event.EXITED)
    assert SERVICE_DIED[0] == 1011
    assert [socket.calls for socket in left] == [[SERVICE_DIED], [SERVICE_DIED]]
    assert gone.calls == []


@pytest.mark.parametrize("event", [Event.READY, Event.STOP])
def test_sockets_stay_open_otherwise(event):
    """A link that becomes ready or is to stop closes nothing by itself."""
    link, _, (socket,) = make_link(State.READY if event is Event.STOP else State.STARTING, sockets=1)
    link.happen(event)
    assert socket.calls == []


def test_sockets_may_go_while_they_are_closed():
    """A socket that is gone at once when it is closed tells the link so within the call."""
    link, _, _ = make_link(State.READY)

    class Abrupt(FakeSocket):
        def wshub_close(self, code, reason):
            super().wshub_close(code, reason)
            link.close(self.id, 1006, "")

    sockets = [Abrupt(), Abrupt()]
    for socket in sockets:
        socket.id = link.open(socket, OPENING)
    link.happen(Event.EXITED)
    assert [socket.calls for socket in sockets] == [[SERVICE_DIED], [SERVICE_DIED]]
    assert link.sockets == {}


@pytest.mark.parametrize(
    ("event", "answer"),
    [
        (Event.READY, type(None)),
        (Event.FAILED, ServiceFailed),
        (Event.BROKE, ServiceFailed),
        (Event.HUNG_UP, ServiceFailed),
        (Event.EXITED, ServiceFailed),
        (Event.LATE, ServiceFailed),
        (Event.STOP, HubStopping),
    ],
)
def test_who_waits_is_told_once(event, answer):
    """Whoever waits for READY is told, in order and once, that it is or why it never will be."""
    link, _, _ = make_link()
    told = []
    link.when_ready(lambda why_not: told.append((1, type(why_not))))
    link.when_ready(lambda why_not: told.append((2, type(why_not))))
    assert told == []
    link.happen(event)
    assert told == [(1, answer), (2, answer)]
    link.happen(Event.EXITED)
    assert len(told) == 2


@pytest.mark.parametrize(
    ("state", "answer"),
    [
        (State.READY, type(None)),
        (State.STOPPING, HubStopping),
        (State.FAILED, ServiceFailed),
        (State.DEAD, ServiceFailed),
    ],
)
def test_who_comes_later_is_told_at_once(state, answer):
    """Whoever asks once it is decided is told within the call."""
    link, _, _ = make_link(state)
    told = []
    link.when_ready(told.append)
    assert [type(why_not) for why_not in told] == [answer]


def test_who_is_told_may_ask_again():
    """One who is told that it is ready may use the link, and ask again, within the call."""
    link, changes, _ = make_link()
    told = []
    link.when_ready(lambda _: link.when_ready(lambda why_not: told.append((len(changes), why_not))))
    link.happen(Event.READY)
    assert told == [(1, None)]


# What it says about itself.


def test_ready():
    """READY makes it ready and says which subprotocols it speaks."""
    link, changes, _ = make_link()
    say(link, (READY, 0, encode_ready({"subprotocols": "b,a"})))
    assert link.subprotocols == ("b", "a")
    assert changes == [(State.READY, Event.READY, False)]


@pytest.mark.parametrize("declared", [{}, {"subprotocols": ""}])
def test_ready_without_subprotocols(declared):
    """A service need not declare any."""
    link, _, _ = make_link()
    say(link, (READY, 0, encode_ready(declared)))
    assert link.subprotocols == ()
    assert link.state is State.READY


def test_second_ready():
    """A second READY breaks the protocol."""
    link, _, _ = make_link(State.READY)
    with pytest.raises(WireError, match="second READY"):
        say(link, (READY, 0, b""))


def test_ready_of_a_service_that_is_to_stop():
    """A service that was asked to stop while it started gets ready and then stops: that breaks nothing."""
    link, changes, _ = make_link()
    link.happen(Event.STOP)
    changes.clear()
    say(link, (READY, 0, b""))
    assert link.state is State.STOPPING
    assert changes == []


def test_failed():
    """FAILED keeps the traceback, whatever bytes it has."""
    link, changes, _ = make_link()
    say(link, (FAILED, 0, b"Traceback: \xff"))
    assert link.traceback == "Traceback: �"
    assert changes == [(State.FAILED, Event.FAILED, False)]


def test_failed_without_end():
    """Of a traceback the end is kept: each line of it becomes one of the log."""
    link, _, _ = make_link()
    say(link, (FAILED, 0, b"\n" * (1 << 20) + b"KeyError"))
    assert len(link.traceback) == MAX_TRACEBACK
    assert link.traceback.endswith("\nKeyError")


def test_end_of_stream():
    """A service that closes its pipe is dead."""
    link, changes, _ = make_link(State.READY)
    link.end_of_stream()
    assert changes == [(State.DEAD, Event.HUNG_UP, True)]


# To the service.


def test_ids_count_up():
    """Each socket has an id that no other of the process ever had."""
    link, _, _ = make_link(State.READY)
    first, second = link.open(FakeSocket(), OPENING), link.open(FakeSocket(), OPENING)
    link.close(second, 1000, "")
    assert [first, second, link.open(FakeSocket(), OPENING)] == [1, 2, 3]


def test_one_opening_and_one_close():
    """The service is told of each socket once that it came and once that it went, in order."""
    link, _, _ = make_link(State.READY)
    socket_id = link.open(FakeSocket(), OPENING)
    link.message(DATA, socket_id, b"hello")
    link.close(socket_id, 1001, "bye")
    link.close(socket_id, 1006, "")
    link.close(99, 1000, "")
    assert heard(link) == [(NEWSOCKET, 1, OPENING), (DATA, 1, "hello"), (CLOSE, 1, (1001, "bye"))]
    assert link.take_batch() == ()


@settings(deadline=None, max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["open", "close", "data", "take"]), st.integers(1, 5)), max_size=40))
def test_each_socket_has_one_life(steps):
    """Whatever comes and goes, the service hears of each socket: one NEWSOCKET, its messages, at most one CLOSE."""
    link, _, _ = make_link(State.READY)
    log = []
    for step, socket_id in steps:
        if step == "open":
            link.open(FakeSocket(), OPENING)
        elif step == "close":
            link.close(socket_id, 1000, "")
        elif step == "take":
            log += heard(link)
        elif socket_id in link.sockets:
            link.message(DATA, socket_id, b"")
    log += heard(link)
    for socket_id in {each for _, each, _ in log}:
        kinds = "".join(str(kind) for kind, each, _ in log if each == socket_id)
        assert re.fullmatch(f"{NEWSOCKET}{DATA}*{CLOSE}{'?' if socket_id in link.sockets else ''}", kinds)
        assert (socket_id in link.sockets) != kinds.endswith(str(CLOSE))


def test_told_when_a_batch_begins():
    """It says that there is something to send when there was nothing, once until that is taken."""
    link, _, _ = make_link(State.READY)
    began = []
    link.on_batch_begun = lambda: began.append(True)
    for expected in (1, 2):
        link.message(DATA, 1, b"a")
        link.message(DATA, 1, b"b")
        assert len(began) == expected
        assert len(heard(link)) == 2


def test_a_turn_with_more_than_a_batch_holds():
    """However much comes in one turn, every batch is one that the service's reader accepts."""
    link, _, _ = make_link(State.READY)
    for number in range(66):
        link.message(BINARY, 1, bytes((number,)) * (1 << 20))
    assert [payload[0] for _, _, payload in heard(link)] == list(range(66))


def test_a_service_that_does_not_keep_up():
    """While the service does not keep up every socket is paused, those that come meanwhile too."""
    link, _, (first, gone) = make_link(State.READY, sockets=2)
    link.pause()
    link.close(2, 1001, "")
    late, later = FakeSocket(), FakeSocket()
    link.open(late, OPENING)
    link.resume()
    link.open(later, OPENING)
    assert first.calls == late.calls == ["pause", "resume"]
    assert gone.calls == ["pause"]
    assert later.calls == []


def test_who_comes_while_it_does_not_keep_up():
    """Waits until it does, and is told if it never will: nothing is posted about those who do not wait."""
    link, *_ = make_link(State.READY, sockets=1)
    link.take_batch()
    told = []
    link.pause()
    link.when_ready(told.append)
    assert (told, link.take_batch()) == ([], ())
    link.resume()
    assert told == [None]
    link.pause()
    link.when_ready(told.append)
    link.happen(Event.EXITED)
    assert [type(each) for each in told[1:]] == [ServiceDied]
    link, *_ = make_link(State.READY, sockets=1)
    link.pause()
    link.when_ready(told.append)
    link.happen(Event.STOP)
    link.resume()
    assert [type(each) for each in told[2:]] == [HubStopping]


# From the service.


def test_messages():
    """Messages become frames; those of one receive for one socket are one call, in order, over several batches."""
    link, _, (first, second) = make_link(State.READY, sockets=2)
    link.receive(
        in_one_piece([(DATA, 1, b"a"), (BINARY, 2, b"b"), (BINARY, 1, b"c")]) + in_one_piece([(DATA, 1, b"d")])
    )
    assert first.calls == [[make_frame(1, b"a"), make_frame(2, b"c"), make_frame(1, b"d")]]
    assert second.calls == [[make_frame(2, b"b")]]


def test_a_batch_in_pieces():
    """Nothing is sent before the batch is complete."""
    link, _, (socket,) = make_link(State.READY, sockets=1)
    batch = in_one_piece([(DATA, 1, b"a")])
    link.receive(batch[:-1])
    assert socket.calls == []
    link.receive(batch[-1:])
    assert socket.calls == [[make_frame(1, b"a")]]


@pytest.mark.parametrize(("kind", "opcode"), [(MULTICAST, 1), (MULTICAST_BINARY, 2)])
def test_multicast(kind, opcode):
    """A multicast is framed once, however many it is for, and keeps its place among other messages."""
    link, _, sockets = make_link(State.READY, sockets=3)
    say(link, (DATA, 1, b"before"), (kind, 0, encode_multicast([1, 3], b"all")), (DATA, 3, b"after"))
    (before, to_first), (to_third, after) = sockets[0].calls[0], sockets[2].calls[0]
    assert to_first is to_third
    assert to_first == make_frame(opcode, b"all")
    assert (before, after) == (make_frame(1, b"before"), make_frame(1, b"after"))
    assert sockets[1].calls == []


def test_close_after_messages():
    """A socket is closed after what was said before, and without waiting for the others."""
    link, _, (first, second) = make_link(State.READY, sockets=2)
    say(link, (DATA, 1, b"a"), (DATA, 2, b"b"), (DATA, 1, b"c"), (CLOSE, 1, encode_close(4000, "é")), (DATA, 2, b"d"))
    assert first.calls == [[make_frame(1, b"a"), make_frame(1, b"c")], (4000, "é".encode())]
    assert second.calls == [[make_frame(1, b"b"), make_frame(1, b"d")]]


def test_close_alone():
    """A socket may be closed without a message."""
    link, _, (socket,) = make_link(State.READY, sockets=1)
    say(link, (CLOSE, 1, encode_close(1000, "")))
    assert socket.calls == [(1000, b"")]


def test_what_comes_too_late_is_dropped_and_counted():
    """What is for a socket that has closed meanwhile is dropped; messages are counted."""
    link, _, (gone, other) = make_link(State.READY, sockets=2)
    link.close(1, 1000, "")
    say(
        link,
        (DATA, 1, b"a"),
        (BINARY, 1, b"b"),
        (MULTICAST, 0, encode_multicast([1, 2], b"c")),
        (CLOSE, 1, encode_close(1000, "")),
    )
    assert link.counts.dropped[CLOSED_MEANWHILE] == 3
    assert gone.calls == []
    assert other.calls == [[make_frame(1, b"c")]]


def test_a_socket_that_goes_while_it_is_sent_to():
    """A socket that breaks within a send is gone for what follows, and the others get theirs."""
    link, _, (_, other) = make_link(State.READY, sockets=2)
    link.sockets[1].wshub_send = lambda frames: link.close(1, 1006, "")
    say(link, (DATA, 1, b"a"), (DATA, 2, b"b"), (CLOSE, 1, encode_close(1000, "")))
    say(link, (DATA, 1, b"c"))
    assert link.counts.dropped[CLOSED_MEANWHILE] == 1
    assert other.calls == [[make_frame(1, b"b")]]


BROKEN = {
    "socket 0": (DATA, 0, b""),
    "a socket that never was": (DATA, 2, b""),
    "a large id": (BINARY, 2**64 - 1, b""),
    "close of a socket that never was": (CLOSE, 2, encode_close(1000, "")),
    "multicast to a socket that never was": (MULTICAST, 0, encode_multicast([2], b"")),
    "multicast to socket 0": (MULTICAST_BINARY, 0, encode_multicast([0], b"")),
    "multicast that is cut": (MULTICAST, 0, pack("<I", 1)),
    "close without a code": (CLOSE, 1, b""),
    "close with a code that no frame may carry": (CLOSE, 1, (1006).to_bytes(2, "big")),
    "a kind for services": (NEWSOCKET, 1, b""),
    "unknown kind": (200, 1, b""),
    "last kind": (255, 1, b""),
    "second READY": (READY, 0, b""),
}


@pytest.mark.parametrize("transaction", BROKEN.values(), ids=BROKEN)
def test_what_it_has_no_right_to_say(transaction):
    """What breaks the protocol is a WireError; what was said before it is done."""
    link, _, (socket,) = make_link(State.READY, sockets=1)
    with pytest.raises(WireError):
        say(link, (DATA, 1, b"before"), transaction)
    assert socket.calls == [[make_frame(1, b"before")]]


def test_ready_that_is_not_text():
    """A READY that cannot be read makes nothing ready."""
    link, _, _ = make_link()
    with pytest.raises(WireError):
        say(link, (READY, 0, b"\xff"))
    assert link.state is State.STARTING


def test_one_socket_named_a_million_times():
    """A multicast that names one socket over and over, which no service kit does, is refused or sent to it once."""
    link, _, (socket,) = make_link(State.READY, sockets=1)
    try:
        say(link, (MULTICAST, 0, encode_multicast([1] * 1_000_000, b"x" * 100)))
    except WireError:
        return
    assert sum(map(len, socket.calls[0])) < 1 << 20


# Both ends.


def test_link_and_channel_back_to_back():
    """What either end says the other hears, through real pipes: a client's whole life."""
    to_service, to_hub = os.pipe(), os.pipe()
    try:
        link, _, (alice, bob) = make_link(State.READY, sockets=2)
        channel = Channel(to_service[0], to_hub[1])

        def in_service():
            os.write(to_service[1], b"".join(link.take_batch()))
            return channel.receive()

        def in_hub():
            channel.flush()
            link.receive(os.read(to_hub[0], 1 << 16))

        clients = [Client(socket_id, opening, channel) for _, socket_id, opening in in_service()]
        assert [client.address for client in clients] == [("127.0.0.1", 40000)] * 2
        link.message(DATA, 1, "héllo".encode())
        link.message(BINARY, 2, b"\0")
        for _, socket_id, data in in_service():
            clients[socket_id - 1].send(data)
        channel.multicast(encode_address([1, 2]), "all")
        clients[1].close(4000, "enough")
        in_hub()
        assert alice.calls == [[make_frame(1, "héllo".encode()), make_frame(1, b"all")]]
        assert bob.calls == [[make_frame(2, b"\0"), make_frame(1, b"all")], (4000, b"enough")]
        link.close(2, 4000, "enough")
        assert in_service() == [(CLOSE, 2, (4000, "enough"))]
    finally:
        for fd in (*to_service, *to_hub):
            os.close(fd)


def test_what_happens_is_counted():
    """Clients that come and go by close code, messages each way; one to two clients counts twice."""
    link, _, _ = make_link(State.READY, sockets=2)
    link.message(DATA, 1, b"to the service")
    say(link, (MULTICAST, 0, encode_multicast([1, 2], b"c")), (DATA, 1, b"a"))
    link.close(1, 1001, "")
    counts = link.counts
    assert (counts.opened, counts.messages_in, counts.messages_out) == (2, 1, 3)
    assert counts.closed == {1001: 1}


# To many, past the sockets' own ways.


class DirectSocket(FakeSocket):
    """A connection that can be sent to directly, and takes as many bytes as it is told to."""

    def __init__(self, takes=1 << 20):
        super().__init__()
        self.takes = takes
        self.wshub_direct = self.send

    def send(self, data):
        if isinstance(self.takes, OSError):
            raise self.takes
        self.calls.append(data[: self.takes])
        return len(data[: self.takes])

    def wshub_send_rest(self, frames, sent):
        self.calls.append(("rest", b"".join(frames)[sent:]))
        self.wshub_direct = None
        self.link.forget_group()


def make_group(*takes):
    """A link that is ready and its sockets, which can be sent to directly."""
    link, _, _ = make_link(State.READY)
    sockets = [DirectSocket(each) for each in takes]
    for socket in sockets:
        socket.link = link
        link.open(socket, OPENING)
    return link, sockets


def test_to_many_directly():
    """Several messages to the same many are one call for each socket; who cannot be sent to directly gets them too."""
    link, (first, second) = make_group(1 << 20, 1 << 20)
    third = FakeSocket()
    link.open(third, OPENING)
    everybody = encode_address([1, 2, 3])
    say(link, (MULTICAST, 0, everybody + b"a"), (MULTICAST_BINARY, 0, everybody + b"b"))
    frames = [make_frame(1, b"a"), make_frame(2, b"b")]
    assert first.calls == second.calls == [b"".join(frames)]
    assert third.calls == [frames]
    assert link.counts.messages_out == 6


def test_to_many_when_one_is_full_and_one_is_broken():
    """What a socket does not take goes its own way, and so does what follows; the others notice nothing."""
    link, (full, broken, fine) = make_group(2, BrokenPipeError(), 1 << 20)
    frame = make_frame(1, b"abc")
    for _ in range(2):
        say(link, (MULTICAST, 0, encode_multicast([1, 2, 3], b"abc")))
    assert full.calls == [frame[:2], ("rest", frame[2:]), [frame]]
    assert broken.calls == [("rest", frame), [frame]]
    assert fine.calls == [frame, frame]


def test_to_the_same_many_after_one_has_gone():
    """A socket that has closed gets nothing more, though the service still names it; its number is counted."""
    link, (gone, here) = make_group(1 << 20, 1 << 20)
    message = (MULTICAST, 0, encode_multicast([1, 2], b"x"))
    say(link, message)
    link.close(1, 1000, "")
    say(link, message)
    late = DirectSocket()
    link.open(late, OPENING)
    say(link, message)
    assert len(gone.calls) == 1
    assert len(here.calls) == 3
    assert late.calls == []
    assert link.counts.dropped == {CLOSED_MEANWHILE: 2}


# Requests: what a service says about a client before it is one.


def answer(link, *transactions):
    """The service says something."""
    link.receive(in_one_piece(list(transactions)))


def make_asking_link():
    """A link whose service wants to be asked, and the answers to its requests."""
    link = ServiceLink(Changes())
    answer(link, (READY, 0, encode_ready({"on_request": "yes"})))
    assert link.asks_first
    link.take_batch()
    return link, []


def sent_by(link):
    """The transactions that wait for the process."""
    return [each for body in BatchReader().feed(b"".join(link.take_batch())) for each in decode_batch(body)]


def test_only_who_declares_it_is_asked():
    """A READY without on_request means no requests."""
    link = ServiceLink(Changes())
    answer(link, (READY, 0, encode_ready({"subprotocols": "chat"})))
    assert not link.asks_first


def test_a_request_that_is_accepted():
    """The service is told everything; the id that it accepts is the socket's, and others get other ids."""
    link, answers = make_asking_link()
    one = link.ask(OPENING[:5], ("chat",), answers.append)
    two = link.ask(OPENING[:5], (), answers.append)
    assert sent_by(link) == [(REQUEST, 1, (*OPENING[:5], ("chat",))), (REQUEST, 2, (*OPENING[:5], ()))]
    answer(link, (ACCEPT, one, b"chat\nX: y"))
    assert answers == [Accepted(one, "chat", (("X", "y"),))]
    socket = FakeSocket()
    assert link.open(socket, OPENING, one) == one
    assert link.open(FakeSocket(), OPENING) == 3
    assert sent_by(link) == [(NEWSOCKET, one, OPENING), (NEWSOCKET, 3, OPENING)]
    answer(link, (DATA, one, b"hello"))
    assert socket.calls == [[make_frame(1, b"hello")]]
    assert two in link._pending._waiting
    assert link.counts.refused == {}


def test_a_request_that_is_refused():
    """The client's side is told why, and it is counted once."""
    link, answers = make_asking_link()
    one = link.ask(OPENING[:5], (), answers.append)
    answer(link, (REFUSE, one, b"403\n\nNo."))
    assert [(error.status, str(error)) for error in answers] == [(403, "No.")]
    assert link.counts.refused == {REFUSED: 1}
    answer(link, (REFUSE, one, b"403\n\nNo."), (ACCEPT, one, b""))  # as if it had gone: nobody waits
    assert len(answers) == 1
    assert link.counts.refused == {REFUSED: 1}


def test_a_request_that_is_abandoned():
    """The service gets a CLOSE, once, and its answer is passed over; data for the id is dropped and counted."""
    link, answers = make_asking_link()
    one = link.ask(OPENING[:5], (), answers.append)
    link.abandon(one, LATE)
    link.abandon(one, LATE)
    assert sent_by(link)[1:] == [(CLOSE, one, (1006, ""))]
    assert link.counts.refused == {LATE: 1}
    answer(link, (ACCEPT, one, b""), (DATA, one, b"x"))
    assert answers == []
    assert link.counts.dropped == {CLOSED_MEANWHILE: 1}


def test_accepted_but_never_open():
    """A client that is lost between the answer and the 101 is a CLOSE for the service too."""
    link, answers = make_asking_link()
    one = link.ask(OPENING[:5], (), answers.append)
    answer(link, (ACCEPT, one, b""))
    link.close(one, 1006, "")
    assert sent_by(link)[1:] == [(CLOSE, one, (1006, ""))]
    assert link.counts.refused == {LEFT: 1}
    assert link.counts.closed == {}


@pytest.mark.parametrize(
    ("event", "status"),
    [(Event.STOP, 503), (Event.EXITED, 502), (Event.BROKE, 502), (Event.HUNG_UP, 502)],
)
def test_requests_when_the_service_ends(event, status):
    """Whoever waits is told; the service, if it is still there, gets a CLOSE for each before its input ends."""
    link, answers = make_asking_link()
    link.ask(OPENING[:5], (), answers.append)
    sent = []
    link._on_change = lambda *_: sent.extend(sent_by(link))
    link.happen(event)
    assert [error.status for error in answers] == [status]
    assert (CLOSE, 1, (1006, "")) in sent
    assert link.counts.refused == {ENDED: 1}


@pytest.mark.parametrize(
    ("transaction", "message"),
    [
        ((ACCEPT, 0, b""), "never its own"),
        ((ACCEPT, 3, b""), "never its own"),
        ((REFUSE, 3, b"403\n\n"), "never its own"),
        ((ACCEPT, 2, b""), "a client that is connected"),
        ((REFUSE, 2, b"403\n\n"), "a client that is connected"),
        ((ACCEPT, 1, b"other"), "did not offer"),
        ((ACCEPT, 1, b"\nX: a\r\nY: b"), "neither printable ASCII nor a tab"),
        ((ACCEPT, 1, b"\nContent-Length: 5"), "the hub's to send"),
        ((REFUSE, 1, b"200\n\nfine"), "status from 400 to 599"),
    ],
)
def test_answers_that_no_service_may_give(transaction, message):
    """An answer for whom it was not asked about, or one that would forge a response, is an error; nobody is told."""
    link, answers = make_asking_link()
    link.ask(OPENING[:5], ("chat",), answers.append)
    link.open(FakeSocket(), OPENING)
    with pytest.raises(WireError, match=message):
        answer(link, transaction)
    assert answers == []


# Clients that are slow.


def test_a_service_is_told_who_is_slow():
    """SLOW goes to the service for a socket that is there, and for no other."""
    link, _, _ = make_link(State.READY, sockets=1)
    heard(link)
    link.tell_slow(1, True)
    link.tell_slow(2, True)
    link.tell_slow(1, False)
    assert heard(link) == [(SLOW, 1, True), (SLOW, 1, False)]


def test_held_by_many():
    """The service is held from the first that holds it to the last that lets it go, be it because it has gone."""
    link, _, _ = make_link(State.READY, sockets=2)
    held = []
    link.on_hold = held.append
    link.release(1)
    link.hold(1)
    link.hold(2)
    link.hold(1)
    assert (held, link.is_held) == ([True], True)
    link.release(1)
    assert held == [True]
    link.close(2, 1006, "")
    assert (held, link.is_held) == ([True, False], False)
    link.release(2)
    assert held == [True, False]


class Narrow(FakeSocket):
    """One whose socket takes only so many bytes at once."""

    def __init__(self, room):
        super().__init__()
        self.room = room
        self.wshub_direct = self.send

    def send(self, data):
        if self.room is None:
            raise BlockingIOError
        return min(self.room, len(data))

    def wshub_send_rest(self, frames, sent):
        self.calls.append((list(frames), sent))


def test_a_broadcast_to_sockets_that_get_full():
    """Each whose socket does not take all of it is given the rest, and only those."""
    link, _, _ = make_link(State.READY)
    sockets = [Narrow(room) for room in (1000, 3, None, 1000, 0)]
    for socket in sockets:
        socket.wshub_direct = socket.send  # the same object each time, as a link may compare
        link.open(socket, OPENING)
    say(link, (MULTICAST, 0, encode_multicast([1, 2, 3, 4, 5], b"hello")))
    frame = make_frame(1, b"hello")
    assert [socket.calls for socket in sockets] == [[], [([frame], 3)], [([frame], 0)], [], [([frame], 0)]]
