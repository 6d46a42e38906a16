"""Descriptors: how many are left, and for whom the last ones are kept.

The system always gives the lowest number that is free. So there is a line for connections, and another for services:
whoever gets a number above his line is one too many, and gives it back. What is above the line of connections is thus
kept for services, which connections must not starve, and what is above that of services for what has to go on when
there is none to be had, such as the log.
"""

import os
import resource

FOR_SERVICES = 64
"""Kept from connections, at most; a quarter of all if there are few. A service process takes five."""

FOR_THE_HUB = 16
"""Kept from services too, at most; an eighth of all if there are few."""


def limit() -> int:
    """How many descriptors there can be (``ulimit -n``), as it is now."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft if soft != resource.RLIM_INFINITY else 1 << 30


def raise_limit(wanted: int) -> None:
    """Let there be `wanted` descriptors, or as many as whoever has started this process allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def line_for_connections() -> int:
    """The first descriptor that a connection may not have."""
    most = limit()
    return most - min(FOR_SERVICES, most // 4)


def is_short_for_connections(fd: int) -> bool:
    """Whether a connection with this descriptor is one too many."""
    return fd >= line_for_connections()


def is_short_for_services(fd: int) -> bool:
    """Whether a service process with this descriptor is one too many."""
    most = limit()
    return fd >= most - min(FOR_THE_HUB, most // 8)


def find_room() -> int:
    """About how many there are to be had: as many as lie above the lowest free number, or 0 if next to none.

    It tries: also the whole system may have no more.
    """
    try:
        fd = os.eventfd(0, os.EFD_CLOEXEC)
    except OSError:
        return 0
    os.close(fd)
    return max(0, limit() - 2 - fd)
