"""The time during which messages are counted, and what was used in it."""

import time
from array import array
from typing import Any

from bench.process import cpu_seconds, machine_cpu_seconds


class Window:
    """Opened after the warm-up, closed at the end; the figures are of what lies between."""

    def __init__(self, server_pid: int) -> None:
        self._pid = server_pid
        self.open()

    def open(self) -> None:
        """Begin to count."""
        self.latencies = array("d")
        self._hub, self._service = cpu_seconds(self._pid)
        self._client = time.process_time()
        self._machine = machine_cpu_seconds()
        self._begun = time.perf_counter()

    def close(self, count: int) -> dict[str, Any]:
        """The figures for `count` messages, deliveries or connections.

        Times are in microseconds; `latencies` holds seconds. The `cores` are processor seconds per second:
        the server's, the load's, and what all other processes of the machine took meanwhile.
        """
        seconds = time.perf_counter() - self._begun
        client = time.process_time() - self._client
        machine = machine_cpu_seconds() - self._machine
        hub, service = cpu_seconds(self._pid)
        hub -= self._hub
        service -= self._service
        return {
            "count": count,
            "seconds": seconds,
            "rate": count / seconds,
            "cpu": (hub + service) / max(count, 1) * 1e6,
            "cpu_hub": hub / max(count, 1) * 1e6,
            "cpu_service": service / max(count, 1) * 1e6,
            "server_cores": (hub + service) / seconds,
            "client_cores": client / seconds,
            "other_cores": max(0.0, machine - client - hub - service) / seconds,
            **percentiles(self.latencies),
        }


def percentiles(latencies: "array[float]") -> dict[str, float]:
    """The median and the 99th percentile, in microseconds."""
    if not latencies:
        return {}
    ordered = sorted(latencies)
    return {"p50": ordered[len(ordered) // 2] * 1e6, "p99": ordered[len(ordered) * 99 // 100] * 1e6}
