"""Metrics: read back by Prometheus's own parser."""

import json
import re
from collections import Counter
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from wshub.accounting import Counts
from wshub.monitoring.metrics import group_codes, render
from wshub.monitoring.views import STATES, HubView, ServiceView, Usage

CHECKOUT = Path(__file__).parents[2]
CHAT = ServiceView(
    route="/chat",
    state="running",
    clients=3,
    counts=Counts(
        opened=5,
        closed=Counter({1000: 1, 4001: 2, 4999: 1}),
        refused=Counter({"too many clients of the service": 4}),
        messages_in=10,
        messages_out=20,
        dropped=Counter({"slow client": 6}),
        starts=2,
        reloads=12,
        failed_reloads=13,
        handed_over=14,
        deaths=Counter({"by signal SIGKILL": 1}),
    ),
    pid=4711,
    usage=Usage(1 << 20, 1.25),
    draining=15,
    waiting_for_service=7,
    waiting_for_clients=8,
)
IDLE = ServiceView(route="/idle", state="idle", clients=0, counts=Counts())
HUB = HubView(
    version="1.2",
    not_ready=(),
    began=1795476469.5,
    connections=9,
    lag=0.125,
    usage=Usage(2 << 20, 3.5),
    counts=Counts(refused=Counter({"not found": 11})),
    services=(CHAT, IDLE),
    certificate_expiry=1795476470.25,
)


def read(hub: HubView) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """The samples of the text, by name and labels."""
    samples = {}
    for family in text_string_to_metric_families(render(hub)):
        assert family.documentation
        assert family.type in ("gauge", "counter")
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples
            samples[key] = sample.value
    return samples


@pytest.mark.parametrize(
    ("name", "labels", "value"),
    [
        ("wshub_info", {"version": "1.2"}, 1),
        ("wshub_ready", {}, 1),
        ("wshub_connections", {}, 9),
        ("wshub_event_loop_lag_seconds", {}, 0.125),
        ("process_start_time_seconds", {}, 1795476469.5),
        ("process_cpu_seconds_total", {}, 3.5),
        ("wshub_memory_bytes", {}, 2 << 20),
        ("wshub_certificate_expiry_seconds", {}, 1795476470.25),
        ("wshub_clients", {"service": "/chat"}, 3),
        ("wshub_clients", {"service": "/idle"}, 0),
        ("wshub_opened_total", {"service": "/chat"}, 5),
        ("wshub_closed_total", {"service": "/chat", "code": "1000"}, 1),
        ("wshub_closed_total", {"service": "/chat", "code": "4xxx"}, 3),
        ("wshub_refused_total", {"service": "/chat", "reason": "too many clients of the service"}, 4),
        ("wshub_refused_total", {"service": "", "reason": "not found"}, 11),
        ("wshub_dropped_total", {"service": "/chat", "reason": "slow client"}, 6),
        ("wshub_deaths_total", {"service": "/chat", "reason": "by signal SIGKILL"}, 1),
        ("wshub_received_total", {"service": "/chat"}, 10),
        ("wshub_sent_total", {"service": "/chat"}, 20),
        ("wshub_starts_total", {"service": "/chat"}, 2),
        ("wshub_reloads_total", {"service": "/chat", "result": "reloaded"}, 12),
        ("wshub_reloads_total", {"service": "/chat", "result": "failed"}, 13),
        ("wshub_handed_over_total", {"service": "/chat"}, 14),
        ("wshub_draining_clients", {"service": "/chat"}, 15),
        ("wshub_service_state", {"service": "/chat", "state": "running"}, 1),
        ("wshub_service_state", {"service": "/chat", "state": "idle"}, 0),
        ("wshub_service_state", {"service": "/idle", "state": "idle"}, 1),
        ("wshub_service_memory_bytes", {"service": "/chat"}, 1 << 20),
        ("wshub_service_cpu_seconds_total", {"service": "/chat"}, 1.25),
        ("wshub_waiting_for_service_bytes", {"service": "/chat"}, 7),
        ("wshub_waiting_for_clients_bytes", {"service": "/chat"}, 8),
    ],
)
def test_samples(name: str, labels: dict[str, str], value: float) -> None:
    """Each figure is where the reference says."""
    assert read(HUB)[name, frozenset(labels.items())] == value


def test_every_metric_has_a_sample_above() -> None:
    """No metric is untested."""
    assert {name for name, _ in read(HUB)} == {
        mark[0]
        for mark in test_samples.pytestmark[0].args[1]  # type: ignore[attr-defined]
    }


def test_reference_and_dashboard_have_the_same_names() -> None:
    """The reference has a row for each metric, with its type; the dashboard asks for none that is not there."""
    rows = re.findall(
        r"^\| `(\w+)` \| (gauge|counter) \|", (CHECKOUT / "docs" / "reference" / "metrics.md").read_text(), re.M
    )
    types = re.findall(r"^# TYPE (\w+) (\w+)$", render(HUB), re.M)
    assert sorted(rows) == sorted(types)
    dashboard = json.loads((CHECKOUT / "docker" / "monitoring" / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    asked = {name for each in expressions for name in re.findall(r"(?:wshub|process)_\w+", each)}
    assert len(asked) > 15
    assert asked <= {name for name, _ in types}


def test_what_has_no_process_uses_nothing() -> None:
    """A service without a process has no memory and no processor time, rather than none of either; so has a hub
    without /proc."""
    samples = read(HubView("1", ("/chat is failed",), 0.0, 0, 0.0, None, Counts(), (IDLE,)))
    names = {name for name, _ in samples}
    assert not names & {"wshub_service_memory_bytes", "wshub_service_cpu_seconds_total", "wshub_memory_bytes"}
    assert "wshub_certificate_expiry_seconds" not in names
    assert samples["wshub_ready", frozenset()] == 0


def test_states_exclude_each_other() -> None:
    """A service is in one state at a time."""
    samples = read(HUB)
    states = {
        dict(labels)["state"]: value
        for (name, labels), value in samples.items()
        if name == "wshub_service_state" and ("service", "/chat") in labels
    }
    assert list(states) == list(STATES)
    assert sum(states.values()) == 1


def test_labels_cannot_break_out() -> None:
    """Whatever is in a label is read back as it was."""
    route = '/a"b\\c\nd{e="f"}'
    hub = HubView("1", (), 0.0, 0, 0.0, None, Counts(), (ServiceView(route, "idle", 1, Counts()),))
    assert read(hub)["wshub_clients", frozenset({"service": route}.items())] == 1


def test_close_codes_are_bounded() -> None:
    """However many codes clients make up, there are few names for them, and none is lost."""
    grouped = group_codes(Counter(dict.fromkeys(range(1000, 5000), 1)))
    assert grouped.total() == 4000
    assert len(grouped) == 16 + 3
    assert grouped["3xxx"] == grouped["4xxx"] == 1000
    assert grouped["1013"] == 1
