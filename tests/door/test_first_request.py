"""The first request of a connection: what is refused, what is said of it, and that nothing is left behind."""

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.error import ConnectionLost
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wshub.config import Settings
from wshub.door import first_request
from wshub.door.deadlines import SWEEP
from wshub.door.first_request import MAX_LOGGED, PortFactory
from wshub.door.handshake import Head
from wshub.door.proxies import Source
from wshub.poller import Poller
from wshub.processes.supervisor import ServiceSupervisor
from wshub.resource import UrlNode, make_site
from wshub.sockets.factory import HubFactory
from wshub.throttle import LINES

UPGRADE = (
    "GET {} HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n{}\r\n"
)


class Transport(StringTransport):
    """One that notes whether it was aborted."""

    is_aborted = False

    def abortConnection(self):
        """End it at once."""
        self.is_aborted = True
        super().abortConnection()


@pytest.fixture
def make_port(reactor, tmp_path):
    """Makes the factory of a port with one service behind it, ``/echo``."""

    def make(**settings):
        (tmp_path / "echo.py").write_text("")
        made = Settings(document_root=tmp_path, **settings)
        poller = Poller(reactor)
        root = UrlNode(ServiceSupervisor(reactor, made, poller), None)
        return PortFactory(reactor, made, root, make_site(root, 5.0), HubFactory(reactor, made, poller))

    return make


def connect(port, host="203.0.113.5", data=b""):
    """A connection, and what was sent on it."""
    protocol = port.buildProtocol(None)
    protocol.makeConnection(Transport(peerAddress=IPv4Address("TCP", host, 4711)))
    if data:
        protocol.dataReceived(data)
    return protocol


def status(protocol):
    """The status that a connection was answered with; 0 if it has no answer yet."""
    answer = protocol.transport.value()
    return int(answer.split(b" ")[1]) if answer else 0


def lose(protocol):
    """The connection is gone."""
    protocol.connectionLost(Failure(ConnectionLost()))


def refusals(log):
    """The lines of the log about who was refused."""
    return [line.partition("] ")[2] for line in log if "refused" in line]


@pytest.mark.parametrize(("said", "logged"), [("400, Who?", "400, Who?"), ("400, ?name=Ada", "400, ?name=Ada.")])
def test_the_path_is_a_sentence_of_its_own(make_port, log, said, logged):
    """What a service says may end as it likes."""
    head = Head("GET", b"/a", "HTTP/1.1", {}, frozenset())
    make_port().note(Source("203.0.113.5", 4711), head, "refused", said)
    assert refusals(log) == [f"refused 203.0.113.5, port 4711: {logged} It asked for /a"]


def test_a_refusal_is_counted_and_one_line(make_port, log):
    """The log has the client, the reason and the path without its query; the counter has the reason."""
    port = make_port()
    protocol = connect(port, data=UPGRADE.format("/a%0d?secret=1", "").encode())
    assert status(protocol) == 404
    assert refusals(log) == ["refused 203.0.113.5, port 4711: 404, No such service. It asked for /a%0d"]
    assert port.accounting.hub.refused == {"not found": 1}


def test_a_path_in_the_log_is_not_long(make_port, log):
    """Of a path of thousands of characters the log has the first ones."""
    connect(make_port(), data=UPGRADE.format("/" + "x" * 5000, "").encode())
    assert len(refusals(log)[0]) < MAX_LOGGED + 100


def test_a_client_of_a_unix_socket(make_port, log):
    """Who has no address is called what it is."""
    protocol = make_port().buildProtocol(None)
    protocol.makeConnection(Transport(peerAddress=UNIXAddress(None)))
    protocol.dataReceived(b"nonsense\r\n\r\n")
    assert refusals(log) == ["refused a Unix socket's client: 400, The request line is not HTTP/1.1."]


def test_a_flood_of_refusals_does_not_flood_the_log(make_port, log):
    """All are counted, few are logged."""
    port = make_port()
    for _ in range(10 * LINES):
        lose(connect(port, data=b"nonsense\r\n\r\n"))
    assert port.accounting.hub.refused == {"bad request": 10 * LINES}
    assert len(refusals(log)) == LINES


