"""What systemd is told, by the protocol of sd_notify(3): ready, stopping, and that the reactor still turns.

systemd names a datagram socket in `NOTIFY_SOCKET`, in the abstract namespace if it begins with ``@``, and in
`WATCHDOG_USEC` how often it wants to hear from the process `WATCHDOG_PID` (sd_watchdog_enabled(3)).
"""

import os
import socket
from collections.abc import Mapping
from typing import Any


class Notifier:
    """Tells systemd; without systemd it does nothing. `environ` is looked at once."""

    def __init__(self, reactor: Any, environ: Mapping[str, str] = os.environ) -> None:
        self._reactor = reactor
        address = environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._interval = read_watchdog_interval(environ)
        self._call: Any = None

    def ready(self) -> None:
        """The hub listens, and its reactor runs."""
        self._tell("READY=1")
        if self._address and self._interval:
            self._live()

    def stopping(self) -> None:
        """It stops. That may take a while, in which it is still watched."""
        self._tell("STOPPING=1")

    def end(self) -> None:
        """It has stopped."""
        if self._call:
            self._call.cancel()
            self._call = None

    def _live(self) -> None:
        self._tell("WATCHDOG=1")
        self._call = self._reactor.callLater(self._interval, self._live)

    def _tell(self, state: str) -> None:
        if self._address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as channel:
                try:
                    channel.sendto(state.encode(), self._address)
                except OSError:
                    pass  # whoever listened is gone, or has more than enough to read; the next one may get through


def read_watchdog_interval(environ: Mapping[str, str], pid: int | None = None) -> float:
    """Seconds between two signs of life: half of what systemd waits; 0 if it does not."""
    if environ.get("WATCHDOG_PID", "") not in ("", str(pid or os.getpid())):
        return 0.0
    microseconds = environ.get("WATCHDOG_USEC", "")
    return int(microseconds) / 2e6 if microseconds.isdecimal() else 0.0
