"""What the supervisor decides, with fake processes and a clock that stands still."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from wshub.answers import encode_refuse
from wshub.config import Settings
from wshub.errors import (
    HubStopping,
    ServiceCrashing,
    ServiceEnded,
    ServiceFailed,
    ServiceNotFound,
    ServiceUnavailable,
)
from wshub.poller import Poller
from wshub.processes.life import State
from wshub.processes.link import ServiceLink
from wshub.processes.process import MAX_TRACEBACK_LINE
from wshub.processes.supervisor import EXIT_TIME, ServiceSupervisor
from wshub.testing import OPENING, FakeProcess, FakeReactor, FakeSocket
from wshub.wire import HEARTBEAT, REFUSE

ECHO = ("echo",)
BACK_OFF = 0.25  # seconds between the first death and the next start, when chance adds nothing
SETTINGS = {"start_timeout": 30.0, "stop_timeout": 5.0}


class Supervised:
    """A supervisor of a folder with one service, ``/echo``."""

    def __init__(self, reactor: FakeReactor, root: Path, **settings: Any) -> None:
        self.reactor = reactor
        self.file = root / "echo.py"
        self.file.write_text("first")
        self.supervisor = ServiceSupervisor(
            reactor, Settings(document_root=root, **{**SETTINGS, **settings}), Poller(reactor), {}, lambda: 0.0
        )

    def start(self) -> tuple[ServiceLink, FakeProcess]:
        """Ask for the service, which must be started for it."""
        count = len(self.reactor.processes)
        link = self.supervisor.link(ECHO)
        assert len(self.reactor.processes) == count + 1
        return link, self.reactor.processes[-1]

    def run(self, **declared: str) -> tuple[ServiceLink, FakeProcess]:
        """The same, and let it get ready."""
        link, process = self.start()
        process.get_ready(**declared)
        self.reactor.turn()
        assert link.state is State.READY
        return link, process

    def die(self) -> None:
        """Run the service and let it die, and let those wait who then must."""
        _, process = self.run()
        process.exit(1)
        self.reactor.advance(BACK_OFF)

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


def test_service_that_does_not_start_for_a_long_reason(supervised: Supervised) -> None:
    """The last line of it is kept for as long as the hub runs: not all of that."""
    supervised.start()[1].fail("no\n" + 5000 * "x")
    supervised.reactor.turn()
    supervised.reactor.processes[-1].exit(1)
    assert supervised.supervisor.accounting.service("/echo").last_error == MAX_TRACEBACK_LINE * "x"


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
    supervised.reactor.advance(BACK_OFF)
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


def test_who_comes_right_after_a_death_waits(supervised: Supervised) -> None:
    """A short back-off is waited for: the link is there at once, the process when it may be."""
    _, process = supervised.run()
    process.exit(1)
    link = supervised.supervisor.link(ECHO)
    told = answers(link)
    assert supervised.supervisor.link(ECHO) is link
    supervised.reactor.advance(BACK_OFF - 0.01)
    assert len(supervised.reactor.processes) == 1
    supervised.reactor.advance(0.01)
    assert len(supervised.reactor.processes) == 2
    supervised.reactor.processes[1].get_ready()
    supervised.reactor.turn()
    assert told == [None]


def test_who_comes_during_a_long_back_off_is_told_when_to_come_again(supervised: Supervised) -> None:
    """From the third death in a row on it takes longer than a client is kept waiting."""
    for wait in (0.25, 0.5, 1.0):
        _, process = supervised.run()
        process.exit(1)
        supervised.reactor.advance(wait)
    _, process = supervised.run()
    process.exit(1)
    with pytest.raises(ServiceCrashing) as caught:
        supervised.supervisor.link(ECHO)
    assert caught.value.retry_after == 2
    supervised.reactor.advance(2)
    supervised.run()


def test_stop_during_a_back_off(supervised: Supervised) -> None:
    """Who waits for the start is told that the hub stops, and nothing is started any more."""
    _, process = supervised.run()
    process.exit(1)
    told = answers(supervised.supervisor.link(ECHO))
    done: list[object] = []
    supervised.supervisor.stop().addCallback(done.append)
    assert [type(each) for each in told] == [HubStopping]
    assert len(done) == 1
    supervised.reactor.advance(100)
    assert len(supervised.reactor.processes) == 1


def crash_loop(supervised: Supervised) -> None:
    """Let the service die five times, as soon as it may be started."""
    for wait in (0.25, 0.5, 1.0, 2.0, 0):
        _, process = supervised.run()
        process.exit(1)
        supervised.reactor.advance(wait)


def test_crash_loop(supervised: Supervised) -> None:
    """After five deaths within thirty seconds nothing is started, until as long as was said has passed."""
    reactor = supervised.reactor
    crash_loop(supervised)
    assert supervised.state == ("crashing", 0)
    with pytest.raises(ServiceCrashing) as caught:
        supervised.supervisor.link(ECHO)
    assert caught.value.retry_after == 27  # the first death is 3.75 seconds ago
    assert caught.value.headers == (("Retry-After", "27"),)
    reactor.advance(25)
    with pytest.raises(ServiceCrashing) as caught:
        supervised.supervisor.link(ECHO)
    assert caught.value.retry_after == 2
    reactor.advance(2)
    supervised.run()


def test_crash_loop_of_a_service_that_is_mended(supervised: Supervised) -> None:
    """As soon as the file is another, what is known of the old one does not count."""
    crash_loop(supervised)
    supervised.change_file()
    assert supervised.state == ("idle", 0)
    supervised.run()


def test_limits_of_a_crash_loop(reactor: FakeReactor, tmp_path: Path) -> None:
    """How often, and within what time, are settings."""
    supervised = Supervised(reactor, tmp_path, restart_intensity=2, restart_period=10.0)
    for _ in range(2):
        supervised.die()
    with pytest.raises(ServiceCrashing) as caught:
        supervised.supervisor.link(ECHO)
    assert caught.value.retry_after == 10  # less the back-off


def test_deaths_far_between_are_no_loop(supervised: Supervised) -> None:
    """A service that dies once in a while is started anew every time, and soon."""
    for _ in range(20):
        _, process = supervised.run()
        supervised.reactor.advance(30)
        process.exit(1)
        supervised.reactor.advance(BACK_OFF)


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
        supervised.reactor.advance(2)
    counts = supervised.supervisor.accounting.service("/echo")
    assert (counts.starts, counts.restarts) == (2, 1)
    assert counts.deaths == {"it ended by signal SIGKILL": 2}


def test_no_sign_of_life(supervised: Supervised, log: list[str]) -> None:
    """A process that says nothing for as long as its service has declared is killed; its clients get 1011."""
    link, process = supervised.run(hang_timeout="6")
    socket = FakeSocket()
    link.open(socket, OPENING)
    for _ in range(20):
        supervised.reactor.advance(1)
        process.send((HEARTBEAT, 0, b""))
        supervised.reactor.turn()
    for _ in range(4):
        supervised.reactor.advance(1)
    assert process.signals == []
    for _ in range(2):
        supervised.reactor.advance(1)
    assert process.signals == [signal.SIGKILL]
    assert socket.closed == (1011, b"The service died.")
    process.exit(by_signal=signal.SIGKILL)
    assert any("/echo: died: it gave no sign of life" in line for line in log)
    assert supervised.reactor.getDelayedCalls() == []


def test_hub_that_was_stopped_itself(supervised: Supervised) -> None:
    """A time during which the hub did not look, however long, is not held against anybody."""
    _, process = supervised.run(hang_timeout="6")
    supervised.reactor.advance(3600)
    process.send((HEARTBEAT, 0, b""))
    supervised.reactor.turn()
    supervised.reactor.advance(3600)
    assert process.signals == []


@pytest.mark.parametrize("declared", ["setting", "class"])
def test_idle_service_finishes(reactor: FakeReactor, tmp_path: Path, declared: str, log: list[str]) -> None:
    """A service without clients is asked to finish after its time, which is no death; the next client starts it."""
    supervised = Supervised(reactor, tmp_path, idle_timeout=10.0 if declared == "setting" else 3600.0)
    link, process = supervised.run(**({"idle_timeout": "10"} if declared == "class" else {}))
    reactor.advance(9)
    socket_id = link.open(FakeSocket(), OPENING)
    reactor.advance(100)
    assert supervised.state == ("running", 1)
    link.close(socket_id, 1000, "")
    reactor.advance(9.9)
    assert supervised.state == ("running", 0)
    reactor.advance(0.1)
    process.read()
    assert process.input_is_closed
    assert supervised.state == ("idle", 0)
    process.exit()
    assert link.counts.deaths == {}
    assert not any("died" in line for line in log)
    supervised.run()


def test_service_that_is_behind_is_not_idle(reactor: FakeReactor, tmp_path: Path) -> None:
    """Who is without clients, but has yet to read what they said, is asked to finish only when it has."""
    supervised = Supervised(reactor, tmp_path, idle_timeout=10.0)
    link, _ = supervised.run()
    link.pause()
    told = answers(link)
    reactor.advance(10)
    reactor.advance(9.9)
    assert (told, supervised.state) == ([], ("running", 0))
    link.resume()
    assert told == [None]
    reactor.advance(0.1)
    assert supervised.state == ("idle", 0)


def test_who_comes_while_an_idle_service_finishes(reactor: FakeReactor, tmp_path: Path) -> None:
    """There are never two processes of a service: who comes waits for the old one's exit, then for the new one."""
    supervised = Supervised(reactor, tmp_path, idle_timeout=10.0)
    _, process = supervised.run()
    reactor.advance(10)
    told = answers(supervised.supervisor.link(ECHO))
    assert len(reactor.processes) == 1
    process.exit()
    assert len(reactor.processes) == 2
    reactor.processes[1].get_ready()
    reactor.turn()
    assert told == [None]
    assert supervised.state == ("running", 0)


