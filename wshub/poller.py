"""All WebSockets as one descriptor of the reactor's: a turn's reads in one loop, and what comes of them at its end.

Twisted spends two to three microseconds on each event of each descriptor, as much as the hub needs to read a message.
An epoll set can itself be polled: so the sockets that are open are in a set of our own, the reactor watches that, and a
turn of any number of messages is one event to it. The end of such a loop is also the moment to write: whatever the turn
brought for a service is one batch, and a single message does not wait for company.

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
class SocketPoller:
    """Calls back for each descriptor that can be read, then whoever wants to know when all have been."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._epoll: select.epoll | None = None
        self._readers: dict[int, Callable[[], None]] = {}
        self._at_end: list[Callable[[], None]] = []
        self._is_reading = False
        self._log = Logger(namespace="wshub")

    def add(self, fd: int, readable: Callable[[], None]) -> None:
        """Call `readable` whenever there is something to read from `fd`. It must not raise."""
        if self._epoll is None:
            self._epoll = select.epoll()
            self._reactor.addReader(self)
        self._readers[fd] = readable
        self._epoll.register(fd, select.EPOLLIN)

    def remove(self, fd: int) -> None:
        """Call no more. Nothing happens if `fd` is not here; it may be closed already."""
        if self._readers.pop(fd, None):
            assert self._epoll is not None
            try:
                self._epoll.unregister(fd)
            except OSError:
                pass  # closing it has taken it out

    def pause(self, fd: int) -> None:
        """Do not look at `fd` for the moment."""
        if fd in self._readers:
            assert self._epoll is not None
            self._epoll.modify(fd, 0)

    def resume(self, fd: int) -> None:
        """Look at it again."""
        if fd in self._readers:
            assert self._epoll is not None
            self._epoll.modify(fd, select.EPOLLIN)

    def at_end_of_turn(self, call: Callable[[], None]) -> None:
        """Call once when everything that can be read now has been."""
        if not self._is_reading and not self._at_end:
            self._reactor.callLater(0, self._end_turn)
        self._at_end.append(call)

    def close(self) -> None:
        """Watch nothing any more."""
        if self._epoll is not None:
            self._reactor.removeReader(self)
            self._epoll.close()
            self._epoll = None
            self._readers.clear()

    def fileno(self) -> int:
        """The epoll set's own descriptor."""
        return self._epoll.fileno() if self._epoll else -1

    def logPrefix(self) -> str:
        """What Twisted asks every descriptor for."""
        return "wshub"

    def connectionLost(self, reason: object) -> None:
        """Called by the reactor when it is closed down."""

    def doRead(self) -> None:
        """Called by the reactor when at least one of the sockets can be read."""
        assert self._epoll is not None
        readers = self._readers
        self._is_reading = True
        for fd, _ in self._epoll.poll(0, MAX_EVENTS):
            if reader := readers.get(fd):  # one that was read before it may have closed it
                try:
                    reader()
                except Exception:
                    self._log.failure("unexpected while reading a socket")
        self._is_reading = False
        self._end_turn()

    def _end_turn(self) -> None:
        at_end, self._at_end = self._at_end, []
        for call in at_end:
            try:
                call()
            except Exception:  # which must not keep the others from theirs, nor the reactor from this descriptor
                self._log.failure("unexpected at the end of a turn")
