"""A real Prometheus with the files of ``docker/monitoring``, and a hub to ask."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from .harness import WAIT, HubProcess, closed_with, eventually, find_free_port

PROMETHEUS, PROMTOOL = shutil.which("prometheus"), shutil.which("promtool")
MONITORING = Path(__file__).parents[2] / "docker" / "monitoring"
PAGE = Path(__file__).parents[2] / "docs" / "howto" / "monitor.md"

pytestmark = pytest.mark.skipif(
    (PROMETHEUS is None or PROMTOOL is None) and os.environ.get("CI") != "true",
    reason="no Prometheus here: install the package prometheus (Debian's name for it)",
)

SERVICE = """
    import os
    import wshub

    class Service(wshub.Service):
        slow_clients = "drop-oldest"

        def on_message(self, client, data):
            if data == "die":
                os._exit(1)
            if data == "flood":
                for _ in range(64):
                    client.send(bytes(1 << 18))
            client.send(data)
"""


def replace(text: str, *changes: tuple[str, str]) -> str:
    """The text with all changes, each of which has to concern something."""
    for ours, here in changes:
        assert ours in text, f"there is no {ours!r} any more"
        text = text.replace(ours, here)
    return text


class Prometheus:
    """One that asks a hub's admin interface every half second."""

    def __init__(self, folder: Path, admin: int) -> None:
        assert PROMETHEUS, "CI must have a Prometheus: install the package prometheus"
        assert PROMTOOL
        folder.mkdir()
        shipped = MONITORING / "prometheus.yml"
        subprocess.run([PROMTOOL, "check", "config", str(shipped)], check=True, stdout=subprocess.DEVNULL)
        file = folder / "prometheus.yml"
        file.write_text(
            replace(
                shipped.read_text(), ("scrape_interval: 10s", "scrape_interval: 500ms"), ("hub:", "127.0.0.1:")
            ).replace(":9187", f":{admin}")
        )
        self._port = find_free_port()
        self._process = subprocess.Popen(
            [
                *(PROMETHEUS, f"--config.file={file}", f"--storage.tsdb.path={folder / 'data'}", "--log.level=warn"),
                f"--web.listen-address=127.0.0.1:{self._port}",
            ],
            stdin=subprocess.DEVNULL,
        )

    def ask(self, path: str, **query: str) -> Any:
        """What its interface answers."""
        with urlopen(f"http://127.0.0.1:{self._port}/api/v1/{path}?{urlencode(query)}", timeout=WAIT) as response:
            return json.load(response)["data"]

    def find_health(self) -> list[str]:
        """How its targets are."""
        with suppress(OSError):
            return [target["health"] for target in self.ask("targets")["activeTargets"]]
        return []

    def query(self, expression: str) -> list[Any]:
        """The series of an expression of the dashboard or of the how-to, as it is now."""
        changed = expression.replace("$service", ".*").replace("$__rate_interval", "30s")
        result: list[Any] = self.ask("query", query=changed)["result"]
        return result

    def stop(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait(WAIT)


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubProcess]:
    """A hub with the settings that the containers' one has."""
    port = find_free_port()
    settings = replace((MONITORING / "wshub.toml").read_text(), ("tcp:9187", f"tcp:{port}:interface=127.0.0.1"))
    (tmp_path / "wshub.toml").write_text(settings)
    hub = HubProcess(tmp_path, "--config", "wshub.toml")
    hub.save("room.py", SERVICE)
    hub.admin_port = port  # type: ignore[attr-defined]
    try:
        yield hub
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()


@pytest.fixture
def prometheus(tmp_path: Path, hub: HubProcess) -> Iterator[Prometheus]:
    """A Prometheus that asks that hub."""
    prometheus = Prometheus(tmp_path / "prometheus", hub.admin_port)  # type: ignore[attr-defined]
    try:
        yield prometheus
    finally:
        prometheus.stop()


def test_prometheus_and_the_dashboard(hub: HubProcess, prometheus: Prometheus) -> None:
    """The target is up, every query of the dashboard has an answer, and what is worth an alert is valid."""
    eventually(lambda: prometheus.find_health() == ["up"], "the hub is asked", 2 * WAIT)

    with hub.connect("/room") as client, hub.rude_client("/room") as reader:
        reader.send_frame(reader.TEXT, b"flood")  # and it reads nothing of that
        eventually(lambda: prometheus.query("wshub_dropped_total > 0"), "messages are dropped")
        client.send("hello")
        assert client.recv(WAIT) == "hello"
        client.send("die")
        assert closed_with(client)[0] == 1011
    assert hub.upgrade("/missing").status == 404
    dashboard = json.loads((MONITORING / "dashboard.json").read_text())
    expressions = [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]
    assert len(expressions) > 20
    with hub.connect("/echo"):
        eventually(lambda: prometheus.query("wshub_deaths_total > 0"), "the death is known")
        without_answer = list(expressions)

        def have_all_answered() -> bool:
            without_answer[:] = [each for each in without_answer if not prometheus.query(each)]
            return not without_answer

        with suppress(AssertionError):
            eventually(have_all_answered, "every query has an answer", 5)
        assert without_answer == []
        assert prometheus.query('wshub_clients{service="/echo"} == 1')
    _, table = PAGE.read_text().split("Worth an alert:", 1)
    alerts = [line.split("`")[1].replace("\\|", "|") for line in table.splitlines() if line.startswith("| `")]
    assert len(alerts) >= 5
    for alert in alerts:
        prometheus.query(alert)
    assert prometheus.query(next(alert for alert in alerts if "deaths" in alert))
