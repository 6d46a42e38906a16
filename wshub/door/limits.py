"""How many connections there may be: in all, and from one address.

Counting begins when TCP has accepted a connection, so that one which never sends a request counts too. An IPv6 address
counts with all others of its /64: that is the least that one customer of a provider gets (RFC 6177), and each of its
addresses costs him nothing.
"""

from functools import lru_cache

from wshub.door.proxies import Networks, parse_address
from wshub.errors import AddressFull, HubFull

IPV6_BITS = 64  # of an address, that tell one client from another


class ConnectionLimits:
    """Counts connections, and refuses those that are too many."""

    def __init__(self, in_all: int, per_address: int, unlimited: Networks) -> None:
        self.count = 0
        """Connections that there are."""
        self.by_address: dict[str, int] = {}
        """How many of them from each address, see `address_key`; of those that have any."""
        self._in_all = in_all
        self._per_address = per_address
        self._unlimited = unlimited

    def enter(self) -> None:
        """One more connection. Raise `HubFull`, and count nothing, if there may be no more."""
        if self.count >= self._in_all:
            raise HubFull
        self.count += 1

    def leave(self) -> None:
        """One connection that has entered is gone."""
        self.count -= 1

    def enter_from(self, host: str) -> str:
        """One more from this address, `""` where there are no addresses. Raise `AddressFull`, and count nothing.

        What is returned is for `leave_from`; it is empty if the address is not counted.
        """
        if not host or host in self._unlimited:
            return ""
        key = address_key(host)
        count = self.by_address.get(key, 0)
        if count >= self._per_address:
            raise AddressFull
        self.by_address[key] = count + 1
        return key

    def leave_from(self, key: str) -> None:
        """One that has entered from an address is gone."""
        if key:
            count = self.by_address.pop(key) - 1
            if count:
                self.by_address[key] = count


@lru_cache(maxsize=4096)
def address_key(host: str) -> str:
    """What an address is counted as: itself, or the /64 network of an IPv6 address."""
    address = parse_address(host)
    if address is None or address.version == 4:
        return str(address or host)
    prefix = int(address) >> (128 - IPV6_BITS) << (128 - IPV6_BITS)
    return f"{type(address)(prefix)}/{IPV6_BITS}"
