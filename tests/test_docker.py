"""The files of ``docker/``: they agree with each other, with the settings and with the documentation."""

import json
import re
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import yaml

from wshub.config import Settings, read_file
from wshub.monitoring.admin_endpoint import parse_admin

DOCKER = Path(__file__).parent.parent / "docker"
MONITORING = DOCKER / "monitoring"
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text())
DOCKERFILE = (DOCKER / "Dockerfile").read_text()


def find_admin():
    """The settings of the composed hub, and the port of its admin interface."""
    settings = Settings(**read_file(MONITORING / "wshub.toml"))
    admin = parse_admin(settings.admin, settings.admin_token)
    assert admin
    return settings, admin.description.split(":")[1]


def test_what_is_mounted_is_there():
    """Every file that a container is given exists, and every volume is declared."""
    mounted = [mount.split(":")[0] for each in COMPOSE["services"].values() for mount in each["volumes"]]
    files = [source for source in mounted if source.startswith(".")]
    assert len(files) >= 5
    assert all((DOCKER / file).is_file() for file in files)
    assert set(mounted) - set(files) == set(COMPOSE["volumes"])


def test_images_are_pinned():
    """What comes from elsewhere has a version."""
    images = {each["image"] for each in COMPOSE["services"].values()}
    assert all(re.fullmatch(r"[\w/]+:v?\d+\.\d+\.\d+", image) for image in images - {"wshub"})


def test_prometheus_asks_the_hub():
    """Prometheus is told the hub's name, port and token; Grafana is told where Prometheus is."""
    settings, port = find_admin()
    (job,) = yaml.safe_load((MONITORING / "prometheus.yml").read_text())["scrape_configs"]
    assert job["static_configs"] == [{"targets": [f"hub:{port}"]}]
    assert job["authorization"]["credentials"] == settings.admin_token
    (source,) = yaml.safe_load((MONITORING / "datasource.yml").read_text())["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert {"hub", "prometheus"} < set(COMPOSE["services"])
    (provider,) = yaml.safe_load((MONITORING / "dashboards.yml").read_text())["providers"]
    assert any(f":{provider['options']['path']}/" in mount for mount in COMPOSE["services"]["grafana"]["volumes"])


def ask_health(address, **environment):
    """The exit status of the image's check of an address."""
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*?\"\])", DOCKERFILE, re.DOTALL)
    environment = {**environment, "WSHUB_HEALTH": address}
    command = [sys.executable, *json.loads(check)[1:]]
    return subprocess.run(command, env=environment, stderr=subprocess.DEVNULL, timeout=30, check=False).returncode


def test_health_is_asked_of_the_hub_alone():
    """It is 0 for what is there, and not for what is not, or says 503; a proxy in the environment is not asked."""
    statuses = iter((200, 200, 503))

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(next(statuses))
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Answer) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        assert ask_health(address) == 0
        assert ask_health(address, http_proxy="http://127.0.0.1:9/", HTTP_PROXY="http://127.0.0.1:9/") == 0
        assert ask_health(address) == 1
        server.shutdown()
    assert ask_health(address) == 1


def test_health():
    """The image asks its own port, and the composed hub's admin interface; neither needs anything but Python."""
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*?\"\])", DOCKERFILE, re.DOTALL)
    assert json.loads(check)[:2] == ["python3", "-c"]
    compile(json.loads(check)[2], "check", "exec")
    (asked,) = re.findall(r"^ENV WSHUB_HEALTH=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert asked.startswith(f"http://127.0.0.1:{Settings().port[0]}/")
    _, port = find_admin()
    assert COMPOSE["services"]["hub"]["environment"]["WSHUB_HEALTH"] == f"http://127.0.0.1:{port}/readyz"
