"""New processes in the place of old ones, with fake processes and a clock that stands still."""

import os
import signal
from pathlib import Path
from typing import Any

import pytest

from wshub.answers import encode_refuse
from wshub.config import Settings
from wshub.errors import HttpError, HubStopping, ServiceNotFound, ServiceReplaced, ServiceUnavailable
from wshub.poller import Poller
from wshub.processes import handover, reloads
from wshub.processes.generations import CLOSE_INTERVAL, LEAST_BATCH
from wshub.processes.life import State
from wshub.processes.link import ServiceLink
from wshub.processes.outcome import Outcome
from wshub.processes.pending import ENDED, Accepted
from wshub.processes.run import NO_FILE, fingerprint
from wshub.processes.socket import RELOADED
from wshub.processes.supervisor import ServiceSupervisor
from wshub.testing import OPENING, FakeProcess, FakeReactor, FakeSocket
from wshub.wire import ACCEPT, CLOSE, NEWSOCKET, REFUSE

ECHO = ("echo",)
DRAIN = 30.0


class Reloaded:
    """A supervisor of a folder with one service, ``/echo``, that is reloaded."""

    def __init__(self, reactor: FakeReactor, root: Path, **settings: Any) -> None:
        self.reactor = reactor
        self.file = root / "echo.py"
        self.file.write_text("first")
        self.supervisor = ServiceSupervisor(
            reactor, Settings(document_root=root, **settings), Poller(reactor), {}, lambda: 0.0
        )
        self.counts = self.supervisor.accounting.service("/echo")

    def run(self, **declared: str) -> tuple[ServiceLink, FakeProcess]:
        """Ask for the service, and let it get ready."""
        link = self.supervisor.link(ECHO)
        return link, self.get_ready(**declared)

    def get_ready(self, **declared: str) -> FakeProcess:
        """Let the process that was started last get ready."""
        process = self.reactor.processes[-1]
        process.get_ready(**declared)
        self.reactor.turn()
        return process

    def edit(self) -> list[Outcome]:
        """Save the file anew and reload what has changed; what comes of it will be in the list."""
        self.file.write_text(self.file.read_text() + " and more")
        return self.reload_changed()

    def reload_changed(self) -> list[Outcome]:
        """What SIGHUP does."""
        said: list[Outcome] = []
        self.supervisor.reload_changed().addCallback(said.extend)
        return said

    def reload(self, *route: str) -> list[Outcome]:
        """What ``wshub reload /echo`` does."""
        said: list[Outcome] = []
        self.supervisor.reload([route or ECHO]).addCallback(said.extend)
        return said

    def connect(self, count: int = 1) -> list[FakeSocket]:
        """Clients of the current process."""
        sockets = [FakeSocket() for _ in range(count)]
        for socket in sockets:
            self.supervisor.link(ECHO).open(socket, OPENING)
        return sockets


@pytest.fixture
def reloaded(reactor: FakeReactor, tmp_path: Path) -> Reloaded:
    """A supervisor that has started nothing."""
    return Reloaded(reactor, tmp_path)


def lose(link: ServiceLink) -> None:
    """All clients of a link go."""
    for socket_id in list(link.sockets):
        link.close(socket_id, 1000, "")


def fail(process: FakeProcess, reactor: FakeReactor) -> None:
    """Let a process say that it does not start, and exit."""
    process.fail("Traceback (most recent call last):\nValueError: no")
    process.exit(1)
    reactor.turn()


def answers(link: ServiceLink) -> list[ServiceUnavailable | None]:
    """Where the answer to somebody who waits for the service will be."""
    told: list[ServiceUnavailable | None] = []
    link.when_ready(told.append)
    return told


def finished(process: FakeProcess) -> bool:
    """Whether the hub has asked a process to finish."""
    process.read()
    return process.input_is_closed


