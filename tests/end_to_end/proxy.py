"""A proxy with TLS before a hub, and clients with addresses of their own."""

import socket
import ssl
import subprocess
from http.client import HTTPResponse
from pathlib import Path

from websockets.sync.client import ClientConnection, connect

from .harness import WAIT, Response, eventually, find_free_port, make_upgrade
from .openssl import EC, run_openssl, take_tickets

CHECKOUT = Path(__file__).parents[2]
DEPLOY = CHECKOUT / "deploy"
NAME = "hub.example.org"
CLIENT, ANOTHER = "127.0.0.2", "127.0.0.3"  # addresses that no proxy has: proxies come from 127.0.0.1

WHOAMI = """
    import wshub

    class Service(wshub.Service):
        def on_open(self, client):
            client.send(client.address[0])

        def on_message(self, client, data):
            client.send(data)
"""


class Proxy:
    """A proxy's process, in a folder of its own; its certificate is `certificate` and its key `key`."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.certificate, self.key = folder / "cert.pem", folder / "key.pem"
        run_openssl(
            *("req", "-x509", *EC, "-days", "2", "-subj", f"/CN={NAME}", "-addext", f"subjectAltName=DNS:{NAME}"),
            *("-keyout", str(self.key), "-out", str(self.certificate)),
        )
        self.port = find_free_port()

    def start(self, command: list[str], environment: dict[str, str] | None = None) -> None:
        """Run it, and wait until it listens."""
        self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment)
        try:
            eventually(self._listens, "the proxy listens")
        except BaseException:
            self.stop()
            raise

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
        connection = self.make_context().wrap_socket(self.open_socket(client), server_hostname=NAME)
        take_tickets(connection)
        return connect(
            f"ws://{NAME}:{self.port}{path}",
            sock=connection,
            proxy=None,
            compression=None,
            additional_headers=headers,
        )

    def request(self, data: bytes, client: str = CLIENT) -> Response:
        """The response to a request."""
        with self.make_context().wrap_socket(self.open_socket(client), server_hostname=NAME) as connection:
            connection.sendall(data)
            response = HTTPResponse(connection)  # a proxy keeps connections: there is no end of the stream to wait for
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


def check_client(proxy: Proxy) -> None:
    """A client that lies about its address is known by the one that it has, and served."""
    lies = {"X-Forwarded-For": "203.0.113.5", "Forwarded": "for=203.0.113.5", "X-Real-IP": "203.0.113.5"}
    with proxy.connect("/whoami", headers=lies) as client:
        assert client.recv(WAIT) == CLIENT
        client.send("x" * 60_000)
        assert client.recv(WAIT) == "x" * 60_000
    page = proxy.get("/")
    assert page.status == 200
    assert b"wshub" in page.body
    assert proxy.upgrade("/missing").status == 404
