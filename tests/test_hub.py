"""The hub as a whole: where it listens, and the order in which it stops."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError, ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wshub.config import Settings
from wshub.door import descriptors, ports
from wshub.door.ports import describe_address
from wshub.errors import ConfigError
from wshub.hub import BATCH, Hub
from wshub.monitoring.authority import PublicPort
from wshub.testing import FakeReactor
from wshub.wire import DATA, SYNC


class FakePort:
    """What listens."""

    def __init__(self, address: object) -> None:
        self.address = address
        self.is_listening = True

    def getHost(self) -> object:
        """Where it listens."""
        return self.address

    def stopListening(self) -> "Deferred[None]":
        """Stop."""
        self.is_listening = False
        return succeed(None)


class ListeningReactor(FakeReactor):
    """A reactor with ports."""

    def __init__(self) -> None:
        super().__init__()
        self.ports: list[FakePort] = []
        self.factory: Any = None
        self.taken: set[int] = set()

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> FakePort:
        """Listen, unless the port is taken."""
        if port in self.taken:
            raise CannotListenError(interface, port, OSError(98, "Address already in use"))
        self.factory = factory
        kind = IPv6Address if ":" in interface else IPv4Address
        self.ports.append(FakePort(kind("TCP", interface or "0.0.0.0", port)))
        return self.ports[-1]

    def listenUNIX(self, address: str, factory: Any, **_: Any) -> FakePort:
        """Listen."""
        self.ports.append(FakePort(UNIXAddress(address.encode())))
        return self.ports[-1]


@pytest.fixture
def listening(reactor: FakeReactor) -> ListeningReactor:
    """The reactor of the fixture `reactor`, with ports."""
    other = ListeningReactor()
    other.processes = reactor.processes  # so that signals find them, and they are ended
    return other


def make_hub(reactor: ListeningReactor, folder: Path, **settings: Any) -> Hub:
    """A hub over a folder with one service, ``/echo``."""
    (folder / "echo.py").write_text("")
    return Hub(reactor, Settings(document_root=folder, **settings))


def test_listen(listening: ListeningReactor, tmp_path: Path, log: list[str]) -> None:
    """It listens at every endpoint, and says where when it starts."""
    hub = make_hub(listening, tmp_path, port=("80", "unix:/x", "tcp6:81:interface=\\:\\:1"))
    hub.listen()
    assert len(hub.ports) == len(listening.ports) == 3
    hub.startService()
    assert [line.partition(": ")[2] for line in log if "listening" in line] == [
        "http://localhost:80/",
        "unix:/x",
        "http://[::1]:81/",
    ]


@pytest.mark.parametrize(
    ("admin", "origins"),
    [
        ("9187", {"http://127.0.0.1:9187", "http://localhost:9187"}),
        ("tcp:9187:interface=10.0.0.1", set()),
        ("unix:/run/admin", set()),
    ],
)
def test_pages_of_the_console_may_connect(
    listening: ListeningReactor, tmp_path: Path, admin: str, origins: set[str]
) -> None:
    """Those of an admin interface for this machine alone; it knows where the services are."""
    hub = make_hub(listening, tmp_path, port=("80", "unix:/x"), admin=admin, admin_token="change-me-to-something")
    hub.listen()
    asked = {f"http://{host}:{port}" for host in ("127.0.0.1", "localhost", "10.0.0.1") for port in (80, 9187, 9188)}
    assert {each for each in asked if hub._factory.admission.allows_origin(each)} == origins
    assert hub.admin.public_ports == [PublicPort("0.0.0.0", 80, False)]


@pytest.mark.parametrize(("limit", "says"), [(1024, True), (1 << 20, False)])
def test_it_says_when_there_are_few_descriptors(
    listening: ListeningReactor, tmp_path: Path, log: list[str], monkeypatch: pytest.MonkeyPatch, limit: int, says: bool
) -> None:
    """If the system allows fewer connections than the settings, that is known from the start."""
    monkeypatch.setattr(descriptors, "limit", lambda: limit)
    hub = make_hub(listening, tmp_path)
    hub.listen()
    hub.startService()
    lines = [line for line in log if "room for 960 connections at most: ulimit -n is 1024" in line]
    assert len(lines) == says


def test_taken_port(listening: ListeningReactor, tmp_path: Path) -> None:
    """A port that somebody has is a `ConfigError` that says which."""
    listening.taken.add(81)
    with pytest.raises(ConfigError, match=r"81.*Address already in use"):
        make_hub(listening, tmp_path, port=("80", "81")).listen()


def test_taken_port_and_by_whom(listening: ListeningReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """If it can be known who has the port, the error says so, and on one line whatever that process is called."""
    monkeypatch.setattr(ports, "find_holder", lambda port: (4711, "x\ny") if port == 81 else None)
    listening.taken |= {81, 82}
    with pytest.raises(ConfigError, match=r"81: Address already in use by process 4711, x\\ny; choose"):
        make_hub(listening, tmp_path, port=("81",)).listen()
    with pytest.raises(ConfigError, match=r"82: Address already in use; choose"):
        make_hub(listening, tmp_path, port=("82",)).listen()


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (IPv4Address("TCP", "0.0.0.0", 80), "http://localhost:80/"),
        (IPv4Address("TCP", "10.0.0.1", 12345), "http://10.0.0.1:12345/"),
        (IPv6Address("TCP", "::", 80), "http://localhost:80/"),
        (IPv6Address("TCP", "::1", 80), "http://[::1]:80/"),
        (UNIXAddress(b"/run/hub"), "unix:/run/hub"),
    ],
)
def test_describe_address(address: object, text: str) -> None:
    """An address is told as one types it into a browser or a client."""
    assert describe_address(address) == text


class Client:
    """A client with an open WebSocket."""

    def __init__(self, reactor: ListeningReactor) -> None:
        self.protocol = reactor.factory.buildProtocol(None)
        self.transport = StringTransport()
        self.protocol.makeConnection(self.transport)
        self.protocol.dataReceived(
            b"GET /echo HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )

    def lose(self) -> None:
        """The connection is gone."""
        self.protocol.connectionLost(Failure(ConnectionDone()))


def test_stop_in_order(listening: ListeningReactor, tmp_path: Path) -> None:
    """First the port, then the clients, once they have their answers, with 1001, then the services; then it is over."""
    hub = make_hub(listening, tmp_path)
    hub.listen()
    hub.startService()
    client = Client(listening)
    listening.processes[0].get_ready()
    listening.turn()
    client.transport.clear()
    done: list[object] = []
    hub.stopService().addCallback(done.append)
    assert not listening.ports[0].is_listening
    listening.turn()
    process = listening.processes[0]
    assert process.read()[-1][:2] == (SYNC, 1)
    assert client.transport.value() == b""
    process.send((DATA, 1, b"the answer"), (SYNC, 1, b""))
    listening.turn()
    assert client.transport.value()[:16] == b"\x81\x0athe answer\x88\x16\x03\xe9"
    assert not process.input_is_closed
    client.lose()
    listening.turn()
    assert process.read()[-1][0] == 2  # CLOSE
    assert process.input_is_closed
    assert done == []
    process.exit()
    assert len(done) == 1
    assert listening.getDelayedCalls() == []


def test_the_admin_interface_is_the_last_to_go(listening: ListeningReactor, tmp_path: Path) -> None:
    """It listens as long as a service has not finished, so that one can see what the hub waits for."""
    hub = make_hub(listening, tmp_path, admin="unix:/run/admin")
    hub.listen()
    port, admin = listening.ports
    hub.startService()
    hub.supervisor.link(("echo",))
    done: list[object] = []
    hub.stopService().addCallback(done.append)
    assert (port.is_listening, admin.is_listening) == (False, True)
    listening.processes[0].exit()
    assert not admin.is_listening
    assert len(done) == 1


def test_stop_waits_for_no_client_for_ever(listening: ListeningReactor, tmp_path: Path) -> None:
    """When the clients' time is up the services are told to finish, with an on_close for every client."""
    hub = make_hub(listening, tmp_path, stop_timeout=5.0)
    hub.listen()
    hub.startService()
    client = Client(listening)
    process = listening.processes[0]
    process.get_ready()
    listening.turn()
    process.read()
    done: list[object] = []
    hub.stopService().addCallback(done.append)
    client.transport.clear()
    listening.advance(2.4)
    assert client.transport.value() == b""  # the service has not answered
    listening.advance(0.1)
    assert client.transport.value()[:4] == b"\x88\x16\x03\xe9"
    listening.advance(2.4)
    listening.turn()
    process.read()
    assert not process.input_is_closed
    listening.advance(0.1)
    if client.transport.disconnecting or client.transport.disconnected:
        client.lose()
    listening.turn()
    assert [kind for kind, _, _ in process.read()] == [2]  # CLOSE
    assert process.input_is_closed
    process.exit()
    assert len(done) == 1


