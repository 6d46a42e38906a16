"""What the supervisor decides, with fake processes and a clock that stands still."""

import os
import signal
from pathlib import Path

import pytest

from wshub.config import Settings
from wshub.errors import HubStopping, ServiceCrashing, ServiceFailed, ServiceNotFound, ServiceUnavailable
from wshub.link import ServiceLink, State
from wshub.poller import Poller
from wshub.supervisor import EXIT_TIME, ServiceSupervisor
from wshub.testing import OPENING, FakeProcess, FakeReactor, FakeSocket

ECHO = ("echo",)
SETTINGS = {"start_timeout": 30.0, "stop_timeout": 5.0}


class Supervised:
    """A supervisor of a folder with one service, ``/echo``."""

    def __init__(self, reactor: FakeReactor, root: Path) -> None:
        self.reactor = reactor
        self.file = root / "echo.py"
        self.file.write_text("first")
        self.supervisor = ServiceSupervisor(reactor, Settings(document_root=root, **SETTINGS), Poller(reactor))

    def start(self) -> tuple[ServiceLink, FakeProcess]:
        """Ask for the service, which must be started for it."""
        count = len(self.reactor.processes)
        link = self.supervisor.link(ECHO)
        assert len(self.reactor.processes) == count + 1
        return link, self.reactor.processes[-1]

    def run(self) -> tuple[ServiceLink, FakeProcess]:
        """The same, and let it get ready."""
        link, process = self.start()
        process.get_ready()
        self.reactor.turn()
        assert link.state is State.READY
        return link, process

    def die(self) -> None:
        """Run the service and let it die."""
        _, process = self.run()
        process.exit(1)

    def change_file(self) -> None:
        """Save the file anew."""
        self.file.write_text(self.file.read_text() + " and more")

    @property
    def state(self) -> tuple[str, int]:
        """What the supervisor says of the service."""
        return self.supervisor.state(ECHO)


@pytest.fixture
def supervised(reactor: FakeReactor, tmp_path: Path) -> Supervised:
    """A supervisor that has started nothing."""
    return Supervised(reactor, tmp_path)


def answers(link: ServiceLink) -> list[ServiceUnavailable | None]:
    """Where the answer to somebody who waits for the service will be."""
    told: list[ServiceUnavailable | None] = []
    link.when_ready(told.append)
    return told


def test_one_process_for_everybody(supervised: Supervised) -> None:
    """A service is started by whoever asks first; all others share it, be it ready or not."""
    assert supervised.state == ("idle", 0)
    link, process = supervised.start()
    assert supervised.state == ("starting", 0)
    assert supervised.supervisor.link(ECHO) is link
    told = answers(link), answers(link)
    process.get_ready(subprotocols="a,b")
    supervised.reactor.turn()
    assert told == ([None], [None])
    assert link.subprotocols == ("a", "b")
    link.open(FakeSocket(), OPENING)
    assert supervised.state == ("running", 1)
    assert supervised.supervisor.link(ECHO) is link
    assert supervised.supervisor.links == [link]


def test_no_such_service(supervised: Supervised) -> None:
    """Where there is no file, nothing is started and nothing remembered."""
    with pytest.raises(ServiceNotFound):
        supervised.supervisor.link(("missing",))
    assert supervised.reactor.processes == []


def test_running_service_without_its_file(supervised: Supervised) -> None:
    """A running service goes on when its file is gone; once it has died it is not there."""
    link, process = supervised.run()
    supervised.file.unlink()
    assert supervised.supervisor.link(ECHO) is link
    process.exit()
    with pytest.raises(ServiceNotFound):
        supervised.supervisor.link(ECHO)


def test_service_that_does_not_start(supervised: Supervised, log: list[str]) -> None:
    """Who waits is refused, the traceback is in the log, and there is no new attempt until the file changes."""
    link, process = supervised.start()
    told = answers(link)
    process.fail("Traceback (most recent call last):\n  \x1b[31mBoom")
    process.exit(1)
    supervised.reactor.turn()
    supervised.reactor.advance(EXIT_TIME)
    assert [type(each) for each in told] == [ServiceFailed]
    assert supervised.state == ("failed", 0)
    assert "[wshub#error] /echo: Traceback (most recent call last):" in log
    assert "[wshub#error] /echo:   \\x1b[31mBoom" in log
    supervised.reactor.advance(3600)
    for _ in range(3):
        with pytest.raises(ServiceFailed):
            supervised.supervisor.link(ECHO)
    supervised.change_file()
    supervised.run()
    assert supervised.state == ("running", 0)