def test_the_old_process_serves_until_the_new_one_is_ready(reloaded: Reloaded, log: list[str]) -> None:
    """New clients go to the old one as long as the new one starts, then to that; the old one keeps its own."""
    old, first = reloaded.run()
    (socket,) = reloaded.connect()
    outcomes = reloaded.edit()
    assert reloaded.supervisor.link(ECHO) is old
    assert outcomes == []
    reloaded.reactor.advance(0.25)
    reloaded.get_ready()
    new = reloaded.supervisor.link(ECHO)
    assert new is not old
    assert old.state is new.state is State.READY
    assert outcomes == [Outcome("/echo", "reloaded", seconds=0.25, clients=1)]
    assert socket.closed is None
    assert not finished(first)
    assert reloaded.supervisor.state(ECHO) == ("running", 1)
    assert [link.name for link in reloaded.supervisor.links] == ["/echo", "/echo"]
    assert "[wshub#info] reloaded /echo in 0.25 s; 1 client may stay with the old process for 30 s" in log
    assert (reloaded.counts.reloads, reloaded.counts.failed_reloads) == (1, 0)
    assert (reloaded.counts.starts, reloaded.counts.restarts) == (2, 0)


def test_the_old_process_finishes_with_its_last_client(reloaded: Reloaded, log: list[str]) -> None:
    """It is asked to as soon as nobody is left, and nothing of that counts as a death."""
    old, first = reloaded.run()
    reloaded.connect(2)
    reloaded.edit()
    second = reloaded.get_ready()
    lose(old)
    assert finished(first)
    assert old.state is State.STOPPING
    first.exit()
    assert not finished(second)
    assert reloaded.counts.deaths == {}
    assert reloaded.supervisor.links == [reloaded.supervisor.link(ECHO)]
    assert not any("#error" in line for line in log)
    assert reloaded.supervisor.state(ECHO) == ("running", 0)


def test_an_old_process_without_clients_finishes_at_once(reloaded: Reloaded) -> None:
    """There is nobody to wait for."""
    _, first = reloaded.run()
    reloaded.edit()
    assert not finished(first)
    reloaded.get_ready()
    assert finished(first)


def test_who_stays_too_long_is_closed_with_1012(reactor: FakeReactor, tmp_path: Path) -> None:
    """At the deadline the clients of the old process are closed, so many at once; when all have gone it finishes."""
    reloaded = Reloaded(reactor, tmp_path, drain_timeout=DRAIN)
    old, first = reloaded.run()
    sockets = reloaded.connect(LEAST_BATCH + 1)
    reloaded.edit()
    reloaded.get_ready()
    reactor.advance(DRAIN - 0.01)
    assert not any(socket.closed for socket in sockets)
    reactor.advance(0.01)
    assert [socket.closed for socket in sockets] == [RELOADED] * LEAST_BATCH + [None]
    reactor.advance(CLOSE_INTERVAL)
    assert sockets[-1].closed == RELOADED
    assert not finished(first)
    lose(old)
    assert finished(first)
    first.exit()
    assert reloaded.supervisor.links == [reloaded.supervisor.link(ECHO)]


def test_no_time_to_drain(reactor: FakeReactor, tmp_path: Path) -> None:
    """With a drain_timeout of 0 the clients are closed as soon as the new process is ready."""
    reloaded = Reloaded(reactor, tmp_path, drain_timeout=0.0)
    reloaded.run()
    (socket,) = reloaded.connect()
    reloaded.edit()
    assert socket.closed is None
    reloaded.get_ready()
    assert socket.closed == RELOADED


def test_a_new_process_that_fails(reloaded: Reloaded, log: list[str]) -> None:
    """The old one stays as it is; the traceback is in the log, and it counts neither as a death nor for a restart."""
    old, first = reloaded.run()
    (socket,) = reloaded.connect()
    for _ in range(6):  # one more than restart_intensity
        outcomes = reloaded.edit()
        fail(reloaded.reactor.processes[-1], reloaded.reactor)
        assert [(each.result, each.why) for each in outcomes] == [("failed", "ValueError: no")]
    assert reloaded.supervisor.link(ECHO) is old
    assert old.state is State.READY
    assert socket.closed is None
    assert not finished(first)
    assert (reloaded.counts.reloads, reloaded.counts.failed_reloads, reloaded.counts.deaths) == (0, 6, {})
    assert reloaded.counts.last_error == "ValueError: no"
    assert "[wshub#error] /echo: ValueError: no" in log
    assert any("/echo: not reloaded, the old process stays: it does not start" in line for line in log)
    outcomes = reloaded.edit()
    reloaded.get_ready()
    assert [each.result for each in outcomes] == ["reloaded"]