def test_stop_that_does_not_wait_for_answers(listening: ListeningReactor, tmp_path: Path) -> None:
    """At Ctrl-C clients are closed at once, whatever they have asked."""
    hub = make_hub(listening, tmp_path)
    hub.listen()
    hub.startService()
    client = Client(listening)
    listening.processes[0].get_ready()
    listening.turn()
    client.transport.clear()
    hub.waits_for_answers = False
    hub.stopService()
    assert client.transport.value()[:4] == b"\x88\x16\x03\xe9"


def test_what_a_hub_does_not_load() -> None:
    """Without an admin interface a hub has no library for metrics in its memory."""
    program = "import sys, wshub.tap; print('prometheus_client' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_stop_of_what_has_not_begun(listening: ListeningReactor, tmp_path: Path) -> None:
    """Connections without a request are closed, those that wait for a service get 503."""
    hub = make_hub(listening, tmp_path)
    hub.listen()
    hub.startService()
    silent = listening.factory.buildProtocol(None)
    transport = StringTransport()
    silent.makeConnection(transport)
    waiting = Client(listening)
    hub.stopService()
    assert transport.disconnecting or transport.disconnected
    assert waiting.transport.value().startswith(b"HTTP/1.1 503 ")


@pytest.mark.parametrize(("uid", "user", "warnings"), [(0, "", 1), (0, "nobody", 0), (1000, "", 0)])
def test_warning_of_root(
    listening: ListeningReactor,
    tmp_path: Path,
    log: list[str],
    monkeypatch: pytest.MonkeyPatch,
    uid: int,
    user: str,
    warnings: int,
) -> None:
    """A hub whose services run as root says so, once and plainly, and no other does."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)
    hub = make_hub(listening, tmp_path, service_user=user)
    hub.listen()
    hub.startService()
    hub.stopService()
    assert len([line for line in log if "services run as root: give --service-user NAME" in line]) == warnings


def test_it_starts_its_warden_and_dismisses_it(listening: ListeningReactor, tmp_path: Path) -> None:
    """The shell that watches over the services is there from the start, and is told when all is well."""
    hub = make_hub(listening, tmp_path)
    hub.listen()
    hub.startService()
    listening.advance(0)
    assert listening.warden is not None
    hub.stopService()
    assert listening.warden.told == b".\n"


def test_clients_are_closed_in_batches(listening: ListeningReactor, tmp_path: Path) -> None:
    """Of many clients so many are closed in a turn, and the answers of those before are read meanwhile."""
    hub = make_hub(listening, tmp_path, max_connections_per_address=1000)
    hub.listen()
    hub.startService()
    clients = [Client(listening) for _ in range(2 * BATCH + 1)]
    listening.processes[0].get_ready()
    listening.turn()
    for client in clients:
        client.transport.clear()
    hub.waits_for_answers = False
    hub.stopService()

    def closed() -> int:
        return sum(client.transport.value()[:4] == b"\x88\x16\x03\xe9" for client in clients)

    assert closed() == BATCH
    for client in clients[:BATCH]:
        client.lose()
    clients[-1].lose()  # before its turn
    listening.advance(0)
    assert closed() == 2 * BATCH
    for client in clients[BATCH:-1]:
        client.lose()
    listening.turn()
    listening.processes[0].read()
    assert listening.processes[0].input_is_closed
