"""The admin interface without a port: who gets which page, and what is in it."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wshub.config import Settings
from wshub.door.admission import Admission
from wshub.errors import ConfigError
from wshub.monitoring.admin import MOST, PATIENCE, AdminChannel, AdminInterface, AdminSite
from wshub.monitoring.admin_pages import AdminPages, Refusals
from wshub.monitoring.authority import PublicPort
from wshub.monitoring.inspection import PERIOD, REMEMBERED, SAMPLED, Inspector
from wshub.monitoring.views import Usage
from wshub.poller import Poller
from wshub.processes.supervisor import ServiceSupervisor
from wshub.testing import OPENING, FakeReactor, FakeSocket
from wshub.throttle import LINES
from wshub.wire import DATA

TOKEN = "Zm9vYmFyZm9vYmFy"


class Hub:
    """A hub without ports, over a folder with ``/echo`` and ``/idle``."""

    def __init__(self, reactor: FakeReactor, folder: Path, token: str = "", **settings: Any) -> None:
        for name in ("echo.py", "idle.py"):
            (folder / name).write_text("")
        self.reactor = reactor
        self.supervisor = ServiceSupervisor(reactor, Settings(document_root=folder, **settings), Poller(reactor))
        self.inspector = Inspector(reactor, self.supervisor, lambda: 7)
        self.refusals = Refusals(reactor, self.supervisor.accounting)
        self.admission = Admission(Settings(document_root=folder, **settings))
        self.ports = [PublicPort("0.0.0.0", 12345, False)]
        pages = AdminPages(self.inspector, token, self.refusals, self.ports, self.admission)
        self.site = AdminSite(pages, 5.0, self.refusals)

    def start(self) -> None:
        """Listen, and start what is eager."""
        self.supervisor.start()
        self.inspector.begin()

    def get(
        self,
        path: str,
        authorization: str = "",
        method: str = "GET",
        host: str = "x",
        accept: str = "*/*",
        listens_at: str = "10.0.0.1",
    ) -> tuple[int, dict[str, str], str]:
        """Status, headers and body of a request's answer."""
        channel = self.site.buildProtocol(None)
        transport = StringTransport(hostAddress=IPv4Address("TCP", listens_at, 9187))
        channel.makeConnection(transport)
        header = f"Authorization: {authorization}\r\n" if authorization else ""
        channel.dataReceived(f"{method} {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\n{header}\r\n".encode())
        channel.connectionLost(Failure(ConnectionDone()))
        head, _, body = transport.value().decode().partition("\r\n\r\n")
        status, *lines = head.split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        return int(status.split()[1]), {name.lower(): value for name, value in headers.items()}, body


@pytest.fixture
def hub(reactor: FakeReactor, tmp_path: Path) -> Hub:
    """A hub that wants no token."""
    return Hub(reactor, tmp_path)


def test_pages(hub: Hub) -> None:
    """There are four pages, which are named to whoever asks for another; they are not to be kept."""
    hub.start()
    for path, kind in (
        ("/healthz", "text/plain; charset=utf-8"),
        ("/readyz", "text/plain; charset=utf-8"),
        ("/metrics", "text/plain; version=0.0.4; charset=utf-8"),
        ("/services", "application/json"),
    ):
        status, headers, body = hub.get(path)
        assert (status, headers["content-type"], headers["cache-control"]) == (200, kind, "no-store")
        assert body
        for other in ("/", "/nowhere"):
            assert path in hub.get(other)[2]
    assert hub.get("/nowhere")[0] == 404
    assert hub.get("/")[0] == 200
    assert hub.get("/services?x=1")[0] == 200
    assert hub.get("/metrics", method="POST")[0] == 405
    status, headers, body = hub.get("/metrics", method="HEAD")
    assert (status, body) == (200, "")
    assert int(headers["content-length"]) > 100


@pytest.mark.parametrize("path", ["/metrics", "/services", "/recent?service=/echo", "/", "/nowhere", "/console"])
def test_token(reactor: FakeReactor, tmp_path: Path, path: str) -> None:
    """Where there is a token, nothing that tells anything is had without it, nor with another."""
    hub = Hub(reactor, tmp_path, TOKEN)
    hub.start()
    for wrong in ("", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN):
        status, headers, body = hub.get(path, wrong)
        assert (status, headers["www-authenticate"]) == (401, 'Bearer realm="wshub"')
        assert "wshub_" not in body
        assert TOKEN not in body
    for right in (f"Bearer {TOKEN}", f"bearer {TOKEN}", f"BEARER  {TOKEN}"):
        assert hub.get(path, right)[0] in (200, 404)