@pytest.mark.parametrize("how", ["late", "broken", "no process"])
def test_other_ways_to_fail(reloaded: Reloaded, how: str) -> None:
    """A new process that does not get ready in time, talks nonsense, or is not to be had leaves the old one alone."""
    old, _ = reloaded.run()
    if how == "no process":
        reloaded.reactor.cannot_spawn = BlockingIOError(11, "Resource temporarily unavailable")
    outcomes = reloaded.edit()
    if how == "late":
        reloaded.reactor.advance(30)
    elif how == "broken":
        reloaded.reactor.processes[-1].send_bytes(b"\xff" * 8)
        reloaded.reactor.turn()
    if how != "no process":
        assert reloaded.reactor.processes[-1].signals == [signal.SIGKILL]
        reloaded.reactor.processes[-1].exit(by_signal=signal.SIGKILL)
    assert [each.result for each in outcomes] == ["failed"]
    assert reloaded.supervisor.link(ECHO) is old
    assert reloaded.supervisor.links == [old]


def test_a_third_generation_while_the_second_starts(reloaded: Reloaded) -> None:
    """The second is asked to finish, and is no failure; the third takes the place of the first."""
    first_link, _ = reloaded.run()
    second_outcomes = reloaded.edit()
    second = reloaded.reactor.processes[-1]
    third_outcomes = reloaded.edit()
    assert finished(second)
    assert [each.result for each in second_outcomes] == ["superseded"]
    second.get_ready()  # too late
    reloaded.reactor.turn()
    assert reloaded.supervisor.link(ECHO) is first_link
    second.exit()
    reloaded.get_ready()
    assert reloaded.supervisor.link(ECHO) is not first_link
    assert [each.result for each in third_outcomes] == ["reloaded"]
    assert (reloaded.counts.reloads, reloaded.counts.failed_reloads, reloaded.counts.deaths) == (1, 0, {})


def test_a_third_generation_while_the_first_drains(reloaded: Reloaded) -> None:
    """Both old ones drain, each until its own deadline."""
    old = []
    for number in range(2):
        link, _ = reloaded.run() if not number else (reloaded.supervisor.link(ECHO), None)
        old.append((link, *reloaded.connect()))
        reloaded.edit()
        reloaded.get_ready()
        reloaded.reactor.advance(10)
    (first, first_socket), (second, second_socket) = old
    assert first.state is second.state is State.READY
    assert reloaded.supervisor.state(ECHO) == ("running", 2)
    reloaded.reactor.advance(10)
    assert (first_socket.closed, second_socket.closed) == (RELOADED, None)
    reloaded.reactor.advance(10)
    assert second_socket.closed == RELOADED


def test_a_service_that_is_starting(reloaded: Reloaded) -> None:
    """Whoever waits for the old process gets whichever is ready first; one that never was is asked to finish."""
    old = reloaded.supervisor.link(ECHO)
    told = answers(old)
    reloaded.edit()
    first, second = reloaded.reactor.processes
    second.get_ready()
    reloaded.reactor.turn()
    (why,) = told
    assert isinstance(why, ServiceReplaced)
    assert why.link is reloaded.supervisor.link(ECHO)
    assert answers(why.link) == [None]
    assert finished(first)


@pytest.mark.parametrize("is_ready", [True, False])
def test_a_service_that_ends_while_the_next_one_starts(reloaded: Reloaded, is_ready: bool) -> None:
    """Who waits then waits for the next one, which is the current one from then on and is not started twice."""
    old = reloaded.supervisor.link(ECHO)
    if is_ready:
        reloaded.get_ready()
        old.pause()
    told = answers(old)
    outcomes = reloaded.edit()
    first, second = reloaded.reactor.processes
    first.exit(1)
    (why,) = told
    assert isinstance(why, ServiceReplaced)
    assert reloaded.supervisor.link(ECHO) is why.link
    assert why.link.state is State.STARTING
    second.get_ready()
    reloaded.reactor.turn()
    assert answers(why.link) == [None]
    assert [each.result for each in outcomes] == ["reloaded"]
    reloaded.reactor.advance(60)
    assert len(reloaded.reactor.processes) == 2


