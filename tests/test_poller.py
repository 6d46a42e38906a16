"""The poller: real sockets, and a reactor whose turns the test makes."""

import os
import socket
from contextlib import ExitStack
from functools import partial

import pytest
from twisted.internet.epollreactor import EPollReactor

from wshub.poller import MAX_EVENTS, Poller
from wshub.testing import FakeReactor


class Sockets:
    """Pairs of connected sockets under a poller, and a record of what it reads."""

    def __init__(self, stack):
        self.reactor = FakeReactor()
        self.poller = Poller(self.reactor)
        self.events = []
        self._stack = stack

    def add(self, name, readable=None):
        """Let the poller watch a new pair; return its end and the other one. Without `readable`, reads are recorded."""
        mine, other = socket.socketpair()
        self._stack.enter_context(mine)
        self._stack.enter_context(other)
        mine.setblocking(False)
        self.poller.add(mine.fileno(), readable or (lambda: self.events.append((name, mine.recv(100)))))
        return mine, other

    def turn(self):
        """One event of the reactor's for the poller."""
        self.poller.doRead()


@pytest.fixture
def sockets():
    """Sockets, all closed in the end, and their poller too."""
    with ExitStack() as stack:
        sockets = Sockets(stack)
        yield sockets
        sockets.poller.close()


def test_all_that_are_ready_in_one_turn(sockets):
    """One event of the reactor's reads every socket that has something, once, and no other."""
    pairs = [sockets.add(name) for name in range(5)]
    for name in (0, 2, 4):
        pairs[name][1].send(b"to %d" % name)
    sockets.turn()
    assert sorted(sockets.events) == [(0, b"to 0"), (2, b"to 2"), (4, b"to 4")]
    sockets.turn()
    assert len(sockets.events) == 3


def test_the_reactor_sees_it(sockets):
    """The reactor watches one descriptor, which is ready whenever one of the sockets is."""
    _, first = sockets.add("first")
    _, second = sockets.add("second")
    assert sockets.reactor._readers == {sockets.poller}
    sockets.reactor.turn()
    assert not sockets.events
    first.send(b"1")
    sockets.reactor.turn()
    second.send(b"2")
    sockets.reactor.turn()
    assert sockets.events == [("first", b"1"), ("second", b"2")]


def test_more_than_a_turn_takes(sockets):
    """When more sockets are ready than one turn reads, the next turns read the others."""
    for name in range(MAX_EVENTS + 10):
        sockets.add(name)[1].send(b"x")
    sockets.turn()
    assert len(sockets.events) == MAX_EVENTS
    sockets.turn()
    assert sorted(name for name, _ in sockets.events) == list(range(MAX_EVENTS + 10))


def test_the_end_of_a_turn(sockets):
    """What is asked for while reading is called once, in order, after all the reads of that turn."""
    ends = {}

    def readable(name):
        sockets.events.append(f"read {name}")
        ends[name].recv(100)
        sockets.poller.at_end_of_turn(lambda: sockets.events.append(f"end {name}"))

    for name in range(3):
        ends[name], other = sockets.add(name, partial(readable, name))
        other.send(b"x")
    sockets.turn()
    reads, calls = sockets.events[:3], sockets.events[3:]
    assert sorted(reads) == ["read 0", "read 1", "read 2"]
    assert calls == [read.replace("read", "end") for read in reads]
    assert not sockets.reactor.getDelayedCalls()
    sockets.turn()
    assert len(sockets.events) == 6


def test_outside_of_a_turn(sockets):
    """What is asked for at another time is called once, by the reactor, as soon as it comes to it."""
    sockets.poller.at_end_of_turn(lambda: sockets.events.append("first"))
    sockets.poller.at_end_of_turn(lambda: sockets.events.append("second"))
    assert not sockets.events
    assert [call.getTime() for call in sockets.reactor.getDelayedCalls()] == [0]
    sockets.reactor.advance(0)
    assert sockets.events == ["first", "second"]
    assert not sockets.reactor.getDelayedCalls()
    sockets.poller.at_end_of_turn(lambda: sockets.events.append("third"))
    sockets.reactor.advance(0)
    assert sockets.events == ["first", "second", "third"]


def test_a_turn_comes_before_the_delayed_call(sockets):
    """If a turn ends first, what was asked for outside of it is called then, and not again."""
    _, other = sockets.add("socket")
    sockets.poller.at_end_of_turn(lambda: sockets.events.append("end"))
    other.send(b"x")
    sockets.turn()
    assert sockets.events == [("socket", b"x"), "end"]
    sockets.poller.at_end_of_turn(lambda: sockets.events.append("next end"))
    sockets.reactor.advance(0)
    assert sockets.events[2:] == ["next end"]
    assert not sockets.reactor.getDelayedCalls()


