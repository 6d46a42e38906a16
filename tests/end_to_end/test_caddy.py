"""A hub behind a real Caddy, with the file of ``deploy/``: TLS there, WebSockets and pages here."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from .harness import WAIT, HubProcess
from .proxy import ANOTHER, CLIENT, DEPLOY, NAME, WHOAMI, Proxy, check_client, configure

CADDY = shutil.which("caddy")

pytestmark = pytest.mark.skipif(
    CADDY is None and os.environ.get("CI") != "true",
    reason="no Caddy here: install the package caddy (Debian's name for it)",
)

# What a test does without: the administration's port, an authority, and redirects from port 80.
GLOBAL = """
{
	admin off
	auto_https disable_redirects
	skip_install_trust
	default_bind 127.0.0.1
}
"""


class Caddy(Proxy):
    """A Caddy in a folder of its own, with the file of ``deploy/`` and a hub behind it."""

    def __init__(self, folder: Path, hub: str) -> None:
        assert CADDY, "CI must have a Caddy: install the package caddy"
        super().__init__(folder)
        site = (DEPLOY / "Caddyfile").read_text()
        for ours, here in (
            (f"\n{NAME} {{\n", f"\nhttps://{NAME}:{self.port} {{\n\ttls {self.certificate} {self.key}\n"),
            ("127.0.0.1:12345", hub),
        ):
            assert ours in site, f"Caddyfile has no {ours!r} any more"
            site = site.replace(ours, here)
        file = folder / "Caddyfile"
        file.write_text(GLOBAL.lstrip() + site)
        options = ["--config", str(file), "--adapter", "caddyfile"]
        environment = {**os.environ, "HOME": str(folder), "XDG_CONFIG_HOME": str(folder), "XDG_DATA_HOME": str(folder)}
        said = subprocess.run(
            [CADDY, "validate", *options], env=environment, capture_output=True, text=True, timeout=WAIT, check=False
        )
        assert said.returncode == 0, said.stderr
        self.start([CADDY, "run", *options], environment)


@pytest.fixture
def start_caddy(tmp_path: Path) -> Iterator[Callable[[str], Caddy]]:
    """Starts a Caddy before the hub at an address."""
    with ExitStack() as stack:

        def start(hub: str) -> Caddy:
            folder = tmp_path / "caddy"
            folder.mkdir()
            caddy = Caddy(folder, hub)
            stack.callback(caddy.stop)
            return caddy

        yield start


StartHub = Callable[..., HubProcess]
StartCaddy = Callable[[str], Caddy]


def test_the_file_is_laid_out_as_caddy_does() -> None:
    """`caddy fmt` has nothing to change in the file."""
    assert CADDY
    file = DEPLOY / "Caddyfile"
    said = subprocess.run([CADDY, "fmt", str(file)], capture_output=True, text=True, timeout=WAIT, check=False)
    assert said.stdout == file.read_text()


def test_client_behind_caddy_lies_about_its_address(
    start_hub: StartHub, start_caddy: StartCaddy, tmp_path: Path
) -> None:
    """Fault: a client behind Caddy writes an address of its own into headers. Seen: services and log have the one that
    Caddy has seen; messages, pages and errors pass.
    """
    hub = start_hub(*configure(tmp_path))
    hub.save("whoami.py", WHOAMI)
    check_client(start_caddy(f"127.0.0.1:{hub.port}"))
    hub.wait_for_log(rf"refused {CLIENT}, .*/missing")
    assert not hub.search(r"203\.0\.113\.5")


def test_client_behind_caddy_and_a_unix_socket(start_hub: StartHub, start_caddy: StartCaddy, tmp_path: Path) -> None:
    """Fault: the same where Caddy comes by a Unix socket. Seen: the same."""
    options = configure(tmp_path, ('trusted_proxies = ["127.0.0.1"]', 'trusted_proxies = ["unix"]'))
    hub = start_hub(*options, port="unix:socket:mode=660")
    hub.save("whoami.py", WHOAMI)
    check_client(start_caddy(f"unix/{tmp_path}/socket"))
    hub.wait_for_log(rf"refused {CLIENT}, .*/missing")


def test_page_from_elsewhere_behind_caddy(start_hub: StartHub, start_caddy: StartCaddy, tmp_path: Path) -> None:
    """Fault: a page of another site, or of the same without TLS, connects by Caddy. Seen: 403; the hub's own may."""
    hub = start_hub(*configure(tmp_path))
    hub.save("whoami.py", WHOAMI)
    caddy = start_caddy(f"127.0.0.1:{hub.port}")
    assert caddy.upgrade("/whoami", origin=f"https://{NAME}:{caddy.port}").status == 101
    assert caddy.upgrade("/whoami", origin=f"http://{NAME}:{caddy.port}").status == 403
    assert caddy.upgrade("/whoami", origin="https://evil.example").status == 403


def test_too_many_of_one_address_behind_caddy(start_hub: StartHub, start_caddy: StartCaddy, tmp_path: Path) -> None:
    """Fault: one client behind Caddy takes all the connections it can. Seen: 429 for it, and for nobody else."""
    limit = ("max_connections_per_address = 50", "max_connections_per_address = 5\nunlimited_addresses = []")
    hub = start_hub(*configure(tmp_path, limit))
    hub.save("whoami.py", WHOAMI)
    caddy = start_caddy(f"127.0.0.1:{hub.port}")
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(caddy.connect("/whoami"))
        assert caddy.upgrade("/whoami").status == 429
        with caddy.connect("/whoami", ANOTHER) as client:
            assert client.recv(WAIT) == ANOTHER


def test_hub_behind_caddy_is_restarted(start_caddy: StartCaddy, tmp_path: Path) -> None:
    """Fault: a hub behind Caddy is stopped, and there is none for a while. Seen: its clients get 1001, others 502; the
    next hub serves at once.
    """
    options = configure(tmp_path)
    hub = HubProcess(tmp_path, *options)
    port = f"tcp:{hub.port}:interface=127.0.0.1"
    try:
        hub.save("whoami.py", WHOAMI)
        caddy = start_caddy(f"127.0.0.1:{hub.port}")
        with caddy.connect("/whoami") as client:
            assert client.recv(WAIT) == CLIENT
            assert hub.stop() == 0
            assert list(client) == []
            assert client.close_code == 1001
        assert caddy.upgrade("/whoami").status == 502
        hub = HubProcess(tmp_path, *options, port=port)
        with caddy.connect("/whoami") as client:
            assert client.recv(WAIT) == CLIENT
        caddy.stop()
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()