def test_both_end(reloaded: Reloaded) -> None:
    """The old one dies, and the next one, current by then, does not start: that is a service that does not start."""
    reloaded.run()
    outcomes = reloaded.edit()
    first, second = reloaded.reactor.processes
    first.exit(1)
    fail(second, reloaded.reactor)
    assert [(each.result, each.why) for each in outcomes] == [("failed", "ValueError: no")]
    assert reloaded.supervisor.state(ECHO) == ("failed", 0)


def test_a_crashed_service(reloaded: Reloaded) -> None:
    """What does not run is not started by a change, and the next client gets the new file at once."""
    _, process = reloaded.run()
    process.exit(1)
    assert reloaded.edit() == []
    assert len(reloaded.reactor.processes) == 1
    reloaded.run()


@pytest.mark.parametrize("ending", ["crashed", "failed"])
def test_a_permanent_service_that_crashed_or_an_eager_one_that_failed(
    reactor: FakeReactor, tmp_path: Path, ending: str
) -> None:
    """What ought to run is started as soon as its file changes."""
    (tmp_path / "echo.py").touch()
    reloaded = Reloaded(reactor, tmp_path, eager=("/echo",))
    reloaded.supervisor.start()
    if ending == "crashed":
        reloaded.get_ready(restart="permanent").exit(1)
    else:
        fail(reactor.processes[-1], reactor)
    reloaded.edit()
    assert len(reactor.processes) == 2
    reloaded.get_ready()
    assert reloaded.supervisor.state(ECHO) == ("running", 0)
    reactor.advance(60)
    assert len(reactor.processes) == 2


def test_a_temporary_service(reloaded: Reloaded) -> None:
    """The end of its old process is one that the hub has asked for: the new one goes on, and its own end is final."""
    _, first = reloaded.run(restart="temporary")
    reloaded.edit()
    second = reloaded.get_ready(restart="temporary")
    first.exit()
    assert reloaded.supervisor.state(ECHO) == ("running", 0)
    second.exit()
    assert reloaded.supervisor.state(ECHO) == ("ended", 0)
    outcomes = reloaded.reload()
    reloaded.get_ready()
    assert [each.result for each in outcomes] == ["reloaded"]


def test_idle_timeout(reactor: FakeReactor, tmp_path: Path) -> None:
    """It is the new process that finishes when nobody comes; the old one with clients does not, they are not idle."""
    reloaded = Reloaded(reactor, tmp_path, idle_timeout=10.0)
    _, first = reloaded.run()
    reloaded.connect()
    reloaded.edit()
    second = reloaded.get_ready()
    reactor.advance(10)
    assert finished(second)
    assert not finished(first)
    assert reloaded.supervisor.state(ECHO) == ("stopping", 1)


def test_idle_timeout_of_a_process_whose_clients_are_still_to_come(reactor: FakeReactor, tmp_path: Path) -> None:
    """The old one takes its time to let them go: the new one is there when it does."""
    reloaded = Reloaded(reactor, tmp_path, idle_timeout=10.0)
    old, first = reloaded.run(resumes="yes")
    (socket,) = reloaded.connect()
    reloaded.edit()
    second = reloaded.get_ready(resumes="yes")
    reactor.advance(15)
    assert not finished(second)
    new = reloaded.supervisor.link(ECHO)
    socket_id = new.take_over(socket, old.give_up(1))
    assert finished(first)
    new.close(socket_id, 1000, "")
    reactor.advance(10)
    assert finished(second)


def test_a_process_that_is_finishing_because_it_is_idle(reactor: FakeReactor, tmp_path: Path) -> None:
    """There is nothing to reload: the next client gets the new file when the old process has exited."""
    reloaded = Reloaded(reactor, tmp_path, idle_timeout=10.0)
    _, first = reloaded.run()
    reactor.advance(10)
    assert finished(first)
    assert reloaded.edit() == []
    assert len(reactor.processes) == 1
    link = reloaded.supervisor.link(ECHO)
    assert len(reactor.processes) == 1
    first.exit()
    reloaded.get_ready()
    assert link.state is State.READY