def test_file_that_changes_while_it_fails(supervised: Supervised) -> None:
    """What failed is the file as it was when the process was started: a mended one is tried at once."""
    _, process = supervised.start()
    supervised.change_file()
    process.fail("no")
    supervised.reactor.turn()
    supervised.run()


def test_mended_service_is_not_failed_any_more(supervised: Supervised) -> None:
    """A service that failed once, was mended, ran and died is idle, not failed: the next client starts it."""
    _, process = supervised.start()
    process.fail("no")
    supervised.reactor.turn()
    supervised.change_file()
    supervised.die()
    assert supervised.state == ("idle", 0)


def test_changed_file_of_a_failed_service_is_worth_a_try(supervised: Supervised) -> None:
    """A failed service whose file has changed since is idle: its next client starts it."""
    _, process = supervised.start()
    process.fail("no")
    supervised.reactor.turn()
    supervised.change_file()
    assert supervised.state == ("idle", 0)


@pytest.mark.parametrize("way", ["exit", "hang up", "rubbish"])
def test_process_that_ends_before_it_is_ready(supervised: Supervised, way: str, log: list[str]) -> None:
    """It does not start, whichever way it ends; it is killed if it has not exited, and the log says how it ended."""
    link, process = supervised.start()
    told = answers(link)
    if way == "exit":
        process.exit(7)
        assert any("exit status 7" in line for line in log)
    elif way == "hang up":
        process.close_pipes()
    else:
        process.send_bytes(b"\xff" * 8)
    supervised.reactor.turn()
    supervised.reactor.advance(EXIT_TIME)
    assert [type(each) for each in told] == [ServiceFailed]
    assert process.signals == ([] if way == "exit" else [signal.SIGKILL])
    assert supervised.state == ("failed", 0)


def test_service_that_takes_too_long(supervised: Supervised) -> None:
    """A service that is not ready in time is killed and has failed."""
    link, process = supervised.start()
    told = answers(link)
    supervised.reactor.advance(SETTINGS["start_timeout"] - 0.1)
    assert told == []
    supervised.reactor.advance(0.1)
    assert [type(each) for each in told] == [ServiceFailed]
    assert process.signals == [signal.SIGKILL]
    process.exit(by_signal=signal.SIGKILL)
    assert supervised.state == ("failed", 0)


def test_ready_service_has_no_deadline(supervised: Supervised) -> None:
    """Once it is ready it may live for ever."""
    link, process = supervised.run()
    supervised.reactor.advance(SETTINGS["start_timeout"] * 100)
    assert link.state is State.READY
    assert process.signals == []


def test_death(supervised: Supervised, log: list[str]) -> None:
    """The clients of a service that dies get 1011, and the next one starts it anew."""
    link, process = supervised.run()
    sockets = [FakeSocket() for _ in range(3)]
    for socket in sockets:
        link.open(socket, OPENING)
    process.exit(by_signal=signal.SIGSEGV)
    assert [socket.closed for socket in sockets] == [(1011, b"The service died.")] * 3
    assert link.state is State.DEAD
    assert any("/echo: died: " in line and "SIGSEGV" in line for line in log)
    assert supervised.state == ("idle", 0)
    anew, _ = supervised.run()
    assert anew is not link


def test_death_that_the_pipe_tells_first(supervised: Supervised, log: list[str]) -> None:
    """The reactor may see the pipe's end before the exit: the log tells how it ended all the same."""
    link, process = supervised.run()
    socket = FakeSocket()
    link.open(socket, OPENING)
    process.close_pipes()
    supervised.reactor.turn()
    assert socket.closed == (1011, b"The service died.")
    process.exit(by_signal=signal.SIGSEGV)
    assert any("/echo" in line and "SIGSEGV" in line for line in log)


