"""The hub's own sockets and pipes beside the reactor's: one wait for all of them, and a turn that knows its end.

Twisted spends two to three microseconds on each event of each descriptor, as much as the hub needs to read a message,
and as much again on each pass of its loop. An epoll set can itself be polled: so the sockets and pipes that carry
messages are in a set of our own, and a turn of any number of messages is one event. The end of such a turn is also
the moment to write: whatever the turn brought for a service is one batch, and a single message does not wait for
company.

Who waits for whom depends on the reactor. On Twisted's epoll reactor, ours is the outer set: the reactor's own is one
more descriptor in it, and a message that comes and goes wakes nothing of Twisted's. On any other reactor, our set is
one descriptor of the reactor's, which costs a pass of its loop for each turn.

Only reading is done here. As soon as a socket has anything but data for us - the end of the stream, an error - it is
the reactor's again, which knows what to do.
"""

import select
from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IReadDescriptor
from twisted.logger import Logger
from zope.interface import implementer

MAX_EVENTS = 256  # sockets that are read in one turn, at most 32 MiB, before their services get it


@implementer(IReadDescriptor)
class Poller:
    """Calls back for each descriptor that can be read, then whoever wants to know when all have been."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: select.epoll | None = None
        self._reactor_fd = -1  # its epoll set, where ours is the outer one
        self._iterate_reactor: Callable[[float], None]
        self._readers: dict[int, Callable[[], None]] = {}
        self._paused: set[int] = set()
        self._at_end: list[Callable[[], None]] = []
        self._is_reading = False
        self._log = Logger(namespace="wshub")

    def add(self, fd: int, readable: Callable[[], None]) -> None:
        """Call `readable` whenever there is something to read from `fd`. It must not raise."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._begin()
        self._readers[fd] = readable
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Call no more. Nothing happens if `fd` is not here; it may be closed already."""
        if self._readers.pop(fd, None):
            assert self._epoll is not None
            self._paused.discard(fd)
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # closing it has taken it out

    def pause(self, fd: int) -> None:
        """Do not look at `fd` for the moment, not even for its end.

        It is taken out of the set: epoll tells of a hangup whether it was asked about it or not, and whoever is told
        so would read what he was not to read yet.
        """
        if fd in self._readers and fd not in self._paused:
            assert self._epoll is not None
            self._epoll.unregister(fd)
            self._paused.add(fd)

    def resume(self, fd: int) -> None:
        """Look at it again."""
        if fd in self._paused:
            assert self._epoll is not None
            self._paused.discard(fd)
            self._epoll.register(fd, select.EPOLLIN)

    def at_end_of_turn(self, call: Callable[[], None]) -> None:
        """Call once when everything that can be read now has been."""
        if not self._is_reading and not self._at_end:
            self._reactor.callLater(0, self._end_turn)
        self._at_end.append(call)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._epoll is not None:
            self._end()
            self._epoll.close()
            self._epoll = None
            self._readers.clear()
            self._paused.clear()

    # The reactor in our set, or our set in the reactor.

    def _begin(self) -> None:
        assert self._epoll is not None
        inner = getattr(self._reactor, "_poller", None)
        if isinstance(inner, select.epoll) and "doIteration" not in vars(self._reactor):
            self._reactor_fd = inner.fileno()
            self._epoll.register(self._reactor_fd, select.EPOLLIN)
            self._iterate_reactor, self._reactor.doIteration = self._reactor.doIteration, self._iterate
        else:
            self._reactor.addReader(self)

    def _end(self) -> None:
        if self._reactor_fd >= 0:
            del self._reactor.doIteration  # the class's own comes back
            self._reactor_fd = -1
        else:
            self._reactor.removeReader(self)

    def _iterate(self, delay: float | None) -> None:
        """In place of the reactor's `doIteration`: wait for at most `delay` seconds, then deal with what has come.

        As long as that concerns nothing of the reactor's, go on waiting here.
        """
        reactor, is_one_turn = self._reactor, delay is not None and not delay
        while self._epoll is not None:
            events = self._epoll.poll(delay, MAX_EVENTS)
            self._read(events)
            if is_one_turn or not events or (self._reactor_fd, select.EPOLLIN) in events:
                break
            delay = reactor.timeout()
            if not delay and delay is not None:
                return
        self._iterate_reactor(0)

    # As a descriptor of the reactor's.

    def fileno(self) -> int:
        """The epoll set's own descriptor."""
        return self._epoll.fileno() if self._epoll else -1

    def logPrefix(self) -> str:
        """What Twisted asks every descriptor for."""
        return "wshub"

    def connectionLost(self, reason: object) -> None:
        """Called by the reactor when it is closed down."""

    def doRead(self) -> None:
        """Called by the reactor when at least one of the descriptors can be read."""
        assert self._epoll is not None
        self._read(self._epoll.poll(0, MAX_EVENTS))

    # A turn.

    def _read(self, events: list[tuple[int, int]]) -> None:
        readers = self._readers
        self._is_reading = True
        for fd, _ in events:
            if reader := readers.get(fd):  # one that was read before it may have closed it
                try:
                    reader()
                except Exception:
                    self._log.failure("unexpected while reading descriptor {fd}", fd=fd)
        self._is_reading = False
        if self._at_end:
            self._end_turn()

    def _end_turn(self) -> None:
        at_end, self._at_end = self._at_end, []
        for call in at_end:
            try:
                call()
            except Exception:  # which must not keep the others from theirs, nor the reactor from this descriptor
                self._log.failure("unexpected at the end of a turn")
