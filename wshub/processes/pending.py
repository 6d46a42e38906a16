"""The requests that a service has not answered yet: who is told when it does, or when it never will."""

from collections.abc import Callable
from dataclasses import dataclass

from wshub.answers import Headers, decode_accept, decode_refuse
from wshub.errors import HttpError, RequestRefused, WireError

Told = Callable[["Accepted | HttpError"], None]

# Why a request got no 101, as it is counted.
REFUSED = "refused by the service"
LATE = "not answered in time"
LEFT = "gone before the answer"
ENDED = "the service ended"


@dataclass(frozen=True, slots=True)
class Accepted:
    """A request that the service has accepted, and what goes with the 101."""

    socket_id: int
    subprotocol: str | None
    """None if the hub is to choose."""
    headers: Headers


class PendingRequests:
    """The requests of one service process, by id, each until it becomes a WebSocket or comes to nothing."""

    def __init__(self) -> None:
        self._waiting: dict[int, tuple[tuple[str, ...], Told]] = {}
        self._accepted: set[int] = set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._accepted)

    def add(self, socket_id: int, offered: tuple[str, ...], told: Told) -> None:
        """A request has been made by a client that offers these subprotocols; `told` is called once, or never."""
        self._waiting[socket_id] = offered, told

    def remove(self, socket_id: int) -> bool:
        """It has become a WebSocket, or never will; nobody is told. Return whether it was here."""
        was_accepted = socket_id in self._accepted
        self._accepted.discard(socket_id)
        return self._waiting.pop(socket_id, None) is not None or was_accepted

    def accept(self, socket_id: int, payload: bytes) -> None:
        """The service lets the client in. Raise `WireError` if it has done so already, or at what it may not say."""
        if socket_id in self._accepted:
            raise WireError("a second answer to a request")
        if socket_id not in self._waiting:
            return  # the client has gone meanwhile
        offered, told = self._waiting[socket_id]
        subprotocol, headers = decode_accept(payload, offered)
        del self._waiting[socket_id]
        self._accepted.add(socket_id)
        told(Accepted(socket_id, subprotocol, headers))

    def refuse(self, socket_id: int, payload: bytes) -> bool:
        """It does not. Raise `WireError` likewise; return whether anybody still waited for that."""
        if socket_id in self._accepted:
            raise WireError("a second answer to a request")
        if socket_id not in self._waiting:
            return False
        status, headers, text = decode_refuse(payload)
        _, told = self._waiting.pop(socket_id)
        told(RequestRefused(text, status, headers))
        return True

    def end(self, why: HttpError) -> list[int]:
        """The service will answer none of them: tell who waits. Return their ids."""
        waiting, self._waiting = self._waiting, {}
        for _, told in waiting.values():
            told(why)
        return list(waiting)
