"""Where the admin interface listens, and whether whoever asks there needs a token.

=================================  ==========================================================================
``unix:/run/wshub/admin``          a Unix socket, for the user who starts the hub unless ``mode=`` says otherwise
``9187``                           a port of 127.0.0.1; with a token, as every user of the machine can reach it
``tcp:9187:interface=10.0.0.1``    any other endpoint of Twisted's; its token has to be among the settings
=================================  ==========================================================================
"""

import re
from dataclasses import dataclass
from ipaddress import ip_address

MODE = "600"  # of a Unix socket
LEAST_TOKEN = 16  # characters


@dataclass(frozen=True)
class AdminEndpoint:
    """An endpoint for the admin interface."""

    description: str
    """As Twisted's `serverFromString` wants it."""
    needs_token: bool


def parse_admin(admin: str, token: str) -> AdminEndpoint | None:
    """What the settings `admin` and `admin_token` mean; None for no interface. Raise `ValueError`, one sentence."""
    if token and not (len(token) >= LEAST_TOKEN and re.fullmatch(r"[\w.~+/=-]+", token, re.ASCII)):
        raise ValueError(f"admin_token must be {LEAST_TOKEN} characters or more: letters, digits, and -._~+/=")
    if not admin:
        return None
    if admin.isdecimal():
        if not 0 < int(admin) < 65536:
            raise ValueError(f"admin: {admin} is not a port: choose one from 1 to 65535")
        admin = f"tcp:{admin}:interface=127.0.0.1"
    kind, *arguments = re.split(r"(?<!\\):", admin)
    named = dict(each.split("=", 1) for each in arguments if "=" in each)
    if kind == "unix":
        return AdminEndpoint(admin if "mode" in named else f"{admin}:mode={MODE}", bool(token))
    if not token and not (kind in ("tcp", "tcp6") and is_loopback(named.get("interface", "").replace("\\", ""))):
        raise ValueError(
            f"admin: others than this machine may reach {admin}: set admin_token, "
            "or listen at a unix: endpoint or at interface=127.0.0.1"
        )
    return AdminEndpoint(admin, True)


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach what listens at this address."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
