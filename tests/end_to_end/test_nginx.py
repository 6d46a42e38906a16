"""A hub behind a real nginx, with the files of ``deploy/``: TLS there, WebSockets and pages here."""

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from .harness import WAIT, HubProcess, eventually, find_free_port
from .proxy import ANOTHER, CHECKOUT, CLIENT, DEPLOY, NAME, WHOAMI, Proxy, check_client, configure

NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")

pytestmark = pytest.mark.skipif(
    (NGINX is None or not STREAM.exists()) and os.environ.get("CI") != "true",
    reason="no nginx here: install the packages nginx and libnginx-mod-stream (Debian's names for them)",
)

MAIN = """
daemon off;
pid nginx.pid;
error_log stderr info;
{user}
load_module {stream};
events {{}}
"""
HTTP = """
http {{
    access_log off;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    {site}
}}
"""


class Nginx(Proxy):
    """An nginx in a folder of its own, with one of the files of ``deploy/`` and a hub behind it."""

    def __init__(self, folder: Path, file: str, hub: str, more: str = "") -> None:
        assert NGINX, "CI must have an nginx: install the packages nginx and libnginx-mod-stream"
        super().__init__(folder)
        site = (DEPLOY / file).read_text()
        for ours, here in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            (f"/etc/nginx/{NAME}.pem", str(self.certificate)),
            (f"/etc/nginx/{NAME}.key", str(self.key)),
            ("127.0.0.1:12345", hub),
            *([("location / {", f"{more}location / {{")] if more else []),
        ):
            assert ours in site, f"{file} has no {ours!r} any more"
            site = site.replace(ours, here)
        user = "user root;" if os.geteuid() == 0 else ""
        conf = folder / "nginx.conf"
        whole = site if "\nstream {" in site else HTTP.format(site=site)
        conf.write_text(MAIN.format(user=user, stream=STREAM) + whole)
        command = [NGINX, "-p", str(folder), "-c", str(conf)]
        said = subprocess.run([*command, "-t"], capture_output=True, text=True, timeout=WAIT, check=False)
        assert said.returncode == 0, said.stderr
        assert "[warn]" not in said.stderr
        self.start(command)


StartNginx = Callable[..., Nginx]


@pytest.fixture
def start_nginx(tmp_path: Path) -> Iterator[StartNginx]:
    """Starts an nginx with a file of ``deploy/``, before the hub at an address; with `more` beside ``location /``."""
    stack = ExitStack()

    def start(file: str, hub: str, more: str = "") -> Nginx:
        folder = tmp_path / "nginx"
        folder.mkdir()
        nginx = Nginx(folder, file, hub, more)
        stack.callback(nginx.stop)
        return nginx

    with stack:
        yield start


