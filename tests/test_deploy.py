"""The files of ``deploy/``: what reads them accepts them, and they agree with the settings and the documentation."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from wshub.config import Settings, read_file
from wshub.door.ports import BACKLOG

CHECKOUT = Path(__file__).parent.parent
DEPLOY = CHECKOUT / "deploy"
ANALYZE = shutil.which("systemd-analyze")
KILL_DELAY = 1.0  # seconds between TERM and KILL

needs_systemd = pytest.mark.skipif(
    ANALYZE is None and os.environ.get("CI") != "true",
    reason="no systemd-analyze here: install the package systemd (Debian's name for it)",
)


def find_values(file, name):
    """The values that a file gives to a name, as ``name=value``, ``name value;`` or ``name = value``."""
    return re.findall(rf"^\s*{name}(?: = |=| )([^;\s]+)", (DEPLOY / file).read_text(), re.MULTILINE)


def find_seconds(file, name):
    """The one number of seconds that a file gives to a name."""
    (value,) = find_values(file, name)
    return float(value.removesuffix("s"))


@pytest.fixture
def units(tmp_path):
    """A folder with the unit as it is, but for the path of a twistd that is there."""
    text = (DEPLOY / "wshub.service").read_text()
    assert "/opt/wshub/bin/twistd " in text
    there = str(Path(sys.executable).with_name("twistd"))
    (tmp_path / "wshub.service").write_text(text.replace("/opt/wshub/bin/twistd", there))
    return tmp_path


def analyze(*arguments):
    """What systemd-analyze says."""
    assert ANALYZE, "CI must have a systemd-analyze: install the package systemd"
    command = [ANALYZE, "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def add_service_user(folder):
    """Put the drop-in file beside the unit."""
    (folder / "wshub.service.d").mkdir()
    shutil.copy(DEPLOY / "wshub-service-user.conf", folder / "wshub.service.d" / "service-user.conf")


@needs_systemd
@pytest.mark.parametrize("with_user", [False, True])
def test_unit(units, with_user):
    """Systemd has nothing to say about the unit, with and without its drop-in file."""
    if with_user:
        add_service_user(units)
    said = analyze("verify", units / "wshub.service")
    assert (said.returncode, said.stderr) == (0, "")


@needs_systemd
def test_socket_unit(units):
    """Systemd has nothing to say about the unit that opens the port, and the line of settings in it is a port."""
    shutil.copy(DEPLOY / "wshub.socket", units)
    said = analyze("verify", units / "wshub.socket", units / "wshub.service")
    assert (said.returncode, said.stderr) == (0, "")
    (name,) = find_values("wshub.socket", "FileDescriptorName")
    assert f'\n#     port = "systemd:domain=INET:name={name}"\n' in (DEPLOY / "wshub.socket").read_text()
    assert find_values("wshub.socket", "Backlog") == [str(BACKLOG)]


def test_systemd_is_told(units):
    """The unit waits for what the hub says, and SIGHUP is how it is told to reload."""
    assert find_values("wshub.service", "Type") == ["notify"]
    assert find_seconds("wshub.service", "WatchdogSec") >= 30
    assert "\nExecReload=/bin/kill -HUP $MAINPID\n" in (DEPLOY / "wshub.service").read_text()


@needs_systemd
def test_a_unit_that_is_wrong_is_found(units):
    """What systemd says about a line that it does not know is seen here."""
    with (units / "wshub.service").open("a") as file:
        file.write("\n[Service]\nNoSuchThing=yes\n")
    assert "NoSuchThing" in analyze("verify", units / "wshub.service").stderr


@needs_systemd
def test_exposure(units):
    """The exposure that systemd finds is the one that the how-to speaks of."""
    said = analyze("security", "--offline=true", units / "wshub.service").stdout
    (exposure,) = re.findall(r"Overall exposure level for wshub\.service: (\S+)", said)
    assert f"exposure {exposure}," in " ".join((CHECKOUT / "docs/howto/harden.md").read_text().split())


def test_settings(tmp_path):
    """The hub reads the settings, and finds nothing wrong with them."""
    text = (DEPLOY / "wshub.toml").read_text()
    assert '"/srv/wshub/services"' in text
    (tmp_path / "services").mkdir()
    (tmp_path / "wshub.toml").write_text(text.replace("/srv/wshub/services", "services"))
    settings = Settings(**read_file(tmp_path / "wshub.toml"))
    assert settings.trusted_proxies == ("127.0.0.1",)
    (descriptors,) = find_values("wshub.service", "LimitNOFILE")
    assert int(descriptors) >= settings.max_connections + 1000


def test_times():
    """Whoever waits for the hub waits longer than the hub does."""
    settings = Settings()
    silence = settings.ping_interval + settings.ping_timeout
    assert find_seconds("nginx.conf", "proxy_read_timeout") > silence
    assert find_seconds("nginx.conf", "proxy_send_timeout") > silence
    assert find_seconds("nginx-stream.conf", "proxy_timeout") > silence
    assert find_seconds("wshub.service", "TimeoutStopSec") > 2 * settings.stop_timeout + KILL_DELAY
