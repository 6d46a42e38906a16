"""The receiving half of a `HubProtocol`: bytes from the socket, plain frames out of them, messages for the link.

While the connection is a plain socket, the poller says when there is something and it is read here, past Twisted; where
it is not, which is TLS, Twisted reads. Whatever is not a plain frame between messages goes to Autobahn.
"""

from collections.abc import Callable
from typing import Any

from twisted.internet.tcp import Connection

from wshub import wire
from wshub.processes.link import ServiceLink
from wshub.sockets.frames import BINARY, TEXT, FrameReader
from wshub.sockets.rate import Rate

READ_SIZE = 128 << 10  # bytes; two messages of 64 KiB, or one and its header
KINDS = {TEXT: wire.DATA, BINARY: wire.BINARY}
POLICY_VIOLATION = 1008


class Inbound:
    """Mixed into Autobahn's protocol."""

    factory: Any
    transport: Any
    state: int
    STATE_OPEN: int
    STATE_CLOSED: int
    data: bytes  # these three are Autobahn's: what is left of a read, and whether it is within something
    inside_message: bool
    current_frame: Any
    _dataReceived: Callable[[bytes], None]
    _fail_connection: Callable[[int, str], None]
    wshub_link: ServiceLink
    wshub_id: int
    wshub_move: Any
    wshub_is_full: bool
    wshub_took: float
    wshub_set_direct: Callable[[Any], None]
    wshub_frames: FrameReader
    wshub_fd = -1
    """The socket's descriptor, while it is one of the poller's."""
    wshub_receive: Callable[[int], bytes]
    """The socket's `recv`, while it is one of the poller's."""
    wshub_heard = 0.0
    """When anything last came, as `HubFactory.wshub_now` had it."""
    wshub_max_plain = 0
    """The size of the largest plain frame that is taken past Autobahn."""
    wshub_rate: Rate | None = None

    # Bytes.

    def _wshub_readable(self) -> None:
        """Called by the poller."""
        try:
            data = self.wshub_receive(READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.dataReceived(data)
        else:
            self._wshub_stop_polling()
            self.transport.startReading()  # the reactor will meet the same, and close in its own way

    def dataReceived(self, data: bytes) -> None:
        self.wshub_heard = self.factory.wshub_now
        if self.state == self.STATE_OPEN and not (self.inside_message or self.current_frame or self.data):
            data = self.wshub_frames.read(data, self.wshub_max_plain, self._wshub_take)
            if data:
                self._dataReceived(data)
        elif self.state != self.STATE_CLOSED:  # over TLS more may come until the client has closed, too: for nobody
            self._dataReceived(self.wshub_frames.give_back() + data)

    # Messages.

    def _wshub_take(self, opcode: int, message: bytes | bytearray) -> None:
        self.wshub_link.message(KINDS[opcode], self.wshub_id, message)

    def wshub_take_limited(self, opcode: int, message: bytes | bytearray) -> None:
        """What `_wshub_take` is where there is a `max_message_rate`."""
        if self.state != self.STATE_OPEN:
            return  # it was among those that came with one too many
        if self.wshub_rate is None:
            self.wshub_rate = Rate(self.factory.wshub_settings.max_message_rate)
        if self.wshub_rate.is_exceeded(self.factory.reactor.seconds()):
            self._fail_connection(POLICY_VIOLATION, "Too many messages.")
        else:
            self.wshub_link.message(KINDS[opcode], self.wshub_id, message)

    # Whether it is read at all.

    def _wshub_start_polling(self) -> None:
        transport = self.transport
        if self.wshub_fd < 0 and isinstance(transport, Connection) and not transport.TLS:
            self.wshub_fd = transport.fileno()
            self.wshub_receive = transport.socket.recv
            transport.stopReading()  # type: ignore[no-untyped-call]
            self.factory.wshub_poller.add(self.wshub_fd, self._wshub_readable)

    def _wshub_stop_polling(self) -> None:
        if self.wshub_fd >= 0:
            self.factory.wshub_poller.remove(self.wshub_fd)
            self.wshub_fd = -1
            self.wshub_set_direct(None)

    def wshub_pause(self) -> None:
        """Called by the link: the service has more than enough to read."""
        if self.wshub_fd >= 0:
            self.factory.wshub_poller.pause(self.wshub_fd)
        else:
            self.transport.pauseProducing()

    def wshub_resume(self) -> None:
        """Called by the link: the service has caught up."""
        if self.wshub_move:
            return  # it is read from again when it has gone
        self.wshub_heard = self.factory.wshub_now
        if self.wshub_fd >= 0:
            self.factory.wshub_poller.resume(self.wshub_fd)
        else:
            self.transport.resumeProducing()

    def wshub_last_sign(self, now: float) -> float:
        """Called by `Keepalive`: when it last said anything, or took something of what waits for it.

        While it takes nothing it may say what it will. While the service does not keep up, nothing is read from its
        clients, and their silence says nothing.
        """
        if self.wshub_link.is_paused or self.wshub_move:
            self.wshub_heard = now
        return self.wshub_took if self.wshub_is_full else max(self.wshub_heard, self.wshub_took)