def test_the_end_of_a_turn_asks_for_another(sockets):
    """What is asked for at the end of a turn comes after it, with no socket to be read."""
    _, other = sockets.add("socket")
    again = lambda: sockets.poller.at_end_of_turn(lambda: sockets.events.append("again"))  # noqa: E731
    sockets.poller.at_end_of_turn(again)
    other.send(b"x")
    sockets.turn()
    assert sockets.events == [("socket", b"x")]
    sockets.reactor.advance(0)
    assert sockets.events[1:] == ["again"]


def test_removed_during_the_loop(sockets):
    """A socket that another one's reader has removed, and closed, is not read in the same turn."""
    ends = []

    def readable():
        sockets.events.append("read")
        for end in ends:  # whichever is first ends both
            sockets.poller.remove(end.fileno())
            end.close()

    for _ in range(2):
        mine, other = sockets.add("either", readable)
        ends.append(mine)
        other.send(b"x")
    sockets.turn()
    assert sockets.events == ["read"]
    sockets.turn()
    assert sockets.events == ["read"]


def test_remove(sockets):
    """A socket that is removed is not read, and can be added again."""
    mine, other = sockets.add("socket")
    sockets.poller.remove(mine.fileno())
    other.send(b"x")
    sockets.turn()
    assert not sockets.events
    sockets.poller.remove(mine.fileno())
    sockets.poller.add(mine.fileno(), lambda: sockets.events.append(mine.recv(100)))
    sockets.turn()
    assert sockets.events == [b"x"]


def test_remove_of_a_closed_one(sockets):
    """A descriptor may be closed before it is removed, and then be another socket's."""
    mine, _ = sockets.add("old")
    fd = mine.fileno()
    mine.close()
    sockets.poller.remove(fd)
    sockets.poller.remove(fd)
    new, other = sockets.add("new")
    assert new.fileno() == fd
    other.send(b"x")
    sockets.turn()
    assert sockets.events == [("new", b"x")]


def test_unknown_descriptors(sockets):
    """Nothing happens to a descriptor that is not here, also before there ever was one."""
    for change in (sockets.poller.remove, sockets.poller.pause, sockets.poller.resume):
        change(0)
    sockets.add("socket")
    for change in (sockets.poller.remove, sockets.poller.pause, sockets.poller.resume):
        change(0)
    sockets.turn()
    assert not sockets.events


def test_pause_and_resume(sockets):
    """A paused socket is not read, the others are, and what has come meanwhile is read when it is resumed."""
    mine, other = sockets.add("paused")
    _, another = sockets.add("another")
    sockets.poller.pause(mine.fileno())
    sockets.poller.pause(mine.fileno())
    other.send(b"x")
    another.send(b"y")
    sockets.reactor.turn()
    assert sockets.events == [("another", b"y")]
    sockets.poller.resume(mine.fileno())
    sockets.poller.resume(mine.fileno())
    sockets.reactor.turn()
    assert sockets.events == [("another", b"y"), ("paused", b"x")]


def test_pause_of_one_that_ends(sockets):
    """Whoever is paused is not read when his other end hangs up either, but when he is resumed: nothing is lost."""
    mine, other = sockets.add("paused")
    sockets.poller.pause(mine.fileno())
    other.send(b"last words")
    other.close()
    sockets.turn()
    assert not sockets.events
    sockets.poller.resume(mine.fileno())
    sockets.turn()
    sockets.turn()
    assert sockets.events == [("paused", b"last words"), ("paused", b"")]


def test_remove_while_it_is_paused(sockets):
    """Nothing is left of it: it can be added again, and resuming what is not here changes nothing."""
    mine, other = sockets.add("paused")
    other.send(b"x")
    sockets.poller.pause(mine.fileno())
    sockets.poller.remove(mine.fileno())
    sockets.poller.resume(mine.fileno())
    sockets.turn()
    assert not sockets.events
    sockets.poller.add(mine.fileno(), lambda: sockets.events.append(mine.recv(100)))
    sockets.poller.resume(mine.fileno())
    sockets.turn()
    assert sockets.events == [b"x"]


def test_end_of_the_stream(sockets):
    """The end of a stream is something to read, too."""
    _, other = sockets.add("socket")
    other.close()
    sockets.turn()
    assert sockets.events == [("socket", b"")]