def test_who_guesses_is_in_the_log(reactor: FakeReactor, tmp_path: Path, log: list[str]) -> None:
    """Each request without the right token is counted; of lines there are few, and none has what was sent."""
    hub = Hub(reactor, tmp_path, TOKEN)
    hub.get("/metrics")
    for _ in range(50):
        hub.get("/metrics", "Bearer guess")
    assert hub.supervisor.accounting.hub.refused == {"admin: no token": 1, "admin: wrong token": 50}
    lines = [line for line in log if "admin interface" in line]
    assert len(lines) == 1 + LINES
    assert re.fullmatch(r"\[wshub#warn\] admin interface: refused [\d.]+: no token", lines[0])
    assert not any("guess" in line for line in lines)


def test_connections_are_few(reactor: FakeReactor, tmp_path: Path, log: list[str]) -> None:
    """Who opens more than there may be is not served, until others have gone; that is counted, and said."""
    hub = Hub(reactor, tmp_path)
    connections = []
    for _ in range(MOST):
        connections.append(hub.site.buildProtocol(None))
        connections[-1].makeConnection(StringTransport())
    assert hub.site.buildProtocol(None) is None
    assert hub.supervisor.accounting.hub.refused == {"admin: too many connections": 1}
    assert [line for line in log if line.endswith("refused a Unix socket's client: too many connections")]
    connections[0].connectionLost(Failure(ConnectionDone()))
    assert hub.site.buildProtocol(None) is not None


class Transport(StringTransport):
    """One that may be told twice that its producer has gone, as real ones may."""

    def unregisterProducer(self) -> None:
        """Forget the producer, if there is one."""
        self.producer = None


class Visitor:
    """A connection to the interface, whose time the test moves."""

    def __init__(self, hub: Hub) -> None:
        self.clock = Clock()
        self.transport = Transport()
        self.channel = hub.site.buildProtocol(None)
        self.channel.callLater = self.clock.callLater
        self.channel.makeConnection(self.transport)

    def send(self, text: str) -> bytes:
        """Send some of a request; all that was answered by then."""
        self.channel.dataReceived(text.encode())
        return bytes(self.transport.value())

    def leave(self) -> None:
        """The connection is gone, and nothing is left of it."""
        self.channel.connectionLost(Failure(ConnectionDone()))
        assert self.clock.getDelayedCalls() == []


