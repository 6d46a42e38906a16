"""Lets services finish that have been without clients for their `idle_timeout`."""

import time
from collections.abc import Callable
from functools import partial
from typing import Any

from twisted.logger import Logger

from wshub.processes.life import Event, State
from wshub.processes.process import ServiceProcess
from wshub.processes.run import Run
from wshub.routing import Route


class Idleness:
    """Watches the services that do not run for ever.

    `uninstall` is the supervisor's: new clients get a new process. `is_awaiting` says whether clients of an older one
    may still come to the current one.
    """

    def __init__(self, reactor: Any, uninstall: Callable[[Route], None], is_awaiting: Callable[[Route], bool]) -> None:
        self.retiring: dict[Route, ServiceProcess] = {}
        """Those that were asked to finish: no other of the same route is started before they have."""
        self._reactor = reactor
        self._uninstall = uninstall
        self._is_awaiting = is_awaiting
        self._log = Logger(namespace="wshub")

    def watch(self, run: Run, seconds: float) -> None:
        """Ask a process that is ready to finish once it has been without clients for so long."""
        run.link.on_empty = partial(self._wait_for_client, run, seconds)
        run.link.on_empty()

    def _wait_for_client(self, run: Run, seconds: float) -> None:
        if run.link.state is State.READY:
            if run.idle and run.idle.active():
                run.idle.reset(seconds)
            else:
                run.idle = self._reactor.callLater(seconds, self._retire, run, seconds)

    def _retire(self, run: Run, seconds: float) -> None:
        """Ask a service to finish that has no clients. Whoever comes now waits for the next process."""
        if run.link.client_count:
            return  # until it is empty again
        # Either it is busy with what its last clients said, and others may wait for that, or some are on their way.
        if run.link.is_paused or self._is_awaiting(run.route):
            self._wait_for_client(run, seconds)
            return
        process, route = run.process, run.route
        assert process is not None
        self._log.info("{name}: finishes, because it has no clients", name=run.name)
        run.link.counts.note(time.time(), "finishes, because it has no clients")
        self._uninstall(route)
        self.retiring[route] = process
        process.exited.addCallback(lambda _: self._has_retired(route, process))
        run.link.happen(Event.STOP)

    def _has_retired(self, route: Route, process: ServiceProcess) -> None:
        if self.retiring.get(route) is process:  # and not one that has been reloaded meanwhile, and is idle in turn
            del self.retiring[route]
