"""A hub behind a real nginx, with the files of ``deploy/``: TLS there, WebSockets and pages here."""

import os
import re
import shutil
import socket
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from http.client import HTTPResponse
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from .harness import WAIT, HubProcess, Response, eventually, find_free_port, make_upgrade

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
STREAM = Path("/usr/lib/nginx/modules/ngx_stream_module.so")
NAME = "hub.example.org"
CLIENT, ANOTHER = "127.0.0.2", "127.0.0.3"  # addresses that no proxy has: nginx comes from 127.0.0.1

pytestmark = pytest.mark.skipif(
    (NGINX is None or not STREAM.exists()) and os.environ.get("CI") != "true",
    reason="no nginx here: install the packages nginx and libnginx-mod-stream (Debian's names for them)",
)

MAIN = """
daemon off;
pid nginx.pid;
error_log stderr;
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

WHOAMI = """
    import wshub

    class Service(wshub.Service):
        def on_open(self, client):
            client.send(client.address[0])

        def on_message(self, client, data):
            client.send(data)
"""


class Nginx:
    """An nginx in a folder of its own, with one of the files of ``deploy/`` and a hub behind it."""

    def __init__(self, folder: Path, file: str, hub: str, more: str = "") -> None:
        assert NGINX, "CI must have an nginx: install the packages nginx and libnginx-mod-stream"
        self.certificate, key = folder / "cert.pem", folder / "key.pem"
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"),
                *("-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
                *("-keyout", str(key), "-out", str(self.certificate)),
            ],
            check=True,
            capture_output=True,
        )
        self.port = find_free_port()
        site = (DEPLOY / file).read_text()
        for ours, here in (
            ("listen 443 ssl", f"listen 127.0.0.1:{self.port} ssl"),
            (f"/etc/nginx/{NAME}.pem", str(self.certificate)),
            (f"/etc/nginx/{NAME}.key", str(key)),
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
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL)
        eventually(self._listens, "nginx listens")

    def _listens(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0

    def open_socket(self, client: str = CLIENT) -> socket.socket:
        """A TCP connection from an address."""
        return socket.create_connection(("127.0.0.1", self.port), WAIT, source_address=(client, 0))

    def make_context(self) -> ssl.SSLContext:
        """What knows the certificate, and no other."""
        return ssl.create_default_context(cafile=str(self.certificate))

    def connect(self, path: str, client: str = CLIENT, headers: dict[str, str] | None = None) -> ClientConnection:
        """A client with an address, and headers that it may or may not write."""
        url = f"wss://{NAME}:{self.port}{path}"
        return connect(
            url,
            sock=self.open_socket(client),
            ssl=self.make_context(),
            proxy=None,
            compression=None,
            additional_headers=headers,
        )

    def request(self, data: bytes, client: str = CLIENT) -> Response:
        """The response to a request."""
        with self.make_context().wrap_socket(self.open_socket(client), server_hostname=NAME) as connection:
            connection.sendall(data)
            response = HTTPResponse(connection)  # nginx keeps connections: there is no end of the stream to wait for
            response.begin()
            headers = {name.lower(): value for name, value in response.getheaders()}
            body = b"" if response.status == 101 else response.read()
            return Response(response.status, response.reason, headers, body)

    def get(self, path: str) -> Response:
        """The response to a plain request."""
        return self.request(f"GET {path} HTTP/1.1\r\nHost: {NAME}:{self.port}\r\n\r\n".encode())

    def upgrade(self, path: str, client: str = CLIENT, **replaced: str) -> Response:
        """The response to a request for a WebSocket."""
        return self.request(make_upgrade(path, **{"host": f"{NAME}:{self.port}", **replaced}), client)

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(WAIT)
        finally:
            self.process.kill()


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


def configure(folder: Path, *changes: tuple[str, str]) -> tuple[str, str]:
    """The options for the settings of ``deploy/wshub.toml``, but for the folder of services and `changes`."""
    text = (DEPLOY / "wshub.toml").read_text()
    (folder / "services").mkdir()
    for ours, here in (('"/srv/wshub/services"', '"services"'), *changes):
        assert ours in text, f"wshub.toml has no {ours!r} any more"
        text = text.replace(ours, here)
    file = folder / "wshub.toml"
    file.write_text(text)
    return "--config", str(file)


def check_client(nginx: Nginx) -> None:
    """A client that lies about its address is known by the one that it has, and served."""
    lies = {"X-Forwarded-For": "203.0.113.5", "Forwarded": "for=203.0.113.5", "X-Real-IP": "203.0.113.5"}
    with nginx.connect("/whoami", headers=lies) as client:
        assert client.recv(WAIT) == CLIENT
        client.send("x" * 60_000)
        assert client.recv(WAIT) == "x" * 60_000
    page = nginx.get("/")
    assert page.status == 200
    assert b"wshub" in page.body
    assert nginx.upgrade("/missing").status == 404


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
    with nginx.connect("/whoami") as client:
        assert client.recv(WAIT) == CLIENT


def test_hub_behind_nginx_is_killed(start_nginx: StartNginx, tmp_path: Path) -> None:
    """Fault: kill -9 of a hub behind nginx. Seen: its clients see the end, others get 502; a new hub serves at once."""
    port = find_free_port()
    options = configure(tmp_path)
    hub = HubProcess(tmp_path, *options, port=f"tcp:{port}:interface=127.0.0.1")
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
    hub = HubProcess(tmp_path, *options, port=f"tcp:{port}:interface=127.0.0.1")
    try:
        with nginx.connect("/whoami") as client:
            assert client.recv(WAIT) == CLIENT
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()