FORM = "POST /reload HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.mark.parametrize(
    "length", ["Content-Length: 16385", f"Content-Length: {1 << 40}", "Transfer-Encoding: chunked"]
)
def test_a_body_that_nobody_needs(reactor: FakeReactor, tmp_path: Path, length: str) -> None:
    """It is refused before any of it is kept, whoever sends it."""
    visitor = Visitor(Hub(reactor, tmp_path, TOKEN))
    answer = visitor.send(f"{FORM}{length}\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert visitor.transport.disconnecting
    assert visitor.send("5\r\nabcde\r\n0\r\n\r\n") == answer
    visitor.leave()


def test_a_small_body(hub: Hub) -> None:
    """It is taken, and does nothing."""
    visitor = Visitor(hub)
    assert visitor.send("GET /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab") == b""
    assert visitor.send("c").startswith(b"HTTP/1.1 200 ")
    visitor.leave()


def test_a_request_that_comes_a_byte_at_a_time(hub: Hub) -> None:
    """It has as much time as any other, or a few of the kind would keep everybody out."""
    visitor = Visitor(hub)
    for byte in "GET /healthz"[:5]:
        assert not visitor.transport.disconnecting
        visitor.send(byte)
        visitor.clock.advance(1)
    assert visitor.transport.disconnecting
    visitor.leave()


def test_an_answer_that_nobody_reads(hub: Hub) -> None:
    """The connection is closed as soon as everything has been read; that is not waited for without end."""
    visitor = Visitor(hub)
    assert visitor.send("GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    assert visitor.transport.disconnecting
    visitor.clock.advance(PATIENCE - 1)
    assert not visitor.transport.disconnected
    visitor.clock.advance(1)
    visitor.clock.advance(AdminChannel.abortTimeout)
    assert visitor.transport.disconnected
    visitor.leave()


def test_an_answer_that_takes_its_time(reactor: FakeReactor, tmp_path: Path) -> None:
    """Whoever waits for a reload is not sent away before it is known what came of it."""
    hub = Hub(reactor, tmp_path)
    hub.start()
    hub.supervisor.link(("echo",))
    reactor.processes[0].get_ready()
    reactor.turn()
    visitor = Visitor(hub)
    visitor.send("POST /reload?service=/echo HTTP/1.1\r\nHost: x\r\n\r\n")
    visitor.clock.advance(2 * PATIENCE)
    assert not visitor.transport.disconnecting
    reactor.processes[1].get_ready()
    reactor.turn()
    assert visitor.transport.value().startswith(b"HTTP/1.1 200 ")
    visitor.leave()


def test_probes_need_no_token(reactor: FakeReactor, tmp_path: Path) -> None:
    """Whether all is well is no secret: who probes cannot send a token."""
    hub = Hub(reactor, tmp_path, TOKEN)
    hub.start()
    assert hub.get("/healthz")[0] == 200
    assert hub.get("/readyz")[0] == 200


def test_ready(reactor: FakeReactor, tmp_path: Path) -> None:
    """It is ready once every eager service runs. While it begins, stops, or lacks one, it answers, and says why not."""
    hub = Hub(reactor, tmp_path, eager=("/echo",))
    assert hub.get("/readyz")[::2] == (503, "Not ready: the hub is starting or stopping.\n")
    hub.start()
    assert hub.get("/readyz")[::2] == (503, "Not ready: /echo is starting.\n")
    reactor.processes[0].get_ready()
    reactor.turn()
    assert hub.get("/readyz")[::2] == (200, "The hub is ready.\n")
    reactor.processes[0].exit(1)
    assert hub.get("/readyz")[::2] == (503, "Not ready: /echo is idle.\n")
    hub.inspector.end()
    assert hub.get("/readyz")[0] == 503
    assert hub.get("/healthz")[0] == 200


BROWSER = "text/html,application/xhtml+xml,*/*;q=0.8"


def test_the_console_needs_no_token_but_has_nothing_to_tell(reactor: FakeReactor, tmp_path: Path) -> None:
    """A browser gets the page, with a strict policy; whether there is a token is known, and nothing else."""
    hub = Hub(reactor, tmp_path, TOKEN)
    hub.start()
    status, headers, body = hub.get("/", accept=BROWSER, host="localhost:9187")
    assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert (headers["x-frame-options"], headers["referrer-policy"]) == ("DENY", "no-referrer")
    assert "connect-src 'self' ws://localhost:12345;" in headers["content-security-policy"]
    assert body == hub.get("/console/")[2]
    assert "<h1>wshub" in body
    assert "echo" not in body
    for name, kind in (("main.js", "text/javascript"), ("base.css", "text/css"), ("icon.svg", "image/svg+xml")):
        status, headers, _ = hub.get(f"/console/{name}")
        assert status == 200
        assert headers["content-type"].startswith(kind)
    for name in ("../welcome.html", "..%2fwelcome.html", "nothing.js", "index.html"):
        assert hub.get(f"/console/{name}")[0] == 401
        assert hub.get(f"/console/{name}", f"Bearer {TOKEN}")[0] == 404
    assert hub.get("/console/needs-token")[2] == "yes\n"
    assert Hub(reactor, tmp_path).get("/console/needs-token")[2] == "no\n"


def test_what_is_no_browser_gets_the_list(hub: Hub) -> None:
    """As curl does, which takes anything."""
    assert hub.get("/")[1]["content-type"] == "text/plain; charset=utf-8"


def test_a_name_that_is_not_this_machines(hub: Hub, log: list[str]) -> None:
    """A page whose name server leads to this machine gets nothing at a port of it alone, and is in the log."""
    hub.start()
    for path in ("/services", "/", "/console/", "/healthz"):
        status, _, body = hub.get(path, host="evil.example:9187", listens_at="127.0.0.1")
        assert status == 421
        assert "echo" not in body
    for name in ("localhost:9187", "127.0.0.1:9187", "[::1]:1", ""):
        assert hub.get("/services", host=name, listens_at="127.0.0.1")[0] == 200
    assert hub.get("/services", host="hub.example:9187", listens_at="10.0.0.1")[0] == 200
    assert hub.supervisor.accounting.hub.refused == {"admin: another machine's name": 4}
    assert len([line for line in log if "another machine's name" in line]) == 4


def test_where_to_connect(hub: Hub) -> None:
    """The data say where the services are, as the browser knows this machine, and whether its page may connect."""
    hub.start()
    data = json.loads(hub.get("/services", host="localhost:9187")[2])
    assert (data["public"], data["may_connect"]) == (["ws://localhost:12345"], False)
    hub.admission.allow_origin("http://localhost:9187")
    assert json.loads(hub.get("/services", host="localhost:9187")[2])["may_connect"]
    assert not json.loads(hub.get("/services", host="localhost:9188")[2])["may_connect"]
    assert (data["connections"], data["not_ready"], data["lag"]) == (7, [], 0.0)
    assert abs(data["time"] - data["began"]) < 60


def test_recent(reactor: FakeReactor, tmp_path: Path) -> None:
    """What a service printed and raised, when it began and died; the next time only what is new."""
    hub = Hub(reactor, tmp_path, admin="9187")
    hub.start()
    hub.supervisor.link(("echo",))
    process = reactor.processes[0]
    process.get_ready()
    reactor.turn()
    process.print(b"hello\n")
    recent = json.loads(hub.get("/recent?service=/echo")[2])
    assert recent["service"]["path"] == "/echo"
    assert [(line["number"], line["text"]) for line in recent["output"]] == [(2, "hello")]
    assert [event["text"] for event in recent["events"]] == [f"started, process {process.pid}"]
    assert (recent["last"], recent["output_total"], recent["closings"]) == (2, 1, [])
    process.print(b"Traceback (most recent call last):\n  File\nValueError: bad\n", fd=2)
    process.exit(1)
    reactor.turn()
    recent = json.loads(hub.get("/recent?service=/echo&after=2")[2])
    assert [line["text"] for line in recent["output"]][-1] == "ValueError: bad"
    assert [each["text"] for each in recent["tracebacks"]] == [
        "Traceback (most recent call last):\n  File\nValueError: bad"
    ]
    assert [event["text"].partition(".")[0] for event in recent["events"]] == ["died: it ended with exit status 1"]
    assert json.loads(hub.get(f"/recent?service=/echo&after={recent['last']}")[2])["output"] == []


def test_recent_of_a_service_that_does_not_start(reactor: FakeReactor, tmp_path: Path) -> None:
    """The traceback that it sent is there, and that it is left alone."""
    hub = Hub(reactor, tmp_path, admin="9187")
    hub.start()
    hub.supervisor.link(("echo",))
    reactor.processes[0].fail('Traceback (most recent call last):\n  File "x"\nNameError: \x1b[0m\n')
    reactor.turn()
    reactor.processes[0].exit(1)
    recent = json.loads(hub.get("/recent?service=/echo")[2])
    assert recent["tracebacks"][0]["text"].endswith('File "x"\nNameError: \\x1b[0m')
    assert recent["events"][-1]["text"] == "does not start until its file changes: it does not start"


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("", 400),
        ("?service=/echo&after=x", 400),
        ("?service=/echo&after=-1", 400),
        (f"?service=/echo&after={'9' * 100}", 400),
        ("?service=%ff", 400),
        ("?service=/echo&after=%D9%A1", 400),
        ("?service=/nowhere", 404),
        ("?service=/../echo", 404),
        ("?service=/%2e%2e/echo", 404),
        ("?service=echo", 404),
        ("?service=/idle", 200),
        ("?service=/echo&after=7", 200),
    ],
)
def test_recent_of_what_is_not_there(hub: Hub, query: str, status: int) -> None:
    """A path that is none, or that leads elsewhere, is no service; nothing is made for it."""
    hub.start()
    assert hub.get(f"/recent{query}")[0] == status
    assert hub.supervisor.accounting.services == {}


