"""Ports: opened, described, and paused while there are no descriptors, instead of being told so without end.

A port that cannot accept is reported as readable in every turn of the reactor: Twisted's would take all of a
processor, or close whoever waits and write a line for each. So before each connection it is made sure that there is a
descriptor for it; if not, the port is not watched for a while, and whoever connects waits in the kernel's queue.
"""

import errno
import os
import re
from functools import partial
from typing import Any

from twisted.internet import tcp, unix
from twisted.internet.endpoints import serverFromString
from twisted.logger import Logger
from twisted.python.failure import Failure

from wshub.door import descriptors
from wshub.door.port_holder import find_holder
from wshub.errors import ConfigError
from wshub.terminal import escape
from wshub.throttle import LineThrottle

BACKLOG = 1024  # connections that wait to be accepted; Twisted's 50 keeps a crowd waiting for TCP's retries of a second
PAUSE = 0.2  # seconds
FEW = 1000  # descriptors; from here on it is asked anew before each connection
MOST = 8  # connections that it accepts in one turn: those too many are closed only when the turn is over


class PatientPort:
    """Stands before a listening port of Twisted's, whose `doRead` it takes the place of."""

    def __init__(self, reactor: Any, port: Any) -> None:
        self._reactor = reactor
        self._port = port
        self._accept = port.doRead
        self._throttle = LineThrottle()
        self._log = Logger(namespace="wshub")
        port.doRead = self._do_read

    def _do_read(self) -> None:
        port = self._port
        if (room := descriptors.find_room()) > FEW:
            port.numberAccepts = MOST
            self._accept()
            return
        for _ in range(MOST):
            if not room:
                self._pause()
                return
            before, port.numberAccepts = port.sessionno, 1
            self._accept()
            if port.sessionno == before:
                return  # nobody waits any more
            room = descriptors.find_room()

    def _pause(self) -> None:
        self._port.stopReading()
        self._reactor.callLater(PAUSE, self._resume)
        left_out = self._throttle.admit("no descriptors", self._reactor.seconds())
        if left_out is not None:
            self._log.warn("no descriptors left: accepting no connections for {seconds} seconds", seconds=PAUSE)

    def _resume(self) -> None:
        if self._port.connected and not self._port.disconnecting:
            self._port.startReading()


def open_port(reactor: Any, description: str, factory: Any, setting: str) -> Any:
    """Listen at an endpoint. Raise `ConfigError`, which names the setting to change, if it cannot be had."""
    ports: list[Any] = []
    failures: list[Failure] = []
    try:
        endpoint = serverFromString(reactor, description)
    except (ValueError, LookupError, TypeError, AttributeError, OSError, ImportError) as mistake:  # of its parser
        raise ConfigError(
            f"{setting}: {escape(description)} is no port number and no endpoint description: {escape(str(mistake))}"
        ) from None
    endpoint.listen(factory).addCallbacks(ports.append, failures.append)
    for failure in failures:  # it fires at once for every endpoint that needs no connection of its own
        error = getattr(failure.value, "socketError", failure.value)
        reason = getattr(error, "strerror", None) or str(error)
        if getattr(error, "errno", None) == errno.EADDRINUSE:
            reason += describe_holder(getattr(failure.value, "port", None))
        where = describe_endpoint(description)
        raise ConfigError(f"cannot listen at {where}: {reason}; choose another with --{setting}")
    port = ports[0]
    if hasattr(port, "socket"):
        port.socket.listen(BACKLOG)
    if description.startswith("systemd:") and isinstance(port, unix.Port):
        # A port of Twisted's removes the path at its end; but it is systemd's, which listens there for the next hub.
        port.connectionLost = partial(tcp.Port.connectionLost, port)  # type: ignore[method-assign]
    if hasattr(port, "doRead"):
        PatientPort(reactor, port)
    return port


def describe_endpoint(description: str) -> str:
    """Where somebody wants to listen, in words if it is a port of TCP."""
    tcp = re.fullmatch(r"tcp:(\d+)(?::interface=(.+))?", description)
    if not tcp:
        return description
    port, host = tcp.groups()
    return f"port {port}" + (f" of {host.replace(chr(92), '')}" if host else "")


def describe_address(address: Any, scheme: str = "http") -> str:
    """An address as one types it into a browser, as far as that goes."""
    host = getattr(address, "host", None)
    if host is None:
        name = getattr(address, "name", None)
        return f"unix:{os.fsdecode(name)}" if name else str(address)
    if host in ("0.0.0.0", "::"):
        host = "localhost"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{address.port}/"


def describe_holder(port: object) -> str:
    """Who has the port, if it is one of TCP and that can be known: what follows "Address already in use"."""
    holder = find_holder(port) if isinstance(port, int) else None
    return f" by process {holder[0]}, {escape(holder[1])}" if holder else ""