def test_stop_in_the_middle(reloaded: Reloaded, log: list[str]) -> None:
    """All generations are asked to finish, are waited for, and nothing is started or closed any more."""
    old, first = reloaded.run()
    reloaded.connect()
    reloaded.edit()
    second = reloaded.get_ready()
    outcomes = reloaded.edit()
    third = reloaded.reactor.processes[-1]
    assert len(reloaded.supervisor.links) == 3
    done: list[object] = []
    lose(old)
    reloaded.supervisor.stop().addCallback(done.append)
    assert [(each.result, each.why) for each in outcomes] == [("failed", "the hub is stopping")]
    for process in (first, second, third):
        assert finished(process)
        assert done == []
        process.exit()
    assert len(done) == 1
    assert reloaded.edit() == []
    reloaded.reactor.turn()
    assert reloaded.reactor.getDelayedCalls() == []
    assert not any("#error" in line for line in log)


def test_a_file_that_is_gone(reloaded: Reloaded) -> None:
    """The process stays until it is reloaded; then the service is 404, and its clients have their time."""
    old, first = reloaded.run()
    (socket,) = reloaded.connect()
    reloaded.file.unlink()
    assert reloaded.supervisor.link(ECHO) is old
    assert reloaded.reload_changed() == [Outcome("/echo", "removed", clients=1)]
    with pytest.raises(ServiceNotFound):
        reloaded.supervisor.link(ECHO)
    assert socket.closed is None
    assert reloaded.supervisor.state(ECHO) == ("stopping", 1)
    reloaded.reactor.advance(DRAIN)
    assert socket.closed == RELOADED
    lose(old)
    assert finished(first)
    assert reloaded.reload() == [Outcome("/echo", "unknown")]


def test_reload_of_one_without_a_change(reloaded: Reloaded) -> None:
    """One that is named is reloaded whatever its file is like; one that does not run need not be."""
    assert reloaded.reload() == [Outcome("/echo", "idle")]
    reloaded.run()
    assert reloaded.reload_changed() == []
    outcomes = reloaded.reload()
    reloaded.get_ready()
    assert [each.result for each in outcomes] == ["reloaded"]
    assert reloaded.reload("nothing") == [Outcome("/nothing", "unknown")]


def test_reload_of_one_that_failed(reloaded: Reloaded) -> None:
    """What is known of its file is forgotten: something else may have been mended."""
    reloaded.supervisor.link(ECHO)
    fail(reloaded.reactor.processes[-1], reloaded.reactor)
    outcomes = reloaded.reload()
    fail(reloaded.reactor.processes[-1], reloaded.reactor)
    assert [(each.result, each.why) for each in outcomes] == [("failed", "ValueError: no")]
    outcomes = reloaded.reload()
    reloaded.get_ready()
    assert [each.result for each in outcomes] == ["reloaded"]


def test_deaths_of_the_old_file_do_not_count(reloaded: Reloaded) -> None:
    """A new process begins with nothing on its record; one of the same file with what there was."""
    for _ in range(4):
        _, process = reloaded.run()
        process.exit(1)
        reloaded.reactor.advance(5)
    reloaded.run()
    reloaded.edit()
    reloaded.get_ready().exit(1)
    reloaded.reactor.advance(0.25)
    reloaded.run()


def test_an_old_process_that_dies_while_it_drains(reloaded: Reloaded, log: list[str]) -> None:
    """Its clients are told, the death is counted, and the new process has nothing to do with it."""
    _, first = reloaded.run()
    (socket,) = reloaded.connect()
    reloaded.edit()
    reloaded.get_ready()
    first.exit(1)
    assert socket.closed == (1011, b"The service died.")
    assert reloaded.counts.deaths == {"it ended with exit status 1": 1}
    assert reloaded.supervisor.links == [reloaded.supervisor.link(ECHO)]
    assert "[wshub#error] /echo: the old process died: it ended with exit status 1" in log
    reloaded.reactor.advance(DRAIN)
    assert reloaded.supervisor.state(ECHO) == ("running", 0)


def test_requests_that_the_old_process_decides_about(reloaded: Reloaded) -> None:
    """It goes on deciding; a client that it lets in is one of its own."""
    old, first = reloaded.run(on_request="yes")
    told: list[Accepted | HttpError] = []
    socket_id = old.ask(OPENING[:5], (), told.append)
    reloaded.edit()
    reloaded.get_ready(on_request="yes")
    assert told == []
    first.send((ACCEPT, socket_id, b""))
    reloaded.reactor.turn()
    assert [type(each) for each in told] == [Accepted]
    socket = FakeSocket()
    old.open(socket, OPENING, socket_id)
    reloaded.reactor.advance(DRAIN)
    assert socket.closed == RELOADED


