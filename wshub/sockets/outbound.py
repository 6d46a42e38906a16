"""The sending half of a `HubProtocol`: at once where that is possible, else in the transport, else in a backlog.

::

    nothing waits            the socket's own `send`, past Twisted; what it does not take goes to the transport
    the transport has some   the transport's buffer, until it says that it is full (Twisted: 64 KiB)
    it is full               a `Backlog` of whole messages, bounded, which the transport asks for when it has room

Every name of ours has a prefix, because the other half is Autobahn's; the others are what Twisted and Autobahn call.
"""

from collections.abc import Callable
from typing import Any

from wshub.processes.delivery import CLOSED_MEANWHILE
from wshub.processes.link import ServiceLink
from wshub.sockets.backlog import CLOSE, DROP_NEWEST, DROP_OLDEST, Backlog, unsent

TRY_AGAIN_LATER = (1013, b"Too slow.")
SLOW = "slow client"  # why a message was dropped


class Outbound:
    """Mixed into Autobahn's protocol."""

    transport: Any
    factory: Any
    state: int
    STATE_OPEN: int
    wshub_link: ServiceLink
    wshub_id: int
    wshub_fd: int
    wshub_direct: Callable[[bytes], int] | None = None
    """The socket's `send`, while a frame may be sent as it is and nothing waits to be sent before it."""
    wshub_is_full = False
    """Whether the transport has asked not to be given more."""
    wshub_backlog: Backlog | None = None
    """What waits for it."""
    wshub_overflowed = False
    """Whether that has ever been too much."""
    wshub_is_given_up = False
    """Whether the client is closed for it."""
    wshub_is_slow = False
    """Whether its service has been told that messages wait."""
    wshub_took = 0.0
    """When it was last seen to take something that waited, as `HubFactory.wshub_now` had it."""
    wshub_left = 0
    """Bytes that the transport still had then."""
    _perMessageCompress: Any

    # Messages.

    def wshub_send(self, frames: list[bytes]) -> None:
        """Called by the link: messages from the service."""
        direct = self.wshub_direct
        if direct is None:
            self._wshub_send_somehow(frames)
            return
        data = frames[0] if len(frames) == 1 else b"".join(frames)
        try:
            sent = direct(data)
        except OSError:
            sent = 0  # full, or broken, which the transport will find out
        if sent != len(data):
            self.wshub_send_rest(frames, sent)

    def wshub_send_rest(self, frames: list[bytes], sent: int) -> None:
        """Called by the link, and here, when the socket has taken only so many bytes of `frames`."""
        self.wshub_set_direct(None)
        for frame in unsent(frames, sent):
            if self.wshub_is_full:
                self._wshub_wait(frame)
            else:
                self.transport.write(frame)

    def _wshub_send_somehow(self, frames: list[bytes]) -> None:
        if not self.wshub_may_send():
            self.wshub_link.counts.dropped[SLOW if self.wshub_is_given_up else CLOSED_MEANWHILE] += len(frames)
            return
        if self._perMessageCompress is not None:
            frames = self.factory.compress(frames, self._perMessageCompress.server_max_window_bits)
        self.wshub_send_rest(frames, 0 if self.wshub_is_full else self._wshub_send_now(b"".join(frames)))
        if self._wshub_is_clear() and self._perMessageCompress is None and self.state == self.STATE_OPEN:
            self.wshub_set_direct(self.transport.socket.send)

    def wshub_may_send(self) -> bool:
        """Whether messages may still be sent."""
        return self.state == self.STATE_OPEN

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:
        """Called by Autobahn with a control frame, or with its answer to a handshake."""
        if self.wshub_is_full:
            if self.wshub_backlog is None:
                self.wshub_backlog = Backlog()
            self.wshub_backlog.add_control(data)
            return
        sent = self._wshub_send_now(data)
        if sent != len(data):
            self.wshub_set_direct(None)
            self.transport.write(data[sent:])

    def _wshub_is_clear(self) -> bool:
        """Whether nothing waits on the way to a plain socket."""
        transport = self.transport
        return self.wshub_fd >= 0 and not transport.dataBuffer and not transport._tempDataLen

    def _wshub_send_now(self, data: bytes) -> int:
        if self._wshub_is_clear():
            try:
                sent: int = self.transport.socket.send(data)
            except OSError:
                return 0
            return sent
        return 0

    def wshub_set_direct(self, direct: Callable[[bytes], int] | None) -> None:
        """Let messages go straight to the socket from now on, or not any more."""
        if self.wshub_direct is not direct:
            self.wshub_direct = direct
            self.wshub_link.forget_group()

    # What waits.

    def _wshub_wait(self, frame: bytes) -> None:
        link, limit = self.wshub_link, self.factory.wshub_settings.max_backlog
        if not self.wshub_may_send():
            link.counts.dropped[SLOW] += 1
            return
        backlog = self.wshub_backlog
        if backlog is None:
            backlog = self.wshub_backlog = Backlog()
        if not self.wshub_is_slow:
            self.wshub_is_slow = True
            link.tell_slow(self.wshub_id, True)
        if backlog.has_room(frame, limit):
            backlog.add(frame)
            return
        if not self.wshub_overflowed:
            self.wshub_overflowed = True
            self.wshub_log("is too slow", f"more than {limit} bytes wait for it ({link.declared.slow_clients})")
        if link.declared.slow_clients == CLOSE:
            link.counts.dropped[SLOW] += backlog.clear() + 1
            self.wshub_is_given_up = True
            self.wshub_close(*TRY_AGAIN_LATER)
        elif link.declared.slow_clients == DROP_NEWEST:
            link.counts.dropped[SLOW] += 1
        elif link.declared.slow_clients == DROP_OLDEST:
            link.counts.dropped[SLOW] += backlog.make_room(frame, limit)
            backlog.add(frame)
        else:
            backlog.add(frame)
            link.hold(self.wshub_id)

    def wshub_close(self, code: int, reason: bytes) -> None:
        """Begin the closing handshake."""
        raise NotImplementedError

    def wshub_log(self, what: str, why: str, code: int = 0) -> None:
        """Say in the log what was wrong with this client."""
        raise NotImplementedError

    def pauseProducing(self) -> None:
        """Called by the transport when it has more than enough."""
        if not self.wshub_is_full:
            self.wshub_is_full = True
            self.wshub_took, self.wshub_left = self.factory.wshub_now, self._wshub_count_left()
            self.factory.wshub_full.add(self)

    def resumeProducing(self) -> None:
        """Called by the transport when it has room again."""
        self._wshub_is_not_full()
        self.wshub_took = self.factory.wshub_now
        backlog, link = self.wshub_backlog, self.wshub_link
        if backlog is None:
            return
        while not (self.wshub_is_full or backlog.is_empty):
            self.transport.write(backlog.take())
        if backlog.size <= self.factory.wshub_settings.max_backlog // 2:
            link.release(self.wshub_id)
        if self.wshub_is_slow and not len(backlog):
            self.wshub_is_slow = False
            if self.wshub_may_send():
                link.tell_slow(self.wshub_id, False)
        if backlog.is_empty:
            self.wshub_backlog = None

    def stopProducing(self) -> None:
        """Called by the transport when it has lost its connection: there is nothing to stop."""

    def wshub_send_last(self) -> None:
        """Nothing more will come: give the transport all that waits, so that it may close when it has sent it."""
        self._wshub_is_not_full()
        backlog, self.wshub_backlog = self.wshub_backlog, None
        while backlog is not None and not backlog.is_empty:
            self.transport.write(backlog.take())
        self.wshub_link.release(self.wshub_id)

    def wshub_look_for_progress(self, now: float) -> None:
        """Called once in a while as long as the transport is full: what it gets rid of, the client's end has taken."""
        left = self._wshub_count_left()
        if left != self.wshub_left:
            self.wshub_took, self.wshub_left = now, left

    def _wshub_is_not_full(self) -> None:
        self.wshub_is_full = False
        self.factory.wshub_full.discard(self)

    def _wshub_count_left(self) -> int:
        """Bytes that the transport has yet to give to the socket."""
        transport = getattr(self.transport, "transport", self.transport)  # what is under TLS
        left: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return left
