"""What a hub does for somebody who writes a service."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from wshub.config import Settings
from wshub.development import Development
from wshub.poller import Poller
from wshub.processes.supervisor import ServiceSupervisor
from wshub.processes.watching import INTERVAL, SETTLE
from wshub.testing import FakeReactor

SERVICE = "import wshub\nclass Service(wshub.Service):\n    pass\n"
BASE = "ws://localhost:1"


class Desk:
    """A folder with ``/echo``, somebody who writes there, and a hub that watches."""

    def __init__(self, reactor: FakeReactor, root: Path, log: list[str]) -> None:
        self.reactor = reactor
        self.root = root
        self.log = log
        self.save("echo.py", SERVICE)
        self.save("helper.py", "")
        self.supervisor = ServiceSupervisor(reactor, Settings(document_root=root), Poller(reactor), {})
        self.development = Development(reactor, self.supervisor, BASE)

    def save(self, name: str, text: str) -> None:
        """Save a file."""
        (self.root / name).write_text(text)

    def start(self) -> None:
        """Begin to watch, with ``/echo`` running, which has imported the helper."""
        self.development.start()
        self.supervisor.link(("echo",))
        self.get_ready()
        self.log.clear()

    def get_ready(self) -> None:
        """The last process gets ready."""
        self.reactor.processes[-1].get_ready(files="helper.py")
        self.reactor.turn()

    def look(self) -> list[str]:
        """Let the hub notice what has changed; what it says."""
        self.reactor.advance(INTERVAL)
        self.reactor.advance(SETTLE)
        said, self.log[:] = self.log[:], []
        return said


@pytest.fixture
def desk(reactor: FakeReactor, tmp_path: Path, log: list[str]) -> Iterator[Desk]:
    """A hub that does not watch yet."""
    desk = Desk(reactor, tmp_path, log)
    yield desk
    desk.development.watch.stop()


def test_addresses(desk: Desk) -> None:
    """Each service has its URL and its page; a mistake is told, and a module for others is none."""
    desk.save("echo.html", "")
    desk.save("wrong.py", "x = (\n")
    desk.development.start()
    assert desk.log == [
        f"[wshub#info] {BASE}/echo   http://localhost:1/echo",
        "[wshub#error] /wrong: wrong.py, line 1: '(' was never closed",
    ]


def test_an_empty_folder(desk: Desk) -> None:
    """Whoever has nothing yet is told how to begin."""
    (desk.root / "echo.py").unlink()
    (desk.root / "helper.py").unlink()
    desk.development.start()
    assert "wshub new" in desk.log[0]


@pytest.mark.parametrize("name", ["echo.py", "helper.py"])
def test_what_is_saved_is_reloaded(desk: Desk, name: str) -> None:
    """The service's own file, and one that it has imported."""
    desk.start()
    desk.save(name, SERVICE + "# more")
    desk.look()
    assert len(desk.reactor.processes) == 2
    desk.get_ready()
    assert any("reloaded /echo in" in line for line in desk.log)
    desk.look()
    assert len(desk.reactor.processes) == 2


def test_a_failure_is_not_tried_again(desk: Desk) -> None:
    """Until somebody saves again."""
    desk.start()
    desk.save("echo.py", "wrong")
    desk.look()
    desk.reactor.processes[-1].fail("no")
    desk.reactor.processes[-1].exit(1)
    desk.reactor.turn()
    for _ in range(3):
        desk.look()
    assert len(desk.reactor.processes) == 2


def test_a_new_service(desk: Desk) -> None:
    """It is told of with its URL, and nothing is started."""
    desk.start()
    desk.save("chat.py", SERVICE)
    assert desk.look() == [f"[wshub#info] new: /chat   {BASE}/chat"]
    desk.save("chat.py", SERVICE + "x = (")
    assert desk.look() == ["[wshub#error] /chat: chat.py, line 4: '(' was never closed"]
    assert len(desk.reactor.processes) == 1


def test_a_file_that_is_gone(desk: Desk) -> None:
    """A service that runs goes on, and whoever has removed its file is told so; it is back with the file."""
    desk.start()
    (desk.root / "echo.py").unlink()
    assert desk.look() == ["[wshub#warn] /echo: its file is gone; it serves until `wshub reload /echo`"]
    assert desk.supervisor.state(("echo",)) == ("running", 0)
    desk.save("echo.py", SERVICE)
    desk.look()
    assert len(desk.reactor.processes) == 2


def fail(desk: Desk) -> None:
    """The process that was started last does not get ready."""
    desk.reactor.processes[-1].fail("ImportError")
    desk.reactor.processes[-1].exit(1)
    desk.reactor.turn()


def test_what_is_saved_while_a_process_starts(desk: Desk) -> None:
    """It may have imported that before or after: once it says so, another is started."""
    desk.start()
    desk.save("echo.py", SERVICE + "# more")
    desk.look()
    desk.save("helper.py", "# another")
    desk.look()
    assert len(desk.reactor.processes) == 2
    desk.get_ready()
    assert len(desk.reactor.processes) == 3


def test_what_a_new_version_was_missing(desk: Desk) -> None:
    """It did not start, and what is mended is no file of the old one's: it is tried again, and no other service is."""
    desk.start()
    desk.save("chat.py", SERVICE)
    desk.look()
    desk.supervisor.link(("chat",))
    desk.get_ready()
    desk.save("echo.py", SERVICE + "import missing")
    desk.look()
    fail(desk)
    assert len(desk.reactor.processes) == 3
    desk.save("missing.py", "")
    desk.look()
    assert len(desk.reactor.processes) == 4
    desk.get_ready()
    assert any("reloaded /echo in" in line for line in desk.log)
    desk.save("other.py", "")
    desk.look()
    assert len(desk.reactor.processes) == 4


def test_what_a_service_was_missing_from_the_start(desk: Desk) -> None:
    """It does not run, and its own file is as it was: the next client starts it all the same."""
    desk.development.start()
    desk.supervisor.link(("echo",))
    fail(desk)
    assert desk.supervisor.state(("echo",)) == ("failed", 0)
    desk.look()
    assert desk.supervisor.state(("echo",)) == ("failed", 0)
    desk.save("helper.py", "# mended")
    desk.look()
    assert desk.supervisor.state(("echo",)) == ("idle", 0)


def test_an_eager_service_that_is_mended(desk: Desk) -> None:
    """It is started as soon as it is saved."""
    desk.save("clock.py", "class Service:\n    lifetime = 'eager'\n")
    desk.supervisor.start()
    desk.development.start()
    fail(desk)
    desk.save("clock.py", "class Service:\n    lifetime = 'eager'  # mended\n")
    desk.look()
    assert len(desk.reactor.processes) == 2


def test_a_name_that_is_no_text(desk: Desk) -> None:
    """A file that no URL can name is no service, and no reason to look no more."""
    desk.start()
    (desk.root / os.fsdecode(b"\xff.py")).write_text(SERVICE)
    assert desk.look() == []
    desk.save("chat.py", SERVICE)
    assert desk.look() == [f"[wshub#info] new: /chat   {BASE}/chat"]