def test_requests_that_the_old_process_never_decides_about(reloaded: Reloaded) -> None:
    """At its deadline they are for the new one to decide: nobody is refused."""
    old, first = reloaded.run(on_request="yes")
    told: list[Accepted | HttpError] = []
    socket_id = old.ask(OPENING[:5], (), told.append)
    reloaded.edit()
    reloaded.get_ready(on_request="yes")
    reloaded.reactor.advance(DRAIN)
    (why,) = told
    assert isinstance(why, ServiceReplaced)
    assert why.link is reloaded.supervisor.link(ECHO)
    assert reloaded.counts.refused == {}
    reloaded.reactor.turn()
    assert (CLOSE, socket_id, (1006, "")) in first.read()
    assert first.input_is_closed


def test_the_last_request_that_the_old_process_refuses(reloaded: Reloaded) -> None:
    """It has nothing more to do then, and finishes."""
    old, first = reloaded.run(on_request="yes")
    socket_id = old.ask(OPENING[:5], (), lambda answer: None)
    reloaded.edit()
    reloaded.get_ready(on_request="yes")
    assert not finished(first)
    first.send((REFUSE, socket_id, encode_refuse(403, (), "No.")))
    reloaded.reactor.turn()
    assert finished(first)


def test_stop_of_the_hub_refuses_who_waits(reloaded: Reloaded) -> None:
    """Nobody is sent from one to the next for ever."""
    old = reloaded.supervisor.link(ECHO)
    reloaded.edit()
    told = answers(old)
    reloaded.supervisor.stop()
    assert [type(each) for each in told] == [HubStopping]


def test_files_that_cannot_be(reloaded: Reloaded) -> None:
    """A name that no file can have is one of a file that is not there: who waits is served all the same."""
    link = reloaded.supervisor.link(ECHO)
    told = answers(link)
    reloaded.get_ready(files="a\0b.py\t" + 300 * "x")
    assert told == [None]
    assert reloaded.reload_changed() == []


def test_files_that_it_has_imported(reloaded: Reloaded) -> None:
    """A change of any of them is a change of the service; what lies outside of the folder is not looked at."""
    root = reloaded.file.parent
    helper = root / "helper.py"
    helper.write_text("1")
    os.utime(helper, ns=(1, 1))
    reloaded.run(files="helper.py\t../outside.py\t/etc/hostname\tmissing.py")
    assert set(reloaded.supervisor.current[ECHO].files) == {reloaded.file, helper, root / "missing.py"}
    assert reloaded.reload_changed() == []
    assert len(reloaded.reactor.processes) == 1
    helper.write_text("2")
    reloaded.reload_changed()
    assert len(reloaded.reactor.processes) == 2


def test_a_file_that_changes_while_it_is_imported(reloaded: Reloaded) -> None:
    """What was written after the start may not be what was imported: it counts as changed."""
    helper = reloaded.file.parent / "helper.py"
    reloaded.supervisor.link(ECHO)
    helper.write_text("1")
    reloaded.get_ready(files="helper.py")
    assert reloaded.supervisor.current[ECHO].files[helper] == NO_FILE != fingerprint(helper)
    reloaded.reload_changed()
    assert len(reloaded.reactor.processes) == 2


def test_a_change_before_its_files_are_known(reloaded: Reloaded) -> None:
    """Whoever asks while a process starts that has imported what changed then is not passed over."""
    helper = reloaded.file.parent / "helper.py"
    reloaded.supervisor.link(ECHO)
    helper.write_text("1")
    assert reloaded.reload_changed() == []
    assert len(reloaded.reactor.processes) == 1
    reloaded.get_ready(files="helper.py")
    assert len(reloaded.reactor.processes) == 2
    then = helper.stat().st_mtime_ns - 10**9
    os.utime(helper, ns=(then, then))
    reloaded.get_ready(files="helper.py")
    assert len(reloaded.reactor.processes) == 2


