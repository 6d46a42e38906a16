"""The shell that ends the services of a hub that was killed: what it is told, and what it then does."""

import os
import select
import signal
import subprocess
from collections.abc import Iterator

import pytest

from wshub.processes.warden import SCRIPT, SHELL, Warden
from wshub.testing import FakeReactor

WAIT = 5.0  # seconds until a test gives up


@pytest.fixture
def sleepers() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Four processes, each with a group of its own, deaf to all but KILL."""
    command = ["sh", "-c", "trap '' HUP INT TERM; sleep 60 & echo $!; while :; do sleep 1; done"]
    processes = [subprocess.Popen(command, start_new_session=True, stdout=subprocess.PIPE) for _ in range(4)]
    yield processes
    for process in processes:
        assert process.stdout is not None
        process.stdout.close()
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait(WAIT)


def run(lines: str) -> int:
    """Tell the shell something, then be dead: its exit status."""
    return subprocess.run([SHELL, "-c", SCRIPT], input=lines.encode(), timeout=WAIT, check=False).returncode


def test_dead_hub(sleepers: list[subprocess.Popen[bytes]]) -> None:
    """Those that have begun and not ended are killed, and no other."""
    first, second, third, bystander = sleepers
    run(f"+ {first.pid}\n+ {second.pid}\n+ {third.pid}\n- {second.pid}\n")
    assert first.wait(WAIT) == third.wait(WAIT) == -signal.SIGKILL
    assert second.poll() is None
    assert bystander.poll() is None


def test_whole_groups(sleepers: list[subprocess.Popen[bytes]]) -> None:
    """Whoever is in a group is killed with it, though its leader has gone."""
    (first, *_) = sleepers
    assert first.stdout is not None
    child = int(first.stdout.readline())
    pidfd = os.pidfd_open(child)
    try:
        run(f"+ {first.pid}\n")
        assert select.select([pidfd], [], [], WAIT)[0], "the child is still there"
    finally:
        os.close(pidfd)


def test_end_of_what_never_began(sleepers: list[subprocess.Popen[bytes]]) -> None:
    """A number that is the beginning or the end of another's is another."""
    (first, *_) = sleepers
    run(f"+ {first.pid}\n- {str(first.pid)[:-1]}\n- {str(first.pid)[1:]}\n- 1{first.pid}\n")
    assert first.wait(WAIT) == -signal.SIGKILL


def test_orderly_end(sleepers: list[subprocess.Popen[bytes]]) -> None:
    """A hub that says that all is well is no dead one."""
    (first, *_) = sleepers
    assert run(f"+ {first.pid}\n.\n") == 0
    assert first.poll() is None


def test_signals_are_for_the_hub(sleepers: list[subprocess.Popen[bytes]]) -> None:
    """A Ctrl-C in the hub's terminal, or a TERM for its whole group, does not end it."""
    (first, *_) = sleepers
    with subprocess.Popen(
        [SHELL, "-c", f"echo here; {SCRIPT}"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as shell:
        assert shell.stdin is not None
        assert shell.stdout is not None
        shell.stdin.write(f"+ {first.pid}\n".encode())
        shell.stdin.flush()
        assert shell.stdout.readline() == b"here\n"
        while "1" not in ignored_signals(shell.pid):
            select.select([], [], [], 0.01)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            shell.send_signal(number)
        shell.stdin.close()
    assert first.wait(WAIT) == -signal.SIGKILL


def ignored_signals(pid: int) -> str:
    """The mask of the signals that a process ignores, TERM's bit alone."""
    with open(f"/proc/{pid}/status") as status:
        (mask,) = [int(line.split()[1], 16) for line in status if line.startswith("SigIgn")]
    return str(mask >> (signal.SIGTERM - 1) & 1)


def test_what_it_is_told(reactor: FakeReactor) -> None:
    """A line for each process that begins or ends, and one when all is well."""
    warden = Warden()
    warden.begin(1)  # before it is there: nobody is told
    warden.start(reactor)
    warden.begin(12)
    warden.end(12)
    warden.dismiss()
    assert reactor.warden is not None
    assert reactor.warden.told == b"+ 12\n- 12\n.\n"


def test_no_shell(reactor: FakeReactor, log: list[str]) -> None:
    """A machine without a shell has a hub without a warden, and the log says so."""
    reactor.cannot_spawn = FileNotFoundError(2, "No such file or directory")
    warden = Warden()
    warden.start(reactor)
    warden.begin(1)
    warden.end(1)
    warden.dismiss()
    assert any("services that hang outlive a hub that is killed" in line for line in log)
