"""TLS at the hub's own ports: a certificate with a chain, and another one while clients are there."""

import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import ClientConnection, connect

from .harness import WAIT, HubProcess, RudeClient, find_free_port, make_upgrade, read_response
from .openssl import Authority, run_openssl, take_tickets
from .test_front_door import make_client_hello
from .test_load import resident

WSHUB = str(Path(sys.executable).with_name("wshub"))

StartHub = Callable[..., HubProcess]


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificates of a test."""
    return Authority(tmp_path / "authority")


@pytest.fixture
def start_tls_hub(start_hub: StartHub, authority: Authority, tmp_path: Path) -> Callable[[], HubProcess]:
    """Starts a hub at a port number, with links to a certificate called "first" and to its key."""

    def start() -> HubProcess:
        use(tmp_path, *authority.issue("first"))
        port = find_free_port()
        hub = start_hub("--host", "127.0.0.1", "--tls-cert", "cert.pem", "--tls-key", "key.pem", port=str(port))
        assert hub.search(rf"listening: https://127\.0\.0\.1:{port}/")
        hub.host, hub.port = "127.0.0.1", port
        return hub

    return start


def use(folder: Path, chain: Path, key: Path) -> None:
    """Let two links lead to these files, as programs that renew certificates do."""
    for link, file in ((folder / "cert.pem", chain), (folder / "key.pem", key)):
        draft = link.with_suffix(".new")
        draft.symlink_to(file)
        draft.rename(link)


def connect_to(
    hub: HubProcess, authority: Authority, version: ssl.TLSVersion | None = None, path: str = "/echo"
) -> ClientConnection:
    """A client that knows the authority's root and no other, and that can speak one version only."""
    context = ssl.create_default_context(cafile=str(authority.root))
    if version:
        context.minimum_version = context.maximum_version = version
    connection = context.wrap_socket(hub.open_socket(), server_hostname="127.0.0.1")
    take_tickets(connection)
    url = f"ws://127.0.0.1:{hub.port}{path}"
    return connect(url, sock=connection, compression=None, proxy=None, open_timeout=WAIT, max_size=None)


def name_of(client: ClientConnection) -> str:
    """Whom a client's certificate is for, which is the name that a test has given it."""
    assert isinstance(client.socket, ssl.SSLSocket)
    certificate = client.socket.getpeercert()
    assert certificate
    return str(dict(pair for (pair,) in certificate["subject"])["commonName"])  # type: ignore[misc, arg-type]


def check_echo(client: ClientConnection, message: str = "hello") -> None:
    """It is echoed."""
    client.send(message)
    assert client.recv(WAIT) == message


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_clients_that_know_the_root_only(
    start_tls_hub: Callable[[], HubProcess], authority: Authority, version: ssl.TLSVersion
) -> None:
    """Fault: clients do not know who signed the certificate, but who signed that one. Seen: the chain is sent along,
    with TLS 1.2 and with 1.3; messages of any size and pages pass; a client without TLS gets no answer.
    """
    hub = start_tls_hub()
    with connect_to(hub, authority, version) as client:
        check_echo(client)
        check_echo(client, "x" * 1_000_000)
        assert name_of(client) == "first"
    context = ssl.create_default_context(cafile=str(authority.root))
    for origin, status in (("https", 101), ("http", 403)):
        with context.wrap_socket(hub.open_socket(), server_hostname="localhost") as connection:
            connection.sendall(make_upgrade("/echo", origin=f"{origin}://localhost"))
            assert read_response(connection).status == status
    with hub.open_socket() as plain:
        plain.sendall(make_upgrade("/echo"))
        assert not plain.recv(100).startswith(b"HTTP/")


def test_old_tls_at_a_port_number(start_tls_hub: Callable[[], HubProcess]) -> None:
    """Fault: a client that offers TLS 1.1 at most. Seen: an alert, protocol_version."""
    hub = start_tls_hub()
    with hub.open_socket() as connection:
        connection.sendall(make_client_hello(0x0302))
        answer = connection.recv(65536)
        assert (answer[:1], answer[5:7]) == (b"\x15", b"\x02\x46")


def test_certificate_is_renewed_under_a_live_connection(
    start_tls_hub: Callable[[], HubProcess], authority: Authority, tmp_path: Path
) -> None:
    """Fault: the certificate runs out and is replaced, with clients there. Seen: after SIGHUP new connections get the
    new one, those that there are go on.
    """
    hub = start_tls_hub()
    with connect_to(hub, authority) as before:
        check_echo(before)
        use(tmp_path, *authority.issue("second"))
        with connect_to(hub, authority) as client:
            assert name_of(client) == "first"
        hub.process.send_signal(signal.SIGHUP)
        hub.wait_for_log(r"#info\] new connections get the certificate of localhost, 127\.0\.0\.1, valid until")
        with connect_to(hub, authority) as after:
            assert name_of(after) == "second"
            check_echo(after)
            check_echo(before, "x" * 100_000)
            assert name_of(before) == "first"