def test_samples(reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each service that runs is looked at once in a while, for the curves; only a first look gets all of that."""
    monkeypatch.setattr("wshub.monitoring.inspection.read_usage", lambda pid: Usage(1 << 20, 2.5))
    hub = Hub(reactor, tmp_path, admin="9187")
    hub.start()
    for name in ("echo", "idle"):
        hub.supervisor.link((name,))
    for process in reactor.processes:
        process.get_ready()
    reactor.turn()
    for _ in range(3 * SAMPLED):
        reactor.advance(PERIOD)
    for path in ("/echo", "/idle"):
        samples = json.loads(hub.get(f"/recent?service={path}")[2])["samples"]
        assert len(samples) == 3
        assert (samples[0]["memory"], samples[0]["cpu"], samples[0]["clients"]) == (1 << 20, 2.5, 0)
    assert json.loads(hub.get("/recent?service=/echo&after=1")[2])["samples"] == []


def test_what_many_processes_use_is_read_in_turn(
    reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An answer that is asked for each second reads a part of them, those first that were read longest ago."""
    read: list[int] = []

    def read_usage(pid: int | str) -> Usage:
        if pid != "self":
            read.append(int(pid))
        return Usage(1, 2.0)

    monkeypatch.setattr("wshub.monitoring.inspection.read_usage", read_usage)
    monkeypatch.setattr("wshub.monitoring.inspection.MOST_READ", 1)
    hub = Hub(reactor, tmp_path)
    hub.start()
    for name in ("echo", "idle"):
        hub.supervisor.link((name,))
    pids = [process.pid for process in reactor.processes]
    first = json.loads(hub.get("/services")[2])["services"]
    assert sorted(each["measured"] is None for each in first) == [False, True]  # its turn comes next
    for _ in range(3):
        hub.get("/services")
    assert set(read[:2]) == set(read[2:]) == set(pids)
    assert len(read) == 4
    again = json.loads(hub.get("/services")[2])["services"]
    assert all(after["measured"] > (before["measured"] or 0) for before, after in zip(first, again, strict=True))
    read.clear()
    hub.get("/metrics")
    assert sorted(read) == sorted(pids)


def test_services(hub: Hub, reactor: FakeReactor) -> None:
    """Each service has its process, its counts, and the last line of its last traceback; a stranger's has none."""
    hub.start()
    link = hub.supervisor.link(("echo",))
    process = reactor.processes[0]
    process.get_ready()
    reactor.turn()
    socket_id = link.open(FakeSocket(), OPENING)
    link.message(DATA, socket_id, b"hello")
    process.print(b'Traceback (most recent call last):\n  File "x", line 1, in f\nValueError: \x1b[1mbad\n', fd=2)
    echo, idle = json.loads(hub.get("/services")[2])["services"]
    assert (echo["path"], echo["state"], echo["pid"], echo["clients"]) == ("/echo", "running", process.pid, 1)
    assert (echo["opened"], echo["received"], echo["starts"], echo["restarts"]) == (1, 1, 1, 0)
    assert echo["last_error"] == "ValueError: \\x1b[1mbad"
    assert echo["memory"] is None  # nobody has the pid of a fake process
    assert (idle["path"], idle["state"], idle["pid"], idle["clients"]) == ("/idle", "idle", None, 0)
    link.close(socket_id, 1000, "")
    assert json.loads(hub.get("/services")[2])["services"][0]["closed"] == {"1000": 1}


def test_error_of_a_service_that_does_not_start(hub: Hub, reactor: FakeReactor) -> None:
    """The last line of the traceback stays known when the process has gone, and so does the state."""
    hub.start()
    hub.supervisor.link(("echo",))
    reactor.processes[0].fail('Traceback (most recent call last):\n  File "x"\nNameError: name\n')
    reactor.turn()
    reactor.processes[0].exit(1)
    echo = json.loads(hub.get("/services")[2])["services"][0]
    assert (echo["state"], echo["pid"], echo["last_error"]) == ("failed", None, "NameError: name")
    assert echo["deaths"] == {"it does not start": 1}


def test_what_waits_for_the_pipe(hub: Hub, reactor: FakeReactor) -> None:
    """What the pipe of a service does not take is seen."""
    hub.start()
    link = hub.supervisor.link(("echo",))
    reactor.processes[0].get_ready()
    reactor.turn()
    link.message(DATA, link.open(FakeSocket(), OPENING), bytes(3 << 20))
    reactor.turn()
    echo = json.loads(hub.get("/services")[2])["services"][0]
    assert 1 << 20 < echo["waiting_for_service"] <= (3 << 20) + 1000


def test_metrics_have_what_was_started(hub: Hub) -> None:
    """A service that nobody has asked for is no label of a metric; one that runs is."""
    hub.start()
    hub.supervisor.link(("echo",))
    metrics = hub.get("/metrics")[2]
    assert 'wshub_service_state{service="/echo",state="starting"} 1' in metrics
    assert "wshub_connections 7" in metrics
    assert "/idle" not in metrics


def test_lag(hub: Hub, reactor: FakeReactor) -> None:
    """The lag is how late the reactor was at worst, until that is long ago."""
    hub.start()
    reactor.rightNow += 0.75  # and nothing was done meanwhile
    reactor.advance(PERIOD)
    assert "wshub_event_loop_lag_seconds 0.75" in hub.get("/metrics")[2]
    for _ in range(REMEMBERED):
        reactor.advance(PERIOD)
    assert "wshub_event_loop_lag_seconds 0.0\n" in hub.get("/metrics")[2]
    hub.inspector.end()
    assert reactor.getDelayedCalls() == []


class FakePort:
    """What listens."""

    is_listening = True

    def getHost(self) -> object:
        """Where."""
        return UNIXAddress(b"/run/admin")

    def stopListening(self) -> "Deferred[None]":
        """Stop."""
        self.is_listening = False
        return succeed(None)


def make_interface(
    reactor: FakeReactor, folder: Path, monkeypatch: pytest.MonkeyPatch, **settings: str
) -> tuple[AdminInterface, list[tuple[object, ...]], FakePort]:
    """An interface, where it was asked to listen, and the port that it got."""
    port, asked = FakePort(), []

    def open_port(*arguments: object) -> FakePort:
        asked.append((arguments[1], arguments[3]))
        return port

    monkeypatch.setattr("wshub.monitoring.admin.open_port", open_port)
    hub = Hub(reactor, folder)
    its_settings = Settings(document_root=folder, **settings)  # type: ignore[arg-type]
    return AdminInterface(reactor, its_settings, hub.inspector, hub.admission), asked, port


def test_token_is_made_up_and_said_once(
    reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    """At a port of this machine there is always a token: one that nobody could know is in the log."""
    interface, asked, port = make_interface(reactor, tmp_path, monkeypatch, admin="9187")
    interface.listen()
    interface.announce()
    assert asked == [("tcp:9187:interface=127.0.0.1", "admin")]
    (line,) = (line for line in log if "admin interface" in line)
    assert re.search(r"Authorization: Bearer [\w-]{32}$", line)
    assert line.endswith(interface.token)
    assert make_interface(reactor, tmp_path, monkeypatch, admin="9187")[0].token != interface.token
    interface.close()
    assert not port.is_listening


@pytest.mark.parametrize("settings", [{"admin": "9187", "admin_token": TOKEN}, {"admin": "unix:/run/admin"}])
def test_a_token_that_is_known_is_not_logged(
    reactor: FakeReactor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    log: list[str],
    settings: dict[str, str],
) -> None:
    """What is in the settings does not belong in the log; and a Unix socket needs nothing."""
    interface, _, _ = make_interface(reactor, tmp_path, monkeypatch, **settings)
    interface.listen()
    interface.announce()
    assert interface.token == settings.get("admin_token", "")
    assert [line for line in log if "admin interface: unix:/run/admin" in line]
    assert not [line for line in log if "Bearer" in line or "token=" in line or TOKEN in line]


def test_the_url_of_the_console(
    reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]
) -> None:
    """The log has it, with a token that nobody could know; without a port there is none."""
    for settings in ({"admin": "9187"}, {"admin": "9187", "admin_token": TOKEN}, {"admin": "unix:/run/admin"}):
        interface, _, port = make_interface(reactor, tmp_path, monkeypatch, **settings)
        if settings["admin"] == "9187":
            monkeypatch.setattr(port, "getHost", lambda: IPv4Address("TCP", "127.0.0.1", 9187))
        assert (interface.console_url, interface.origins) == (None, ())
        interface.listen()
        interface.announce()
        lines = [line.partition("console: ")[2] for line in log if "console: " in line]
        log.clear()
        if settings["admin"] == "9187":
            assert interface.console_url == f"http://127.0.0.1:9187/#token={interface.token}"
            assert interface.origins == ("http://127.0.0.1:9187", "http://localhost:9187")
            assert lines == ["http://127.0.0.1:9187/" if "admin_token" in settings else interface.console_url]
        else:
            assert (interface.console_url, interface.origins, lines) == (None, (), [])


def test_off_by_default(reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: list[str]) -> None:
    """Nobody who did not ask for it has it."""
    interface, asked, _ = make_interface(reactor, tmp_path, monkeypatch)
    interface.listen()
    interface.announce()
    interface.close()
    assert asked == []
    assert not [line for line in log if "admin" in line]


def test_an_endpoint_that_cannot_be_had(reactor: FakeReactor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is a `ConfigError` that names the setting."""
    from twisted.internet import reactor as real  # noqa: PLC0415 - a socket's path is looked at by a real one alone

    hub = Hub(reactor, tmp_path)
    settings = Settings(document_root=tmp_path, admin="unix:/no/such/folder/admin")
    assert serverFromString(real, settings.admin)
    with pytest.raises(ConfigError, match=r"cannot listen at unix:/no/such.*choose another with --admin"):
        AdminInterface(real, settings, hub.inspector, hub.admission).listen()
