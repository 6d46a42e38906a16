"""The dead that are nobody's are collected, and no other."""

import os

from wshub.processes import orphans
from wshub.processes.orphans import INTERVAL, collect, reap_orphans
from wshub.testing import FakeReactor


def start_and_exit() -> int:
    """A child that has exited and was not waited for."""
    pid = os.posix_spawn("/bin/sh", ["/bin/sh", "-c", "exit 3"], {})
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def test_collect() -> None:
    """An orphan is collected; one whose status somebody waits for is left to them."""
    orphan, own = start_and_exit(), start_and_exit()
    collected = collect({own})
    assert own not in collected
    assert os.waitstatus_to_exitcode(os.waitpid(own, 0)[1]) == 3
    collected += collect({})
    assert orphan in collected


def test_only_the_first_process_collects(reactor: FakeReactor, monkeypatch) -> None:
    """Elsewhere than in a container somebody else does it."""
    orphan = start_and_exit()
    reap_orphans(reactor)
    assert reactor.getDelayedCalls() == []
    monkeypatch.setattr(orphans, "FIRST_PROCESS", os.getpid())
    monkeypatch.setattr(orphans, "reapProcessHandlers", {orphan: None})
    reap_orphans(reactor)
    monkeypatch.setattr(orphans, "reapProcessHandlers", {})
    reactor.advance(INTERVAL)
    try:
        os.waitpid(orphan, 0)
    except ChildProcessError:
        return
    raise AssertionError("nobody collected it")
