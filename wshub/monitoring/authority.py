"""Under which names a browser reaches the admin interface and the services, and which pages are the console's own.

A page of any site may be given an address of this machine by its name server (DNS rebinding): its requests then go to
the admin interface, with that site's name as Host. So an interface that is only for this machine answers to this
machine's names alone.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

from wshub.monitoring.admin_endpoint import is_loopback

_HOST = re.compile(r"([a-z0-9._-]{1,253}|\[[0-9a-f:.]{2,45}\])(?::[0-9]{1,5})?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class PublicPort:
    """A TCP port at which the services can be reached."""

    host: str
    """The address that it listens at; that of every interface, such as 0.0.0.0, included."""
    port: int
    is_secure: bool
    """Whether it does TLS itself."""

    def url(self, name: str) -> str:
        """Where a browser finds it that knows this machine as `name`, without a path."""
        host = name if self._is_everywhere() else f"[{self.host}]" if ":" in self.host else self.host
        return f"{'wss' if self.is_secure else 'ws'}://{host}:{self.port}"

    def _is_everywhere(self) -> bool:
        try:
            return ip_address(self.host).is_unspecified
        except ValueError:
            return False


def parse_host(header: str) -> str | None:
    """The host of a Host header, in lower case, an IPv6 address in its brackets; None if it is none."""
    match = _HOST.fullmatch(header)
    return match[1].lower() if match else None


def is_this_machine(header: str) -> bool:
    """Whether a Host header names the machine that the request is sent from: localhost, or a loopback address."""
    host = parse_host(header)
    return host is not None and is_loopback(host.strip("[]"))


def console_origins(host: str, port: int, is_secure: bool = False) -> tuple[str, ...]:
    """The origins of a console whose interface listens at this address: none unless it is for this machine alone."""
    if not is_loopback(host):
        return ()
    scheme, own = "https" if is_secure else "http", f"[{host}]" if ":" in host else host
    return f"{scheme}://{own}:{port}", f"{scheme}://localhost:{port}"


def public_urls(ports: Iterable[PublicPort], header: str) -> list[str]:
    """Where the services are for a browser that has sent this Host header."""
    name = parse_host(header) or "localhost"
    return [port.url(name) for port in ports]
