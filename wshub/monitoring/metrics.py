"""What a hub does, as metrics for Prometheus, from what `wshub.monitoring.inspection` has found.

Labels are bounded: a service's route is that of a file, reasons and ways to die are the hub's own words, and close
codes that clients may choose are counted together. The names are in ``docs/reference/metrics.md``.
"""

from collections import Counter
from collections.abc import Iterable, Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from wshub.accounting import Counts
from wshub.monitoring.views import STATES, HubView

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

Labels = dict[str, str]
Sample = tuple[Labels, float]


def render(hub: HubView) -> str:
    """All of it in the text format."""
    return generate_latest(_Metrics(hub)).decode()


class _Metrics(Collector):
    """One look at a hub, as `prometheus_client` wants it."""

    def __init__(self, hub: HubView) -> None:
        self._hub = hub

    def collect(self) -> Iterator[Metric]:
        yield from _of_the_hub(self._hub)
        yield from _of_services(self._hub)


def _gauge(name: str, meaning: str, samples: Iterable[Sample]) -> Metric:
    return _fill(GaugeMetricFamily(name, meaning), name, samples)


def _counter(name: str, meaning: str, samples: Iterable[Sample]) -> Metric:
    return _fill(CounterMetricFamily(name, meaning), name, samples)


def _fill(family: Metric, name: str, samples: Iterable[Sample]) -> Metric:
    for labels, value in samples:
        family.add_sample(name, labels, value)
    return family


def _of_the_hub(hub: HubView) -> Iterator[Metric]:
    yield _gauge("wshub_info", "The version of the hub.", [({"version": hub.version}, 1)])
    yield _gauge("wshub_ready", "Whether the hub is ready, as /readyz says.", [({}, not hub.not_ready)])
    yield _gauge("wshub_connections", "Connections, with or without a request.", [({}, hub.connections)])
    yield _gauge("wshub_event_loop_lag_seconds", "The latest that a timer was in 15 seconds.", [({}, hub.lag)])
    yield _gauge("process_start_time_seconds", "When the hub began, in Unix time.", [({}, hub.began)])
    if usage := hub.usage:
        yield _counter("process_cpu_seconds_total", "Processor time of the hub.", [({}, usage.cpu)])
        yield _gauge("wshub_memory_bytes", "Memory of the hub's own.", [({}, usage.memory)])
    if (expiry := hub.certificate_expiry) is not None:
        yield _gauge("wshub_certificate_expiry_seconds", "Until when it is valid, in Unix time.", [({}, expiry)])


def _of_services(hub: HubView) -> Iterator[Metric]:
    each = [({"service": view.route}, view) for view in hub.services]
    running = [(labels, view.usage) for labels, view in each if view.usage]
    counts = [(labels, view.counts) for labels, view in each]
    with_hub = [({"service": ""}, hub.counts), *counts]
    yield _gauge("wshub_clients", "WebSockets that are open.", [(s, v.clients) for s, v in each])
    yield _counter("wshub_opened_total", "WebSockets that were opened.", [(s, c.opened) for s, c in counts])
    yield _counter("wshub_closed_total", "WebSockets that have ended, by close code.", _by_code(counts))
    for name, meaning, of in (
        ("refused", "Requests and connections that got no WebSocket.", with_hub),
        ("dropped", "Messages to clients that were not sent.", counts),
        ("deaths", "Processes that ended without being asked to.", counts),
    ):
        yield _counter(f"wshub_{name}_total", meaning, _by_reason(of, name))
    yield _counter("wshub_received_total", "Messages from clients.", [(s, c.messages_in) for s, c in counts])
    yield _counter("wshub_sent_total", "Messages to clients.", [(s, c.messages_out) for s, c in counts])
    yield _counter("wshub_starts_total", "Processes that were started.", [(s, c.starts) for s, c in counts])
    yield _counter("wshub_reloads_total", "New processes beside old ones, by what came of them.", _by_result(counts))
    yield _counter("wshub_handed_over_total", "WebSockets that went on.", [(s, c.handed_over) for s, c in counts])
    yield _gauge("wshub_draining_clients", "WebSockets of old processes.", [(s, v.draining) for s, v in each])
    yield _gauge(
        "wshub_service_state",
        "1 for the state that the service is in.",
        [({**labels, "state": state}, view.state == state) for labels, view in each for state in STATES],
    )
    yield _gauge("wshub_service_memory_bytes", "Memory of its process's own.", [(s, u.memory) for s, u in running])
    yield _counter("wshub_service_cpu_seconds_total", "Processor time.", [(s, u.cpu) for s, u in running])
    for whom, size in (("service", "waiting_for_service"), ("clients", "waiting_for_clients")):
        meaning = f"What waits in the hub for the {whom} to read it."
        yield _gauge(f"wshub_{size}_bytes", meaning, [(s, getattr(v, size)) for s, v in each])


def _by_code(counts: Iterable[tuple[Labels, Counts]]) -> list[Sample]:
    return [
        ({**labels, "code": code}, number)
        for labels, of in counts
        for code, number in sorted(group_codes(of.closed).items())
    ]


def _by_reason(counts: Iterable[tuple[Labels, Counts]], name: str) -> list[Sample]:
    return [
        ({**labels, "reason": reason}, number)
        for labels, of in counts
        for reason, number in sorted(getattr(of, name).items())
    ]


def _by_result(counts: Iterable[tuple[Labels, Counts]]) -> list[Sample]:
    return [
        ({**labels, "result": result}, number)
        for labels, of in counts
        for result, number in (("reloaded", of.reloads), ("failed", of.failed_reloads))
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