def test_clients_that_the_new_process_resumes(reloaded: Reloaded, log: list[str]) -> None:
    """Each is told where to go at the end of the turn; one line says how many went."""
    old, first = reloaded.run(resumes="yes")
    sockets = reloaded.connect(2)
    reloaded.edit()
    reloaded.get_ready(resumes="yes")
    new = reloaded.supervisor.link(ECHO)
    for socket in sockets:
        ((find, _),) = socket.moves
        assert find() is new
    first.read()
    for socket_id, socket in list(old.sockets.items()):
        new.take_over(socket, old.give_up(socket_id))
        socket.moves[0][1](True)
    assert "[wshub#info] reloaded /echo in 0.00 s, 2 clients handed over" in log
    assert reloaded.counts.handed_over == 2
    assert (reloaded.counts.opened, reloaded.counts.closed) == (2, {})
    reloaded.reactor.turn()
    assert first.read() == [
        (CLOSE, 1, (1012, "The service is reloaded.")),
        (CLOSE, 2, (1012, "The service is reloaded.")),
    ]
    assert first.input_is_closed
    assert reloaded.reactor.processes[-1].read() == [(NEWSOCKET, id_, (*OPENING, True)) for id_ in (1, 2)]


@pytest.mark.parametrize(("before", "now"), [("yes", ""), ("", "yes")])
def test_both_classes_have_to_resume(reloaded: Reloaded, before: str, now: str) -> None:
    """The old one so that what is known of its clients was kept, the new one because it gets them."""
    old, _ = reloaded.run(resumes=before)
    (socket,) = reloaded.connect()
    reloaded.edit()
    reloaded.get_ready(resumes=now)
    assert socket.moves == []
    reloaded.reactor.advance(DRAIN)
    assert socket.closed == RELOADED
    lose(old)


def test_clients_that_come_to_the_old_process_late(reloaded: Reloaded) -> None:
    """Whom it has let in when it was the current one goes to the new one as soon as it is open."""
    old, _ = reloaded.run(on_request="yes", resumes="yes")
    socket_id = old.ask(OPENING[:5], (), lambda answer: None)
    reloaded.edit()
    reloaded.get_ready(on_request="yes", resumes="yes")
    socket = FakeSocket()
    old.open(socket, OPENING, socket_id)
    reloaded.reactor.turn()
    ((find, _),) = socket.moves
    assert find() is reloaded.supervisor.link(ECHO)


def test_a_generation_that_became_current_too_early_and_is_replaced(reloaded: Reloaded) -> None:
    """Whoever waits to hear of it hears that there is a newer one."""
    reloaded.run()
    second = reloaded.edit()
    reloaded.reactor.processes[0].exit(1)
    third = reloaded.edit()
    reloaded.get_ready()
    assert [each.result for each in second] == ["superseded"]
    assert [each.result for each in third] == ["reloaded"]
    assert finished(reloaded.reactor.processes[1])


