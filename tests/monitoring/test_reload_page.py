"""Reloading by the admin interface, with fake processes."""

import json
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure

from wshub.config import Settings
from wshub.door.admission import Admission
from wshub.monitoring.admin import AdminSite
from wshub.monitoring.admin_pages import AdminPages, Refusals
from wshub.monitoring.inspection import Inspector
from wshub.poller import Poller
from wshub.processes.supervisor import ServiceSupervisor
from wshub.testing import FakeReactor

TOKEN = "Zm9vYmFyZm9vYmFy"


class Admin:
    """The admin interface of a hub whose ``/echo`` runs."""

    def __init__(self, reactor: FakeReactor, folder: Path) -> None:
        self.reactor = reactor
        self.file = folder / "echo.py"
        self.file.write_text("")
        settings = Settings(document_root=folder)
        self.supervisor = ServiceSupervisor(reactor, settings, Poller(reactor))
        refusals = Refusals(reactor, self.supervisor.accounting)
        inspector = Inspector(reactor, self.supervisor, lambda: 0)
        self.site = AdminSite(AdminPages(inspector, TOKEN, refusals, [], Admission(settings)), 5.0, refusals)
        self.supervisor.link(("echo",))
        self.get_ready()

    def get_ready(self) -> None:
        """The last process gets ready."""
        self.reactor.processes[-1].get_ready()
        self.reactor.turn()

    def post(self, path: str, token: str = TOKEN) -> tuple[Any, StringTransport]:
        """Send a request; its channel, and where the answer will be."""
        channel = self.site.buildProtocol(None)
        transport = StringTransport()
        channel.makeConnection(transport)
        channel.dataReceived(f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        return channel, transport


@pytest.fixture
def admin(reactor: FakeReactor, tmp_path: Path) -> Admin:
    """An admin interface that wants a token."""
    return Admin(reactor, tmp_path)


def status(transport: StringTransport) -> int:
    """The status of an answer."""
    return int(transport.value().split()[1])


def results(transport: StringTransport) -> dict[str, str]:
    """What an answer says of each service."""
    body = transport.value().partition(b"\r\n\r\n")[2]
    document = body.split(b"\r\n")[1] if b"chunked" in transport.value() else body
    return {each["service"]: each["result"] for each in json.loads(document)["services"]}


def test_the_answer_waits_for_the_new_process(admin: Admin) -> None:
    """It comes when that is ready, not before."""
    admin.file.write_text("more")
    channel, transport = admin.post("/reload")
    assert transport.value() == b""
    admin.get_ready()
    assert status(transport) == 200
    assert results(transport) == {"/echo": "reloaded"}
    channel.connectionLost(Failure(ConnectionDone()))


def test_named_services(admin: Admin) -> None:
    """Those are reloaded that are named, once each; what no service can be called is unknown like any other."""
    channel, transport = admin.post("/reload?service=/echo&service=/echo&service=/missing&service=/..")
    assert len(admin.reactor.processes) == 2
    admin.get_ready()
    assert results(transport) == {"/echo": "reloaded", "/missing": "unknown", "/..": "unknown"}
    channel.connectionLost(Failure(ConnectionDone()))


def test_whoever_does_not_wait(admin: Admin, log: list[str]) -> None:
    """The service is reloaded all the same, and nothing is written to who has gone."""
    channel, transport = admin.post("/reload?service=/echo")
    channel.connectionLost(Failure(ConnectionDone()))
    admin.get_ready()
    assert transport.value() == b""
    assert admin.supervisor.accounting.service("/echo").reloads == 1
    assert not any("Unhandled" in line or "Traceback" in line for line in log)


def test_without_the_token(admin: Admin) -> None:
    """Nothing is reloaded, and it is counted."""
    channel, transport = admin.post("/reload?service=/echo", "wrong")
    assert status(transport) == 401
    assert len(admin.reactor.processes) == 1
    assert admin.supervisor.accounting.hub.refused == {"admin: wrong token": 1}
    channel.connectionLost(Failure(ConnectionDone()))


def test_other_pages(admin: Admin) -> None:
    """Nothing else can be done there."""
    channel, transport = admin.post("/services")
    assert status(transport) == 405
    channel.connectionLost(Failure(ConnectionDone()))
