"""A client's connection as its service's link has it, and the codes that the hub itself closes one with."""

from collections.abc import Callable
from typing import Any, Protocol

SERVICE_DIED = (1011, b"The service died.")
GOING_AWAY = (1001, b"The hub is stopping.")
RELOADED = (1012, b"The service is reloaded.")
ABNORMAL_CLOSURE = 1006  # never sent: what a service is told when a connection broke


class Socket(Protocol):
    """What a link wants of a client's connection."""

    wshub_direct: Callable[[bytes], int] | None
    """What sends bytes at once and says how many, as long as nothing stands in the way of that; raises `OSError`."""

    def wshub_send_rest(self, frames: list[bytes], sent: int) -> None:
        """Send what `wshub_direct` has left of `frames`, of which it has sent so many bytes."""

    def wshub_send(self, frames: list[bytes]) -> None:
        """Send messages, one a frame, each as `make_frame` makes it. Nothing happens if the connection is closing."""

    def wshub_pause(self) -> None:
        """Read no more: TCP tells the client in time."""

    def wshub_resume(self) -> None:
        """Read on."""

    def wshub_synced(self) -> None:
        """The service has dealt with everything that came before `sync`."""

    def wshub_hand_over(self, find: Callable[[], Any], done: Callable[[bool], object]) -> None:
        """Go to the link that `find` names, as soon as this one has dealt with everything; see `wshub.sockets.moving`.

        `done` is called once with whether it came to that.
        """

    def wshub_drop(self) -> None:
        """End the connection at once."""

    def wshub_finish(self, code: int, reason: bytes) -> None:
        """Close it once the service has answered what its client has said. Nothing happens if it is closing."""

    def wshub_close(self, code: int, reason: bytes) -> None:
        """Begin the closing handshake. Nothing happens if it has begun."""