def test_crash_loop(supervised: Supervised) -> None:
    """After five deaths within thirty seconds nothing is started, until as long as was said has passed."""
    reactor = supervised.reactor
    for _ in range(5):
        supervised.die()
        reactor.advance(2)
    assert supervised.state == ("crashing", 0)
    with pytest.raises(ServiceCrashing) as caught:
        supervised.supervisor.link(ECHO)
    assert caught.value.retry_after == 20
    assert caught.value.headers == (("Retry-After", "20"),)
    reactor.advance(19.5)
    with pytest.raises(ServiceCrashing) as caught:
        supervised.supervisor.link(ECHO)
    assert caught.value.retry_after == 1
    reactor.advance(0.5)
    supervised.run()


def test_deaths_far_between_are_no_loop(supervised: Supervised) -> None:
    """A service that dies once in a while is started anew every time."""
    for _ in range(20):
        supervised.die()
        supervised.reactor.advance(10)
    supervised.run()


def test_no_process_to_be_had(supervised: Supervised, log: list[str]) -> None:
    """When the system has no process to give the client is told to try again, and then it works."""
    supervised.reactor.cannot_spawn = BlockingIOError(11, "Resource temporarily unavailable")
    with pytest.raises(ServiceCrashing):
        supervised.supervisor.link(ECHO)
    assert any("/echo" in line and "Resource temporarily unavailable" in line for line in log)
    supervised.reactor.cannot_spawn = None
    supervised.run()


def test_stop(supervised: Supervised, log: list[str]) -> None:
    """All inputs are closed, nothing is started any more, and it is over when every process has ended."""
    (supervised.file.parent / "other.py").write_text("")
    _, process = supervised.run()
    starting = supervised.supervisor.link(("other",))
    told = answers(starting)
    done: list[object] = []
    supervised.supervisor.stop().addCallback(done.append)
    assert [type(each) for each in told] == [HubStopping]
    for each in supervised.reactor.processes:
        each.read()
        assert each.input_is_closed
    late = answers(supervised.supervisor.link(ECHO))
    assert [type(each) for each in late] == [HubStopping]
    process.exit()
    assert done == []
    supervised.reactor.processes[1].exit()
    assert len(done) == 1
    for route in (ECHO, ("other",)):
        with pytest.raises(HubStopping):
            supervised.supervisor.link(route)
    assert not any("died" in line or "error" in line for line in log)
    assert supervised.reactor.getDelayedCalls() == []


def test_stop_of_a_stubborn_service(supervised: Supervised) -> None:
    """A process that does not finish gets TERM and KILL."""
    _, process = supervised.run()
    done: list[object] = []
    supervised.supervisor.stop().addCallback(done.append)
    supervised.reactor.advance(SETTINGS["stop_timeout"])
    supervised.reactor.advance(1)
    assert process.signals == [signal.SIGTERM, signal.SIGKILL]
    assert done == []
    process.exit(by_signal=signal.SIGKILL)
    assert len(done) == 1


def test_stop_with_nothing_running(supervised: Supervised) -> None:
    """It is over at once."""
    done: list[object] = []
    supervised.supervisor.stop().addCallback(done.append)
    assert len(done) == 1


def test_stop_waits_for_the_dying(supervised: Supervised) -> None:
    """A process that was killed and has not exited yet is waited for too."""
    _, process = supervised.run()
    process.send_bytes(b"\xff" * 8)
    supervised.reactor.turn()
    assert process.signals == [signal.SIGKILL]
    done: list[object] = []
    supervised.supervisor.stop().addCallback(done.append)
    assert done == []
    process.exit(by_signal=signal.SIGKILL)
    assert len(done) == 1


def test_same_size_and_time_in_another_file(supervised: Supervised) -> None:
    """A file put in place of the one that failed is another, though it has its size and its time."""
    _, process = supervised.start()
    process.fail("no")
    supervised.reactor.turn()
    other = supervised.file.with_name("other")
    other.write_bytes(supervised.file.read_bytes())
    status = supervised.file.stat()
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.rename(supervised.file)
    supervised.run()


def test_starts_and_deaths_are_counted(supervised: Supervised) -> None:
    """Over all processes of a service, with how each one ended."""
    for _ in range(2):
        _, process = supervised.run()
        process.exit(by_signal=signal.SIGKILL)
    counts = supervised.supervisor.accounting.service("/echo")
    assert counts.starts == 2
    assert counts.deaths == {"it ended by signal SIGKILL": 2}
