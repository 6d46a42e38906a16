"""What a hub and its services are at one moment, as it is shown."""

from dataclasses import dataclass

from wshub.accounting import Counts

STATES = ("idle", "starting", "running", "stopping", "failed", "crashing", "ended")
"""What `ServiceSupervisor.state` may say."""


@dataclass(frozen=True, slots=True)
class Usage:
    """What one process uses."""

    memory: int
    """Bytes that are its own: resident, and not of a file or shared."""
    cpu: float
    """Seconds of processor time since it began."""


@dataclass(frozen=True, slots=True)
class ServiceView:
    """One service at one moment."""

    route: str
    state: str
    clients: int
    counts: Counts
    pid: int | None = None
    """None if no process runs."""
    usage: Usage | None = None
    """None if there is no process, or it has gone meanwhile."""
    measured: float | None = None
    """When that was read, in seconds of Unix time."""
    waiting_for_service: int = 0
    """Bytes that wait in the hub for the pipe to its process."""
    draining: int = 0
    """Of the clients, those of processes that others have taken the place of."""
    waiting_for_clients: int = 0
    """Bytes that wait in the hub for clients that do not read."""


@dataclass(frozen=True, slots=True)
class HubView:
    """A hub at one moment."""

    version: str
    not_ready: tuple[str, ...]
    """Why it is not ready, if it is not."""
    began: float
    """Seconds of Unix time."""
    connections: int
    lag: float
    """Seconds: the most that a call of the reactor's was late, of late."""
    usage: Usage | None
    counts: Counts
    """Of what concerned no service."""
    services: tuple[ServiceView, ...]
    certificate_expiry: float | None = None
    """Until when the certificate of the hub's own TLS ports is valid, in seconds of Unix time; None without one."""
