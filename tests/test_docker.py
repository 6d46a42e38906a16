"""The files of ``docker/``: they agree with each other, with the settings and with the documentation."""

import json
import re
from pathlib import Path

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


def test_health():
    """The image asks its own port, and the composed hub's admin interface; neither needs anything but Python."""
    (check,) = re.findall(r"HEALTHCHECK .*?CMD (\[.*?\"\])", DOCKERFILE, re.DOTALL)
    assert json.loads(check)[:2] == ["python3", "-c"]
    compile(json.loads(check)[2], "check", "exec")
    (asked,) = re.findall(r"^ENV WSHUB_HEALTH=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert asked.startswith(f"http://127.0.0.1:{Settings().port[0]}/")
    _, port = find_admin()
    assert COMPOSE["services"]["hub"]["environment"]["WSHUB_HEALTH"] == f"http://127.0.0.1:{port}/readyz"
