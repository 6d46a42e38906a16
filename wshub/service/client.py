"""One connected client, as a service sees it."""

from __future__ import annotations

from enum import IntEnum
from types import SimpleNamespace

from wshub.service.channel import Channel, Message
from wshub.service.opening import parse_cookies, parse_headers
from wshub.wire import CLOSE
from wshub.wire.payloads import encode_close

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

RESUMED_SIZE = 7  # what `decode_for_service` gives of a client that has come from another process


class Sent(IntEnum):
    """What became of a message, as far as the service can know: a peer may vanish at any time without a word."""

    DROPPED = 0
    """Nothing: the client has gone, or is closing."""
    WAITING = 1
    """The client is slow: it waits in the hub with those before it, where the service's `slow_clients` applies."""
    SENT = 2
    """It is on its way."""


DROPPED, WAITING, SENT = Sent


class Reached(int):
    """How many clients a broadcast is for; `waiting`, how many of them are slow."""

    waiting = 0


class Client:
    """One connected client. `state` is the service's own: any attribute may be set on it.

    `path`, `query`, `headers`, `cookies` and `address` are those of the request with which it connected.
    """

    __slots__ = ("_channel", "_opening", "_state", "id", "inbox", "is_closing", "is_open", "is_slow")

    def __init__(
        self, socket_id: int, opening: tuple[Any, ...], channel: Channel, state: SimpleNamespace | None = None
    ) -> None:
        self.id = socket_id
        """A number from 1 up, never used twice by one service process."""
        self.is_open = True
        """False once either side has closed: nothing can be sent, and no message comes any more."""
        self.is_closing = False
        """True once the service has closed it, by `close` or because a hook raised."""
        self.is_slow = False
        """True while messages for it wait in the hub, because it does not read as fast as it is sent to."""
        self.inbox: Any = None  # AsyncService's: what waits for this client's turn
        self._opening = opening
        self._state = state
        self._channel = channel

    def send(self, data: Message) -> Sent:
        """Send a message: text if `data` is `str`, else binary. Return what became of it; do not wait for the client.

        Raise `TypeError` if it is neither, `ValueError` at text that has no UTF-8 form or at more than 32 MiB.
        """
        if not self.is_open:
            return DROPPED
        self._channel.send(self.id, data)
        return WAITING if self.is_slow else SENT

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection with a status code (RFC 6455, section 7.4) and a reason of at most 123 bytes of UTF-8.

        No message of this client arrives after this; `on_close` does, once the connection is really closed. Raise
        `ValueError` at a code that no close frame may carry.
        """
        payload = encode_close(code, reason)
        self.is_closing = True
        if self.is_open:
            self._channel.post(CLOSE, self.id, payload)
            self._channel.everybody = None
            self.is_open = False

    @property
    def resumed(self) -> bool:
        """Whether it was connected before, to the process of this service that this one has replaced."""
        return len(self._opening) == RESUMED_SIZE

    @property
    def address(self) -> tuple[str, int]:
        """Host and port of the client, or of a proxy that the hub does not trust; ``("", 0)`` on a Unix socket."""
        host, port = self._opening[:2]
        return host, port

    @property
    def path(self) -> str:
        """The URL's path, as it was sent."""
        return str(self._opening[2])

    @property
    def query(self) -> str:
        """The URL's query, as it was sent, without the question mark; `urllib.parse.parse_qs` takes it apart."""
        return str(self._opening[3])

    @property
    def headers(self) -> dict[str, str]:
        """The handshake request's headers by name, in lower case; values of one name have a comma between them."""
        # Kept as one text, because a thousand idle clients have a thousand of it.
        return parse_headers(self._opening[4])

    @property
    def cookies(self) -> dict[str, str]:
        """The cookies of the handshake request by name. Malformed ones are left out."""
        return parse_cookies(self.headers)

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol agreed upon: one of the service's `subprotocols`, or an `Accept`'s; or None."""
        subprotocol: str | None = self._opening[5]
        return subprotocol

    @property
    def state(self) -> SimpleNamespace:
        """A place for whatever the service wants to remember about this client."""
        if self._state is None:
            self._state = SimpleNamespace()
        return self._state

    def __repr__(self) -> str:
        return f"<Client {self.id} {self.address[0]}:{self.address[1]}>"
