"""The errors, in two families: ours, which somebody here can mend, and the peer's, which nobody here can.

::

    WshubError
    ├── LocalError
    │   ├── ConfigError             a setting is wrong                       exit code 1
    │   ├── HubFull                 there are too many connections           503, Retry-After
    │   └── ServiceUnavailable      no process can serve the request         HTTP status
    │       ├── ServiceNotFound     there is no such file                    404
    │       ├── ServiceFailed       it does not start                        500
    │       ├── ServiceCrashing     it died too often of late                503, Retry-After
    │       ├── ServiceFull         it has as many clients as it may         503, Retry-After
    │       ├── ServiceEnded        it is not to be started again            503
    │       ├── ServiceLate         it does not answer a request in time     504
    │       ├── ServiceReplaced     a newer process is to be asked           never seen
    │       ├── ServiceDied         it died before it answered one           502
    │       └── HubStopping         the hub is going down                    503
    └── RemoteError
        ├── RequestRefused          a service refuses a client's request     HTTP status, the service's choice
        ├── HandshakeError          a client's request cannot be served      HTTP status
        ├── AddressFull             too many connections from one address    429, Retry-After
        └── WireError               a service process broke the wire format  process killed, its clients get 1011

A status is said once, here; close codes of live connections are said once, in :mod:`wshub.processes.socket`.
"""

from __future__ import annotations

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

RETRY_LATER = ("Retry-After", "5")  # seconds, where nobody knows when there will be room


class WshubError(Exception):
    """Everything that wshub raises on purpose."""


class LocalError(WshubError):
    """Something on this side: a setting, a folder, a service."""


class ConfigError(LocalError):
    """A setting is wrong; the text is one sentence that says which and what to do."""


class RemoteError(WshubError):
    """Something that a peer sent."""


class HttpError(WshubError):
    """An error that a client is told of as an HTTP response instead of a 101 (RFC 6455, section 4.2.2).

    `status` is the status code, `headers` what goes with it. The text is meant for the client.
    """

    status = 500
    counted_as = ""
    """The reason in a few words, as `wshub.accounting` has it, where the status does not say it all."""

    def __init__(self, text: str, status: int | None = None, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(text)
        self.headers = headers
        if status is not None:
            self.status = status


class HubFull(LocalError, HttpError):
    """There are as many connections as there may be, or as the system has descriptors for."""

    status = 503
    counted_as = "too many connections"

    def __init__(self, counted_as: str = "") -> None:
        super().__init__("There are too many connections. Try again later.", headers=(RETRY_LATER,))
        self.counted_as = counted_as or self.counted_as


class ServiceUnavailable(LocalError, HttpError):
    """No service process can serve the request."""


class ServiceNotFound(ServiceUnavailable):
    """The URL names no service: no such file, or a name that no service can have."""

    status = 404

    def __init__(self, text: str = "No such service.") -> None:
        super().__init__(text)


class ServiceFailed(ServiceUnavailable):
    """The service's module does not start; why is in the log and not for the client."""

    status = 500

    def __init__(self) -> None:
        super().__init__("The service does not start. Its log says why.")


class ServiceCrashing(ServiceUnavailable):
    """The service died a moment ago, or too often of late; `retry_after` is in whole seconds, at least 1."""

    status = 503

    def __init__(self, retry_after: int) -> None:
        super().__init__(
            "The service is not available at the moment. Try again later.", headers=(("Retry-After", str(retry_after)),)
        )
        self.retry_after = retry_after


class ServiceFull(ServiceUnavailable):
    """The service has as many clients as it may have."""

    status = 503
    counted_as = "too many clients of the service"

    def __init__(self) -> None:
        super().__init__("The service has too many clients. Try again later.", headers=(RETRY_LATER,))


class ServiceEnded(ServiceUnavailable):
    """A `temporary` service has ended: it is not started again."""

    status = 503

    def __init__(self) -> None:
        super().__init__("The service has ended.")


class ServiceLate(ServiceUnavailable):
    """The service did not say in time whether it lets a client in."""

    status = 504

    def __init__(self) -> None:
        super().__init__("The service's on_request took too long.")


class ServiceDied(ServiceUnavailable):
    """The service ended before it said whether it lets a client in."""

    status = 502

    def __init__(self) -> None:
        super().__init__("The service died before it answered. Try again.")


class ServiceReplaced(ServiceUnavailable):
    """A newer process of the service is in the place of this one: whoever waits is to wait for `link` instead."""

    status = 503

    def __init__(self, link: Any) -> None:
        super().__init__("The service is being replaced. Try again.", headers=(RETRY_LATER,))
        self.link = link


class HubStopping(ServiceUnavailable):
    """The hub is stopping and starts nothing any more."""

    status = 503

    def __init__(self) -> None:
        super().__init__("The hub is stopping.")


class RequestRefused(RemoteError, HttpError):
    """The service does not let a client in; status, text and headers are its own."""


class HandshakeError(RemoteError, HttpError):
    """A client's request breaks HTTP or RFC 6455, or is not allowed."""

    status = 400


class AddressFull(RemoteError, HttpError):
    """There are as many connections from one address as there may be."""

    status = 429
    counted_as = "too many connections from one address"

    def __init__(self) -> None:
        super().__init__("There are too many connections from your address. Close some first.", headers=(RETRY_LATER,))


class WireError(RemoteError):
    """A service process sent bytes that are no batch, or said what it has no right to say."""