def test_stop_while_an_idle_service_finishes(reactor: FakeReactor, tmp_path: Path) -> None:
    """The hub waits for it, and starts no other, though a client waits."""
    supervised = Supervised(reactor, tmp_path, idle_timeout=10.0)
    _, process = supervised.run()
    reactor.advance(10)
    told = answers(supervised.supervisor.link(ECHO))
    done: list[object] = []
    supervised.supervisor.stop().addCallback(done.append)
    assert [type(each) for each in told] == [HubStopping]
    assert done == []
    process.exit()
    assert len(done) == 1
    assert len(reactor.processes) == 1


def test_eager_service(reactor: FakeReactor, tmp_path: Path) -> None:
    """It runs as soon as the hub does, is not idle without clients, and comes back without one when it has died."""
    (tmp_path / "echo.py").write_text("")
    supervised = Supervised(reactor, tmp_path, eager=("/echo",), idle_timeout=1.0)
    supervised.supervisor.start()
    (process,) = reactor.processes
    process.get_ready()
    reactor.turn()
    reactor.advance(100)
    assert supervised.state == ("running", 0)
    process.exit(1)
    reactor.advance(BACK_OFF)
    assert len(reactor.processes) == 2


def test_eager_service_that_finishes(reactor: FakeReactor, tmp_path: Path) -> None:
    """A normal end of a transient service is its own business: no start before the next client."""
    (tmp_path / "echo.py").write_text("")
    supervised = Supervised(reactor, tmp_path, eager=("/echo",))
    supervised.supervisor.start()
    reactor.processes[0].get_ready()
    reactor.turn()
    reactor.processes[0].exit(0)
    reactor.advance(100)
    assert len(reactor.processes) == 1
    supervised.run()


