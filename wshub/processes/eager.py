"""Starts the services that run without a client: with the hub, and anew when they have died."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from wshub.errors import ServiceCrashing, ServiceNotFound, ServiceUnavailable
from wshub.processes.lifetime import is_eager
from wshub.processes.run import Fingerprint, fingerprint
from wshub.routing import Route, ServiceFolder


class EagerServices:
    """Those that the settings name, and those in the folder whose source says so.

    `start` is the supervisor's: it starts a service that does not run, or raises `ServiceUnavailable`.
    """

    def __init__(
        self, reactor: Any, folder: ServiceFolder, named: list[Route], start: Callable[[Route], object]
    ) -> None:
        self.routes = [*named]
        """Those that run as soon as the hub does."""
        self._named = named
        self._reactor = reactor
        self._folder = folder
        self._start = start
        self._again: dict[Route, Any] = {}
        """Calls that will start one."""
        self._read: dict[Path, Fingerprint] = {}
        """Sources that were looked at, as they were then."""
        self._is_stopping = False

    def start(self) -> None:
        """Start them all; those that run are left alone."""
        for route in self._folder.routes():
            if route not in self.routes and self._has_become_eager(self._folder.module(route)):
                self.routes.append(route)
        # What says so itself, and is there no more, nobody misses.
        self.routes = [route for route in self.routes if route in self._named or self._is_there(route)]
        for route in self.routes:
            self.start_one(route)

    def _is_there(self, route: Route) -> bool:
        try:
            self._folder.module(route)
        except ServiceNotFound:
            return False
        return True

    def _has_become_eager(self, module: Path) -> bool:
        """Read the source, unless it is as it was the last time: with many files that takes seconds."""
        before, self._read[module] = self._read.get(module), fingerprint(module)
        return before != self._read[module] and is_eager(module)

    def start_one(self, route: Route) -> None:
        """Start a service for nobody in particular, as soon as it may be."""
        call = self._again.pop(route, None)
        if call and call.active():  # somebody has asked before its time
            call.cancel()
        try:
            self._start(route)
        except ServiceCrashing as error:
            self.start_after(route, error.retry_after)
        except ServiceUnavailable:
            pass  # the log has it

    def start_after(self, route: Route, seconds: float) -> None:
        """The same in so many seconds, unless it is to be started before that."""
        if not self._is_stopping and route not in self._again:
            self._again[route] = self._reactor.callLater(seconds, self.start_one, route)

    def stop(self) -> None:
        """The hub stops: start none any more."""
        self._is_stopping = True
        for call in self._again.values():
            call.cancel()
        self._again.clear()