def test_new_certificate_is_broken(
    start_tls_hub: Callable[[], HubProcess], authority: Authority, tmp_path: Path
) -> None:
    """Fault: the new certificate is damaged, or its key another's, or missing. Seen: a line in the log for each SIGHUP;
    the old one is served, connections go on, and the next whole one is taken.
    """
    hub = start_tls_hub()
    chain, key = authority.issue("second")
    broken = tmp_path / "broken.pem"
    broken.write_bytes(chain.read_bytes()[:300])
    with connect_to(hub, authority) as before:
        for files, said in (
            ((broken, key), "tls_cert: .*cert.pem has no certificate in PEM format, or a damaged one$"),
            ((chain, authority.folder / "first.key"), "tls_key: .*key.pem is not the key of the certificate in"),
            ((tmp_path / "gone.pem", key), "tls_cert: .*cert.pem cannot be read: No such file or directory$"),
        ):
            use(tmp_path, *files)
            hub.process.send_signal(signal.SIGHUP)
            hub.wait_for_log(rf"#error\] the certificate stays as it was: {said}")
            with connect_to(hub, authority) as client:
                assert name_of(client) == "first"
                check_echo(client)
        check_echo(before)
    use(tmp_path, chain, key)
    hub.process.send_signal(signal.SIGHUP)
    hub.wait_for_log("new connections get the certificate")
    with connect_to(hub, authority) as client:
        assert name_of(client) == "second"
    assert len(hub.search("the certificate stays as it was")) == 3


def test_certificate_that_cannot_be_served(authority: Authority, tmp_path: Path) -> None:
    """Fault: the hub is started with a key that is locked, or another's. Seen: it ends with 1 and one line."""
    chain, key = authority.issue("first")
    _, other = authority.issue("other")
    locked = tmp_path / "locked.key"
    run_openssl("ec", "-in", str(key), "-aes128", "-passout", "pass:secret", "-out", str(locked))
    for file, said in ((locked, "is locked with a passphrase"), (other, "is not the key of the certificate in")):
        command = [WSHUB, "serve", "-p", str(find_free_port()), "--tls-cert", str(chain), "--tls-key", str(file)]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT, check=False)
        assert ended.returncode == 1
        (line,) = (ended.stdout + ended.stderr).splitlines()
        assert line.startswith(f"wshub serve: tls_key: {file} {said}")


def test_command_call_by_tls(start_tls_hub: Callable[[], HubProcess], authority: Authority) -> None:
    """Fault: the certificate is signed by somebody whom this machine does not know. Seen: `wshub call` says that it
    cannot connect, and why; with SSL_CERT_FILE it does.
    """
    hub = start_tls_hub()
    command = [WSHUB, "call", f"wss://localhost:{hub.port}/echo", "-n", "1"]
    refused = subprocess.run(command, input="hi\n", capture_output=True, text=True, timeout=WAIT, check=False)
    assert (refused.returncode, refused.stdout) == (3, "")
    assert "certificate" in refused.stderr
    environment = {"PATH": "/usr/bin:/bin", "SSL_CERT_FILE": str(authority.root)}
    called = subprocess.run(
        command, input="hi\n", env=environment, capture_output=True, text=True, timeout=WAIT, check=False
    )
    assert (called.returncode, called.stdout, called.stderr) == (0, "hi\n", "")


def test_hangup_without_a_certificate(start_hub: StartHub) -> None:
    """Fault: SIGHUP for a hub that has no certificate. Seen: it goes on, and so do its clients."""
    hub = start_hub()
    with hub.connect("/echo") as client:
        check_echo(client)
        hub.process.send_signal(signal.SIGHUP)
        check_echo(client)
        with socket.create_connection((hub.host, hub.port), WAIT):
            check_echo(client)


TOLD = """
    import wshub

    class Service(wshub.Service):
        resumes = True

        def on_open(self, client):
            client.send("open {version}")

        def on_message(self, client, data):
            client.send("{version} " + data.split(" ")[0])
"""


def test_clients_by_tls_of_a_service_that_is_reloaded(
    start_tls_hub: Callable[[], HubProcess], authority: Authority
) -> None:
    """Fault: a service is reloaded five times while a client by TLS sends. Seen: it stays connected, and each message
    is answered once and in order, by the old process or the new one.
    """
    hub = start_tls_hub()
    hub.save("told.py", TOLD.format(version=0))
    with connect_to(hub, authority, path="/told") as client:
        assert client.recv(WAIT) == "open 0"
        for version in range(1, 6):
            hub.save("told.py", TOLD.format(version=version))
            said: list[tuple[str, ...]] = []
            for number in range(100):
                client.send(f"{number} " + "x" * 5000)
                if number == 30:
                    hub.process.send_signal(signal.SIGHUP)
            while len(said) < 101:
                said.append(tuple(str(client.recv(WAIT)).split(" ")))
            said.remove(("open", str(version)))
            assert [int(number) for _, number in said] == list(range(100))
            assert [int(answered_by) for answered_by, _ in said] == sorted(int(answered_by) for answered_by, _ in said)
    assert not hub.search("died|#error")


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_client_that_goes_on_after_the_close(
    start_tls_hub: Callable[[], HubProcess], authority: Authority, version: ssl.TLSVersion
) -> None:
    """Fault: a client closes its WebSocket, and goes on to send over TLS: 64 MiB. Seen: the hub keeps none of it, and
    others are served meanwhile.
    """
    hub = start_tls_hub()
    context = ssl.create_default_context(cafile=str(authority.root))
    context.minimum_version = context.maximum_version = version
    with connect_to(hub, authority) as other:
        check_echo(other)
        before = resident(hub)
        with context.wrap_socket(hub.open_socket(), server_hostname="127.0.0.1") as connection:
            connection.sendall(make_upgrade("/echo", host=f"127.0.0.1:{hub.port}"))
            client = RudeClient(connection, read_response(connection).body)
            client.send_frame(RudeClient.CLOSE, b"\x03\xe8")
            assert client.read_close() == (1000, "")
            began = time.monotonic()
            for _ in range(64):
                connection.sendall(bytes(1 << 20))
                check_echo(other)
            assert time.monotonic() - began < WAIT
            assert resident(hub) - before < 16 << 20
