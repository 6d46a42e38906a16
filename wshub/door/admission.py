"""Who gets a connection, a service and a page's WebSocket: every decision at the door that the settings make.

One `Admission` is the port's; each connection has an `Entry`, in which it is remembered what was counted for it.
"""

from dataclasses import dataclass, replace

from wshub.config import Settings
from wshub.door.handshake import Head
from wshub.door.limits import ConnectionLimits
from wshub.door.origins import OriginPolicy
from wshub.door.proxies import Networks, Source, find_source
from wshub.errors import HubFull, ServiceFull
from wshub.processes.link import ServiceLink


@dataclass(slots=True)
class Entry:
    """One connection at the door."""

    source: Source
    """Where it comes from, as far as is known by now."""
    is_counted: bool = False
    key: str = ""
    """What it is counted as among those from its address, once its address is known; see `ConnectionLimits`."""
    needs_proxy_header: bool = False
    """Whether the PROXY protocol's header is still to come."""


class Admission:
    """Lets connections in, and keeps count of them."""

    def __init__(self, settings: Settings) -> None:
        self._trusted = Networks(settings.trusted_proxies)
        self._limits = ConnectionLimits(
            settings.max_connections, settings.max_connections_per_address, Networks(settings.unlimited_addresses)
        )
        self._origins = OriginPolicy(settings.origins, settings.require_origin)
        self._family = settings.proxy_headers
        self._max_clients = settings.max_clients_per_service
        self._proxy_protocol = settings.proxy_protocol

    def enter(self, entry: Entry, is_short: bool) -> None:
        """A connection has been made. `is_short` says that there are hardly any descriptors left.

        Raise `HubFull` or `AddressFull`. A trusted proxy has many clients: they are counted when it says who they are.
        """
        if is_short:
            raise HubFull("too few descriptors")
        self._limits.enter()
        entry.is_counted = True
        if entry.source.host not in self._trusted:
            self._count_address(entry)
        else:
            entry.needs_proxy_header = self._proxy_protocol

    def hear_proxy(self, entry: Entry, address: tuple[str, int] | None) -> None:
        """The PROXY protocol's header has come; `address` is what `read_proxy_header` says. Raise `AddressFull`."""
        entry.needs_proxy_header = False
        if address is not None:
            entry.source = replace(entry.source, host=address[0], port=address[1])
            if address[0] not in self._trusted:
                self._count_address(entry)

    def hear_head(self, entry: Entry, head: Head) -> None:
        """The head of the request has come, and perhaps says who the client is. Raise `AddressFull`."""
        if entry.source.host in self._trusted:
            entry.source = find_source(entry.source, head.headers, self._trusted, self._family)
            if entry.source.host not in self._trusted:
                self._count_address(entry)

    def check_origin(self, entry: Entry, headers: dict[str, str]) -> None:
        """Raise `HandshakeError` unless the page that asks, if any, may connect."""
        source = entry.source
        self._origins.check(headers.get("origin"), source.authority or headers["host"], source.scheme)

    def allow_origin(self, origin: str) -> None:
        """Let pages of one more origin connect."""
        self._origins.allow(origin)

    def allows_origin(self, origin: str) -> bool:
        """Whether pages of this origin may connect, even if it is not the hub's own."""
        return self._origins.allows(origin)

    def check_service(self, link: ServiceLink) -> None:
        """Raise `ServiceFull` if the service has as many clients as it may."""
        if link.client_count >= self._max_clients:
            raise ServiceFull

    @property
    def connection_count(self) -> int:
        """How many connections there are, with or without a request."""
        return self._limits.count

    def leave(self, entry: Entry) -> None:
        """The connection is gone."""
        if entry.is_counted:
            entry.is_counted = False
            self._limits.leave()
            self._limits.leave_from(entry.key)
            entry.key = ""

    def _count_address(self, entry: Entry) -> None:
        entry.key = self._limits.enter_from(entry.source.host)
