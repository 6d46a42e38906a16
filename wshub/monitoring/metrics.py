"""What a hub does, in the text format of Prometheus (version 0.0.4), from what `wshub.monitoring.inspection` has found.

Labels are bounded: a service's route is that of a file, reasons and ways to die are the hub's own words, and close
codes that clients may choose are counted together. The names are in ``docs/reference/metrics.md``.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from wshub.accounting import Counts

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

STATES = ("idle", "starting", "running", "stopping", "failed", "crashing", "ended")
"""What `ServiceSupervisor.state` may say."""

Labels = dict[str, str]
Sample = tuple[Labels, float]


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


def render(hub: HubView) -> str:
    """All of it as text."""
    lines: list[str] = []
    for name, kind, help_text, samples in (*_of_the_hub(hub), *_of_services(hub)):
        lines += (f"# HELP {name} {help_text}", f"# TYPE {name} {kind}")
        lines += (f"{name}{_format_labels(labels)} {_format_value(value)}" for labels, value in samples)
    return "\n".join(lines) + "\n"


Family = tuple[str, str, str, Iterable[Sample]]


def _of_the_hub(hub: HubView) -> list[Family]:
    families: list[Family] = [
        ("wshub_info", "gauge", "The version of the hub.", [({"version": hub.version}, 1)]),
        ("wshub_ready", "gauge", "Whether the hub is ready, as /readyz says.", [({}, not hub.not_ready)]),
        ("wshub_connections", "gauge", "Connections, with or without a request.", [({}, hub.connections)]),
        ("wshub_event_loop_lag_seconds", "gauge", "The latest that a timer was in 15 seconds.", [({}, hub.lag)]),
        ("process_start_time_seconds", "gauge", "When the hub began, in Unix time.", [({}, hub.began)]),
    ]
    if usage := hub.usage:
        families += [
            ("process_cpu_seconds_total", "counter", "Processor time of the hub.", [({}, usage.cpu)]),
            ("wshub_memory_bytes", "gauge", "Memory of the hub's own.", [({}, usage.memory)]),
        ]
    return families


def _of_services(hub: HubView) -> list[Family]:
    each = [({"service": view.route}, view) for view in hub.services]
    running = [(labels, view.usage) for labels, view in each if view.usage]
    counts = [(labels, view.counts) for labels, view in each]
    with_hub = [({"service": ""}, hub.counts), *counts]
    states = [({**labels, "state": state}, view.state == state) for labels, view in each for state in STATES]
    closed = [
        ({**labels, "code": code}, number)
        for labels, of in counts
        for code, number in sorted(group_codes(of.closed).items())
    ]
    return [
        ("wshub_clients", "gauge", "WebSockets that are open.", [(s, v.clients) for s, v in each]),
        ("wshub_opened_total", "counter", "WebSockets that were opened.", [(s, c.opened) for s, c in counts]),
        ("wshub_closed_total", "counter", "WebSockets that have ended, by close code.", closed),
        *[
            (f"wshub_{name}_total", "counter", text, _by_reason(of, name))
            for name, text, of in (
                ("refused", "Requests and connections that got no WebSocket.", with_hub),
                ("dropped", "Messages to clients that were not sent.", counts),
                ("deaths", "Processes that ended without being asked to.", counts),
            )
        ],
        ("wshub_received_total", "counter", "Messages from clients.", [(s, c.messages_in) for s, c in counts]),
        ("wshub_sent_total", "counter", "Messages to clients.", [(s, c.messages_out) for s, c in counts]),
        ("wshub_starts_total", "counter", "Processes that were started.", [(s, c.starts) for s, c in counts]),
        (
            "wshub_reloads_total",
            "counter",
            "New processes beside old ones, by what came of them.",
            [
                ({**labels, "result": result}, number)
                for labels, of in counts
                for result, number in (("reloaded", of.reloads), ("failed", of.failed_reloads))
            ],
        ),
        ("wshub_handed_over_total", "counter", "WebSockets that went on.", [(s, c.handed_over) for s, c in counts]),
        ("wshub_draining_clients", "gauge", "WebSockets of old processes.", [(s, v.draining) for s, v in each]),
        ("wshub_service_state", "gauge", "1 for the state that the service is in.", states),
        ("wshub_service_memory_bytes", "gauge", "Memory of its process's own.", [(s, u.memory) for s, u in running]),
        ("wshub_service_cpu_seconds_total", "counter", "Processor time.", [(s, u.cpu) for s, u in running]),
        (
            "wshub_waiting_for_service_bytes",
            "gauge",
            "What waits in the hub for the service to read it.",
            [(s, v.waiting_for_service) for s, v in each],
        ),
        (
            "wshub_waiting_for_clients_bytes",
            "gauge",
            "What waits in the hub for clients that do not read.",
            [(s, v.waiting_for_clients) for s, v in each],
        ),
    ]


def _by_reason(counts: Iterable[tuple[Labels, Counts]], name: str) -> list[Sample]:
    return [
        ({**labels, "reason": reason}, number)
        for labels, of in counts
        for reason, number in sorted(getattr(of, name).items())
    ]


def group_codes(closed: Counter[int]) -> Counter[str]:
    """The same, with one name for all codes that applications may make up (RFC 6455, section 7.4.2)."""
    grouped: Counter[str] = Counter()
    for code, number in closed.items():
        if 1000 <= code <= 1015:
            grouped[str(code)] += number
        elif 3000 <= code <= 4999:
            grouped[f"{code // 1000}xxx"] += number
        else:
            grouped["other"] += number
    return grouped


def _format_labels(labels: Labels) -> str:
    if not labels:
        return ""
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in labels.items()) + "}"


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _format_value(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)
