"""What the first process of a container has to do besides its work: collect the dead that are nobody's.

A process whose parent has gone becomes a child of process 1, and stays an entry of the process table until that one has
asked for its exit status. Elsewhere init does this; in a container the hub may be it.
"""

import os
from collections.abc import Container
from typing import Any

from twisted.internet.process import reapProcessHandlers

INTERVAL = 5.0  # seconds; the dead are in nobody's way
FIRST_PROCESS = 1


def reap_orphans(reactor: Any) -> None:
    """Collect orphans from now on, if this is process 1."""
    if os.getpid() == FIRST_PROCESS:
        collect(reapProcessHandlers)
        reactor.callLater(INTERVAL, reap_orphans, reactor)


def collect(own: Container[int]) -> list[int]:
    """Collect the children that have exited, up to one of the processes in `own`, whose status somebody waits for.

    Return their ids. That one will be gone the next time.
    """
    collected: list[int] = []
    while True:
        try:
            dead = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)  # look, and leave it
        except ChildProcessError:
            return collected
        if dead is None or dead.si_pid in own:
            return collected
        os.waitpid(dead.si_pid, 0)
        collected.append(dead.si_pid)
