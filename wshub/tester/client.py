"""One client of a service in a test."""

from __future__ import annotations

from collections.abc import Callable

from wshub.service.channel import Message, encode_message
from wshub.wire import CLOSE, DATA, SLOW
from wshub.wire.payloads import Transaction


class FakeClient:
    """A client that is connected to a service, from its own side.

    Attributes: `id`, what the service knows it by; `received`, the messages that have come and were not taken yet;
    `closed`, code and reason once the service has closed the connection; `subprotocol`, the one agreed upon;
    `response_headers`, pairs that came with the 101.
    """

    def __init__(self, socket_id: int, post: Callable[[Transaction], None]) -> None:
        self.id = socket_id
        self.received: list[str | bytes] = []
        self.closed: tuple[int, str] | None = None
        self.is_open = True
        """False once either side has closed."""
        self.subprotocol: str | None = None
        self.response_headers: tuple[tuple[str, str], ...] = ()
        self._post = post

    def send(self, *messages: Message) -> None:
        """Send messages, text if `str`, else binary, and let the service deal with them. Raise what a hook raises."""
        assert self.is_open, "this client is closed: it cannot send"
        for message in messages:
            encode_message(message)  # a mistake of the test is the test's
            self._post((DATA, self.id, message if isinstance(message, str) else bytes(message)))

    def receive(self) -> str | bytes:
        """Take the next message; `AssertionError` if there is none. Nothing is waited for: let time pass for that."""
        assert self.received, "nothing has come" + (f"; it was closed with {self.closed}" if self.closed else "")
        return self.received.pop(0)

    def receive_all(self) -> list[str | bytes]:
        """Take all messages that have come."""
        messages, self.received = self.received, []
        return messages

    def close(self, code: int = 1000, reason: str = "") -> None:
        """Close the connection. `on_close` gets the code and the reason."""
        if self.is_open:
            self.is_open = False
            self._post((CLOSE, self.id, (code, reason)))

    def lose(self) -> None:
        """Vanish without a word: `on_close` gets 1006."""
        self.close(1006)

    def stop_reading(self) -> None:
        """Be slow: from now on what is sent waits in the hub."""
        self._post((SLOW, self.id, True))

    def read_on(self) -> None:
        """Have read all that waited: `on_drain` is called."""
        self._post((SLOW, self.id, False))

    def __repr__(self) -> str:
        return f"<FakeClient {self.id}{'' if self.is_open else ', closed'}>"