def test_many_clients_go_some_at_a_time(reloaded: Reloaded, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others are served between two batches of them."""
    monkeypatch.setattr(reloads, "BATCH", 2)
    old, _ = reloaded.run(resumes="yes")
    sockets = reloaded.connect(5)
    reloaded.edit()
    reloaded.reactor.processes[-1].get_ready(resumes="yes")
    begun = []
    begin = handover.HandOver.begin

    def note(self: Any, most: int) -> bool:
        begun.append(sum(bool(socket.moves) for socket in sockets))
        return begin(self, most)

    monkeypatch.setattr(handover.HandOver, "begin", note)
    reloaded.reactor.turn()
    assert begun == [0, 2, 4]
    assert all(socket.moves for socket in sockets)
    lose(old)


def test_a_service_that_becomes_eager(reloaded: Reloaded) -> None:
    """Its source is read again when it has changed, and it is started."""
    reloaded.supervisor.start()
    reloaded.reload_changed()
    assert reloaded.reactor.processes == []
    reloaded.file.write_text('class Service:\n    lifetime = "eager"\n')
    reloaded.reload_changed()
    assert len(reloaded.reactor.processes) == 1


def test_two_generations_that_finish_because_they_are_idle(
    reactor: FakeReactor, tmp_path: Path, log: list[str]
) -> None:
    """Each is forgotten when it has exited, whichever is first."""
    reloaded = Reloaded(reactor, tmp_path, idle_timeout=1.0, stop_timeout=100.0)
    _, first = reloaded.run()
    reactor.advance(1)
    reloaded.supervisor.link(ECHO)  # waits for the first one to exit
    reloaded.reload()
    second = reloaded.get_ready()
    reactor.advance(1)
    assert finished(first)
    assert finished(second)
    first.exit()
    assert reloaded.supervisor.process(ECHO) is not None
    second.exit()
    assert reloaded.supervisor.process(ECHO) is None
    reloaded.run()
    assert not any("Unhandled" in line or "KeyError" in line for line in log)


def test_who_goes_to_the_new_process_after_the_deadline(reactor: FakeReactor, tmp_path: Path) -> None:
    """The last ones are closed a while after the first: whoever has gone to the new process meanwhile is not."""
    reloaded = Reloaded(reactor, tmp_path, drain_timeout=DRAIN)
    old, first = reloaded.run(resumes="yes")
    sockets = reloaded.connect(LEAST_BATCH + 2)
    reloaded.edit()
    reloaded.get_ready(resumes="yes")
    reactor.advance(DRAIN)
    reloaded.supervisor.link(ECHO).take_over(sockets[-1], old.give_up(LEAST_BATCH + 2))
    reactor.advance(CLOSE_INTERVAL)
    assert [socket.closed for socket in sockets[-3:]] == [RELOADED, RELOADED, None]
    lose(old)
    assert finished(first)


def test_who_asks_again_while_the_new_process_starts(reloaded: Reloaded, log: list[str]) -> None:
    """It is told what comes of that one, which is counted once."""
    reloaded.run()
    outcomes = [reloaded.edit(), reloaded.reload_changed()]
    assert len(reloaded.reactor.processes) == 2
    reloaded.get_ready()
    assert [[each.result for each in asked] for asked in outcomes] == [["reloaded"], ["reloaded"]]
    assert reloaded.counts.reloads == 1


def test_what_did_not_start_is_tried_again(reloaded: Reloaded) -> None:
    """What was mended need not be its own file: whoever reloads what has changed lets the next client try."""
    reloaded.supervisor.link(ECHO)
    fail(reloaded.reactor.processes[-1], reloaded.reactor)
    assert reloaded.supervisor.state(ECHO) == ("failed", 0)
    assert reloaded.reload_changed() == []
    assert reloaded.supervisor.state(ECHO) == ("idle", 0)
    reloaded.run()


def test_an_eager_service_whose_file_is_gone(reloaded: Reloaded) -> None:
    """It says so itself, so without its file nobody misses it; one that the settings name is missed."""
    reloaded.file.write_text('class Service:\n    lifetime = "eager"\n')
    reloaded.supervisor.start()
    reloaded.get_ready()
    assert reloaded.supervisor.eager == [ECHO]
    reloaded.file.unlink()
    reloaded.reload_changed()
    assert reloaded.supervisor.eager == []


def test_an_eager_service_of_the_settings_whose_file_is_gone(reactor: FakeReactor, tmp_path: Path) -> None:
    """It is what they say, until they say something else."""
    (tmp_path / "echo.py").touch()
    reloaded = Reloaded(reactor, tmp_path, eager=("/echo",))
    reloaded.supervisor.start()
    reloaded.get_ready()
    reloaded.file.unlink()
    reloaded.reload_changed()
    assert reloaded.supervisor.eager == [ECHO]


@pytest.mark.parametrize(("is_there", "status"), [(True, 502), (False, 404)])
def test_requests_that_nobody_decides_about(reloaded: Reloaded, is_there: bool, status: int) -> None:
    """If there is no new process by the deadline, they are refused, and that is counted."""
    old, _ = reloaded.run(on_request="yes")
    told: list[Accepted | HttpError] = []
    old.ask(OPENING[:5], (), told.append)
    reloaded.edit()
    reloaded.get_ready(on_request="yes").exit(1)
    if not is_there:
        reloaded.file.unlink()
    reloaded.reactor.advance(DRAIN)
    (why,) = told
    assert isinstance(why, HttpError)
    assert why.status == status
    assert reloaded.counts.refused == {ENDED: 1}