def test_client_behind_nginx_lies_about_its_address(
    start_hub: Callable[..., HubProcess], start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Fault: a client behind nginx writes an address of its own into headers. Seen: services and log have the one that
    nginx has seen; messages, pages and errors pass.
    """
    hub = start_hub(*configure(tmp_path))
    hub.save("whoami.py", WHOAMI)
    check_client(start_nginx("nginx.conf", f"127.0.0.1:{hub.port}"))
    hub.wait_for_log(rf"refused {CLIENT}, .*/missing")
    assert not hub.search(r"203\.0\.113\.5")


def test_client_behind_nginx_and_a_unix_socket(
    start_hub: Callable[..., HubProcess], start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Fault: the same where nginx comes by a Unix socket. Seen: the same."""
    options = configure(tmp_path, ('trusted_proxies = ["127.0.0.1"]', 'trusted_proxies = ["unix"]'))
    hub = start_hub(*options, port="unix:socket:mode=660")
    hub.save("whoami.py", WHOAMI)
    check_client(start_nginx("nginx.conf", f"unix:{tmp_path}/socket"))
    hub.wait_for_log(rf"refused {CLIENT}, .*/missing")


def test_client_behind_nginx_that_speaks_proxy_protocol(
    start_hub: Callable[..., HubProcess], start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Fault: the same where nginx looks at no header and sends a PROXY line. Seen: the same."""
    options = configure(tmp_path, ('proxy_headers = "x-forwarded"', "proxy_protocol = true"))
    hub = start_hub(*options)
    hub.port = find_port_of(hub)
    hub.save("whoami.py", WHOAMI)
    check_client(start_nginx("nginx-stream.conf", f"127.0.0.1:{hub.port}"))
    hub.wait_for_log(rf"refused {CLIENT}, .*/missing")


def find_port_of(hub: HubProcess) -> int:
    """The port that a hub listens at."""
    return int(hub.wait_for_log(r"listening: http://127\.0\.0\.1:(\d+)/")[1])


def test_page_from_elsewhere_behind_nginx(
    start_hub: Callable[..., HubProcess], start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Fault: a page of another site, or of the same without TLS, connects by nginx. Seen: 403; the hub's own may."""
    hub = start_hub(*configure(tmp_path))
    hub.save("whoami.py", WHOAMI)
    nginx = start_nginx("nginx.conf", f"127.0.0.1:{hub.port}")
    assert nginx.upgrade("/whoami", origin=f"https://{NAME}:{nginx.port}").status == 101
    assert nginx.upgrade("/whoami", origin=f"http://{NAME}:{nginx.port}").status == 403
    assert nginx.upgrade("/whoami", origin="https://evil.example").status == 403
    assert nginx.upgrade("/whoami", origin=f"http://127.0.0.1:{hub.port}").status == 403


def test_list_of_services_behind_nginx(
    start_hub: Callable[..., HubProcess], start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Fault: strangers read which services there are. Seen: 404, with the lines of the how-to; services are served."""
    (lines,) = re.findall(r"^```nginx\n(.*?)^```$", (CHECKOUT / "docs/howto/harden.md").read_text(), re.M | re.S)
    hub = start_hub(*configure(tmp_path))
    hub.save("whoami.py", WHOAMI)
    nginx = start_nginx("nginx.conf", f"127.0.0.1:{hub.port}", lines)
    for path in ("/_wshub/services.json", "/_wshub/welcome.js", "/"):
        assert nginx.get(path).status == 404
        assert hub.get(path).status == 200
    with nginx.connect("/whoami") as client:
        assert client.recv(WAIT) == CLIENT


def test_too_many_of_one_address_behind_nginx(
    start_hub: Callable[..., HubProcess], start_nginx: StartNginx, tmp_path: Path
) -> None:
    """Fault: one client behind nginx takes all the connections it can. Seen: 429 for it, and for nobody else."""
    options = configure(
        tmp_path,
        ("max_connections_per_address = 50", "max_connections_per_address = 5\nunlimited_addresses = []"),
    )
    hub = start_hub(*options)
    hub.save("whoami.py", WHOAMI)
    nginx = start_nginx("nginx.conf", f"127.0.0.1:{hub.port}")
    with ExitStack() as stack:
        for _ in range(5):
            stack.enter_context(nginx.connect("/whoami"))
        response = nginx.upgrade("/whoami")
        assert response.status == 429
        assert response.headers["retry-after"].isdecimal()
        with nginx.connect("/whoami", ANOTHER) as client:
            assert client.recv(WAIT) == ANOTHER
    eventually(lambda: hub.count_clients() == 0, "they have gone")
    with nginx.connect("/whoami") as client:
        assert client.recv(WAIT) == CLIENT


def test_hub_behind_nginx_is_killed(start_nginx: StartNginx, tmp_path: Path) -> None:
    """Fault: kill -9 of a hub behind nginx. Seen: its clients see the end, others get 502; a new hub serves at once."""
    port, folder = find_free_port(), tmp_path / "hub"
    folder.mkdir()
    options = configure(folder)
    hub = HubProcess(folder, *options, port=f"tcp:{port}:interface=127.0.0.1")
    try:
        hub.save("whoami.py", WHOAMI)
        nginx = start_nginx("nginx.conf", f"127.0.0.1:{port}")
        with nginx.connect("/whoami") as client:
            assert client.recv(WAIT) == CLIENT
            hub.process.kill()
            with pytest.raises(ConnectionClosed):
                client.recv(WAIT)
            assert client.close_code == 1006
        assert nginx.upgrade("/whoami").status == 502
    finally:
        hub.kill()
    hub = HubProcess(folder, *options, port=f"tcp:{port}:interface=127.0.0.1")
    try:
        with nginx.connect("/whoami") as client:
            assert client.recv(WAIT) == CLIENT
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()