def test_nothing_counts_after_a_refusal(make_port, log):
    """Whatever a refused client goes on sending is not kept, not judged and not answered."""
    port = make_port()
    protocol = connect(port, data=b"nonsense\r\n\r\n")
    answer = protocol.transport.value()
    for _ in range(3):
        protocol.dataReceived(b"GET / HTTP/1.1\r\n\r\n" * 1000)
    assert protocol.transport.value() == answer
    assert len(protocol._data) == 0
    assert len(refusals(log)) == 1


@pytest.mark.parametrize("data", [b"", b"nonsense\r\n\r\n"], ids=["no request", "refused"])
def test_whoever_stays_is_closed(make_port, reactor, log, data):
    """A connection without a request, and one that does not take its refusal, are closed when their time is over."""
    protocol = connect(make_port(handshake_timeout=3.0), data=data)
    reactor.advance(3.0 - SWEEP)
    assert not protocol.transport.is_aborted
    for _ in range(2):
        reactor.advance(SWEEP)
    assert protocol.transport.is_aborted
    assert len(refusals(log)) == 1
    lose(protocol)
    reactor.advance(SWEEP)
    assert not reactor.getDelayedCalls()


def test_late_is_counted(make_port, reactor):
    """Nobody answers who is late, but it is known how many were."""
    port = make_port()
    connect(port)
    reactor.advance(6)
    assert port.accounting.hub.refused == {"late": 1}


def test_connections_count_before_their_request(make_port):
    """Those that have sent nothing take a place; one too many is answered at once, until one of them goes."""
    port = make_port(max_connections=4, max_connections_per_address=2)
    silent = [connect(port), connect(port)]
    assert status(connect(port)) == 429
    connect(port, "203.0.113.6")
    assert status(connect(port, "203.0.113.7")) == 503
    assert port.accounting.hub.refused == {"too many connections from one address": 1, "too many connections": 1}
    lose(silent[0])
    assert status(connect(port)) == 0


def test_hardly_any_descriptors(make_port, monkeypatch):
    """A connection with a descriptor above the line is refused."""
    monkeypatch.setattr(first_request, "is_short_for_connections", lambda fd: fd >= 100)
    port = make_port()
    for fd, answer in ((99, 0), (100, 503)):
        transport = Transport()
        transport.fileno = lambda fd=fd: fd
        protocol = port.buildProtocol(None)
        protocol.makeConnection(transport)
        assert status(protocol) == answer
    assert port.accounting.hub.refused == {"too few descriptors": 1}


def test_a_full_service(make_port, reactor):
    """Of those who wait for its start the first ones get in; the others count as refused by the service."""
    port = make_port(max_clients_per_service=2)
    waiting = [connect(port, data=UPGRADE.format("/echo", "").encode()) for _ in range(3)]
    reactor.processes[0].get_ready()
    reactor.turn()
    assert [status(each) for each in waiting] == [101, 101, 503]
    assert port.accounting.service("/echo").refused == {"too many clients of the service": 1}
    assert port.accounting.hub.refused == {}


def test_a_service_that_does_not_start(make_port, reactor):
    """Who waits for it, and who comes later, counts as refused by the service."""
    port = make_port()
    first = connect(port, data=UPGRADE.format("/echo", "").encode())
    reactor.processes[0].fail("secret")
    reactor.turn()
    second = connect(port, data=UPGRADE.format("/echo", "").encode())
    assert [status(first), status(second)] == [500, 500]
    assert port.accounting.service("/echo").refused == {"internal server error": 2}


@pytest.mark.parametrize("pieces", [1, 50])
def test_the_proxy_protocol_comes_first(make_port, reactor, pieces):
    """Its header may come in pieces, and with the request behind it; the service is told the client's address."""
    port = make_port(trusted_proxies=("203.0.113.5",), proxy_protocol=True)
    data = b"PROXY TCP4 198.51.100.1 192.0.2.1 99 80\r\n" + UPGRADE.format("/echo", "").encode()
    protocol = connect(port)
    size = len(data) // pieces + 1
    for start in range(0, len(data), size):
        protocol.dataReceived(data[start : start + size])
    reactor.processes[0].get_ready()
    reactor.turn()
    assert status(protocol) == 101
    ((_, _, opening),) = reactor.processes[0].read()
    assert opening[:2] == ("198.51.100.1", 99)
    assert status(connect(port, data=UPGRADE.format("/echo", "").encode())) == 400
    assert status(connect(port, "203.0.113.6", data)) == 400