def test_a_reader_that_raises(sockets, log):
    """What a reader raises is logged, and neither the other reads nor the end of the turn are lost."""

    def raises():
        sockets.poller.at_end_of_turn(lambda: sockets.events.append("end"))
        raise ZeroDivisionError("of the test")

    bad, other = sockets.add("bad", raises)
    for end in (other, sockets.add("good")[1], sockets.add("good")[1]):
        end.send(b"x")
    sockets.turn()
    assert sockets.events == [("good", b"x"), ("good", b"x"), "end"]
    assert [line for line in log if "unexpected while reading descriptor" in line and "#critical" in line]
    sockets.poller.remove(bad.fileno())
    sockets.poller.at_end_of_turn(lambda: sockets.events.append("later"))  # it knows that no turn is going on
    assert sockets.events[3:] == []
    sockets.reactor.advance(0)
    assert sockets.events[3:] == ["later"]


def test_close(sockets):
    """Closing it takes it from the reactor and gives its descriptor back; a second time nothing happens."""
    assert sockets.poller.fileno() == -1
    sockets.poller.close()
    sockets.add("socket")
    fd = sockets.poller.fileno()
    assert os.fstat(fd)
    sockets.poller.close()
    assert sockets.poller.fileno() == -1
    assert not sockets.reactor._readers
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
    sockets.poller.close()


def test_nothing_open_before_the_first_socket(sockets):
    """A hub that nobody visits has no epoll set, and the reactor nothing to watch."""
    assert sockets.poller.fileno() == -1
    assert not sockets.reactor._readers


# On Twisted's epoll reactor: the reactor is in our set.


@pytest.fixture
def outer():
    """A poller on an epoll reactor of its own, which the test runs; sockets and what is read from them."""
    reactor = EPollReactor()
    with ExitStack() as stack:
        sockets = Sockets(stack)
        sockets.reactor, sockets.poller = reactor, Poller(reactor)
        yield sockets
        sockets.poller.close()
        reactor.removeAll()


def run(reactor, timeout=10.0):
    """Run the reactor until something calls its `crash`, which ends the loop and nothing else."""
    deadline = reactor.callLater(timeout, reactor.crash)
    reactor.startRunning(installSignalHandlers=False)
    reactor.mainLoop()
    assert deadline.active(), "nothing has ended it in time"
    deadline.cancel()


def test_the_reactors_loop_is_ours_and_becomes_its_own_again(outer):
    """The loop is taken over with the first descriptor and given back at the end; a second poller is inside it."""
    iterate = outer.reactor.doIteration
    outer.add("a")
    assert outer.reactor.doIteration == outer.poller._iterate
    second = Poller(outer.reactor)
    mine, other = socket.socketpair()
    with mine, other:
        second.add(mine.fileno(), lambda: None)
        assert second in outer.reactor.getReaders()
        second.close()
    outer.poller.close()
    assert outer.reactor.doIteration == iterate


def test_messages_timers_and_the_reactors_own_descriptors(outer):
    """Whatever happens, in whatever order, all of it is served: ours, the reactor's timers, threads and descriptors."""
    reactor, events = outer.reactor, outer.events
    mine, other = outer.add("ours")
    theirs, to_theirs = socket.socketpair()

    class Reader:
        """A descriptor of the reactor's own."""

        def fileno(self):
            return theirs.fileno()

        def doRead(self):
            events.append(("theirs", theirs.recv(100)))
            reactor.callFromThread(events.append, "from a thread")
            reactor.callFromThread(other.send, b"2")

        def logPrefix(self):
            return "test"

        def connectionLost(self, reason):
            pass

    def ours():
        data = mine.recv(100)
        events.append(("ours", data))
        if data == b"1":
            reactor.callLater(0, to_theirs.send, b"x")
        else:
            reactor.callLater(0.01, reactor.crash)

    outer.poller.remove(mine.fileno())
    outer.poller.add(mine.fileno(), ours)
    with theirs, to_theirs:
        reader = Reader()
        reactor.addReader(reader)
        other.send(b"1")
        run(reactor)
        reactor.removeReader(reader)
    assert events == [("ours", b"1"), ("theirs", b"x"), "from a thread", ("ours", b"2")]


def test_a_timer_that_a_message_sets_is_on_time(outer):
    """A call that is made for later while our own descriptors are served is not forgotten when nothing else comes."""
    mine, other = outer.add("ours", lambda: None)
    outer.poller.remove(mine.fileno())

    def readable():
        mine.recv(100)
        outer.reactor.callLater(0.02, outer.reactor.crash)

    outer.poller.add(mine.fileno(), readable)
    other.send(b"x")
    run(outer.reactor)


def test_a_flood_of_ours_does_not_starve_the_reactor(outer):
    """While a socket of ours is always ready, the reactor's timers still run."""
    _, other = outer.add("flood", lambda: outer.events.append("read"))  # and leaves what is there
    other.send(b"x")
    outer.reactor.callLater(0.01, outer.reactor.crash)
    run(outer.reactor)
    assert len(outer.events) > 10
