"""What a service's class declares about itself, as READY brings it to the hub: text, which the hub does not trust."""

import math
from dataclasses import dataclass

from wshub.errors import WireError
from wshub.wire import RESTARTS, SLOW_CLIENTS

MAX_FILES = 1000
"""The most files of a service that are watched."""

MAX_SUBPROTOCOLS = 1000
"""The most subprotocols of a service: for each client they are looked through."""


@dataclass(frozen=True)
class Declared:
    """A service's own wishes. Times are in seconds."""

    subprotocols: tuple[str, ...] = ()
    restart: str = "transient"
    """After which of its ends it is to be started again: see the reference of the kit."""
    hang_timeout: float = 0.0
    """How long it may give no sign of life; 0 if it gives none."""
    idle_timeout: float | None = None
    """How long it may be without clients, 0 for ever; None if that is the hub's to say."""
    slow_clients: str = "close"
    """What happens to a client that does not read as fast as it is sent to: see `wshub.sockets.backlog`."""
    on_request: bool = False
    """Whether it wants to be asked about each client before it is one."""
    resumes: bool = False
    """Whether it takes over the clients of the process before it."""
    files: tuple[str, ...] = ()
    """What its process has imported from the folder of services besides its module, by name below that folder."""


def parse_declared(lines: dict[str, str]) -> Declared:
    """What the lines of READY say; unknown names are passed over. Raise `WireError` at a value that cannot be."""
    restart = lines.get("restart", "transient")
    if restart not in RESTARTS:
        raise WireError("a READY whose restart is none of " + ", ".join(RESTARTS))
    slow_clients = lines.get("slow_clients", "close")
    if slow_clients not in SLOW_CLIENTS:
        raise WireError("a READY whose slow_clients is none of " + ", ".join(SLOW_CLIENTS))
    subprotocols = tuple(filter(None, lines.get("subprotocols", "").split(",")))
    if len(subprotocols) > MAX_SUBPROTOCOLS:
        raise WireError(f"a READY with {len(subprotocols)} subprotocols")
    return Declared(
        subprotocols=subprotocols,
        restart=restart,
        slow_clients=slow_clients,
        on_request=lines.get("on_request") == "yes",
        resumes=lines.get("resumes") == "yes",
        files=tuple(filter(None, lines.get("files", "").split("\t")[:MAX_FILES])),
        hang_timeout=_seconds(lines, "hang_timeout") or 0.0,
        idle_timeout=_seconds(lines, "idle_timeout"),
    )


def _seconds(lines: dict[str, str], name: str) -> float | None:
    if name not in lines:
        return None
    try:
        seconds = float(lines[name])
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise WireError(f"a READY whose {name} is no number of seconds")
    return seconds