def test_permanent_service(supervised: Supervised) -> None:
    """It comes back by itself after every end, a normal one too, but not into a loop, and not when the hub stops."""
    _, process = supervised.run(restart="permanent")
    for number in range(1, 5):
        process.exit(0)
        supervised.reactor.advance(BACK_OFF * 2 ** (number - 1))
        assert len(supervised.reactor.processes) == number + 1
        process = supervised.reactor.processes[-1]
        process.get_ready(restart="permanent")
        supervised.reactor.turn()
    process.exit(0)
    supervised.reactor.advance(10)
    assert len(supervised.reactor.processes) == 5
    supervised.reactor.advance(20)
    assert len(supervised.reactor.processes) == 6
    supervised.reactor.processes[-1].get_ready(restart="permanent")
    supervised.reactor.turn()
    supervised.supervisor.stop()
    supervised.reactor.processes[-1].exit(0)
    supervised.reactor.advance(100)
    assert len(supervised.reactor.processes) == 6
    assert supervised.reactor.getDelayedCalls() == []


def test_temporary_service(supervised: Supervised) -> None:
    """It is not started again, however it ended, until its file changes."""
    _, process = supervised.run(restart="temporary")
    process.exit(0)
    supervised.reactor.advance(1000)
    assert supervised.state == ("ended", 0)
    with pytest.raises(ServiceEnded):
        supervised.supervisor.link(ECHO)
    supervised.change_file()
    supervised.run()


def test_idle_service_that_refused_its_last_request(reactor: FakeReactor, tmp_path: Path) -> None:
    """Its time was over while it decided; having refused, it is as idle as before."""
    supervised = Supervised(reactor, tmp_path, idle_timeout=10.0)
    link, process = supervised.run(on_request="yes")
    reactor.advance(9)
    socket_id = link.ask(OPENING[:5], (), lambda answer: None)
    reactor.advance(2)
    process.send((REFUSE, socket_id, encode_refuse(403, (), "No.")))
    reactor.turn()
    assert link.state is State.READY
    reactor.advance(10)
    assert link.state is State.STOPPING
