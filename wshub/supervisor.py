"""Starts services when they are asked for, watches them, and starts them anew: one link and one process each."""

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger

from wshub.accounting import Accounting
from wshub.config import Settings
from wshub.errors import HubStopping, ServiceCrashing, ServiceFailed, ServiceNotFound
from wshub.link import Event, ServiceLink, State
from wshub.poller import Poller
from wshub.process import ServiceProcess, escape
from wshub.restart import RestartPolicy
from wshub.routing import Route, RouteTree, ServiceFolder, format_route

EXIT_TIME = 0.5  # seconds between the end of a process's pipe, which its exit closes first, and its exit
ENDED_BY_ITSELF = (Event.EXITED, Event.HUNG_UP)

Fingerprint = tuple[int, int, int]


@dataclass
class Record:
    """What is remembered about a service between one process of it and the next."""

    policy: RestartPolicy = field(default_factory=RestartPolicy)
    failed: Fingerprint | None = None
    """The file that did not start: no new attempt until it is another."""


class ServiceSupervisor:
    """All services of a hub, running or not."""

    def __init__(self, reactor: Any, settings: Settings, poller: Poller) -> None:
        self.tree: RouteTree[ServiceLink] = RouteTree(ServiceFolder(settings.document_root))
        self.accounting = Accounting()
        self._reactor = reactor
        self._poller = poller
        self._settings = settings
        self._records: dict[Route, Record] = {}
        self._processes: dict[ServiceLink, ServiceProcess] = {}
        self._deadlines: dict[ServiceLink, Any] = {}
        self._is_stopping = False
        self._log = Logger(namespace="wshub")

    def link(self, route: Route) -> ServiceLink:
        """The link of the service at `route`, running or just started.

        Raise `ServiceNotFound` if there is none, `ServiceFailed` if it did not start and its file is still the same,
        `ServiceCrashing` if it died too often of late.
        """
        running = self.tree.get(route)
        if running is not None:
            return running
        if self._is_stopping:
            raise HubStopping
        module = self.tree.folder.module(route)
        record = self._records.setdefault(route, Record())
        if record.failed is not None and record.failed == fingerprint(module):
            raise ServiceFailed
        seconds = record.policy.seconds_to_wait(self._reactor.seconds())
        if seconds:
            raise ServiceCrashing(seconds)
        return self._start(route, module)

    def state(self, route: Route) -> tuple[str, int]:
        """The state of the service at `route` in one word, and how many clients it has."""
        link = self.tree.get(route)
        if link is not None:
            return link.state.value, len(link.sockets)
        record = self._records.get(route, Record())
        if record.policy.seconds_to_wait(self._reactor.seconds()):
            return "crashing", 0
        return ("failed" if record.failed and record.failed == self._fingerprint(route) else "idle"), 0

    def _fingerprint(self, route: Route) -> Fingerprint | None:
        try:
            return fingerprint(self.tree.folder.module(route))
        except ServiceNotFound:
            return None

    @property
    def links(self) -> list[ServiceLink]:
        """Those of the services that run."""
        return list(self.tree.running.values())

    def stop(self) -> "Deferred[Any]":
        """Let every service finish. The result fires when no process is left."""
        self._is_stopping = True
        for link in self.links:
            link.happen(Event.STOP)
        return DeferredList([process.exited for process in self._processes.values()])

    def _start(self, route: Route, module: Path) -> ServiceLink:
        name = format_route(route)
        counts = self.accounting.service(name)
        link = ServiceLink(partial(self._changed, route, fingerprint(module)), counts)
        try:
            process = ServiceProcess.spawn(self._reactor, self._poller, name, self.tree.folder.root, module, link)
        except OSError as error:
            self._log.error("{name}: no process to be had: {error}", name=name, error=error)
            raise ServiceCrashing(1) from None
        counts.starts += 1
        self.tree.running[route] = link
        self._processes[link] = process
        process.exited.addCallback(lambda _: self._processes.pop(link))
        seconds = self._settings.start_timeout
        self._deadlines[link] = self._reactor.callLater(seconds, link.happen, Event.LATE)
        self._log.info("{name}: started, process {pid}", name=name, pid=process.pid)
        return link

    def _changed(self, route: Route, started_from: Fingerprint, link: ServiceLink, event: Event, kill: bool) -> None:
        process, name = self._processes[link], format_route(route)
        deadline = self._deadlines.pop(link, None)
        if deadline and deadline.active():
            deadline.cancel()
        if link.state is State.READY:
            self._records[route].failed = None
            self._log.info("{name}: running", name=name)
        elif link.state is State.STOPPING:
            process.finish(self._settings.stop_timeout)
        elif self.tree.running.pop(route, None) and not self._is_stopping:
            self._remember(self._records[route], started_from, link)
            process.exited.addCallback(lambda _: self._end(name, link, event, process.how))
        if kill:
            process.kill(EXIT_TIME if event is Event.HUNG_UP else 0)

    def _remember(self, record: Record, started_from: Fingerprint, link: ServiceLink) -> None:
        if link.state is State.FAILED:
            record.failed = started_from
        else:
            record.policy.record_death(self._reactor.seconds())

    def _end(self, name: str, link: ServiceLink, event: Event, how: str) -> None:
        said = event.value if event not in ENDED_BY_ITSELF or how == "killed" else f"it ended {how}"
        link.counts.deaths[said] += 1
        if link.state is State.FAILED:
            self._log.error("{name}: does not start until its file changes: {said}", name=name, said=said)
            for line in link.traceback.splitlines():
                self._log.error("{name}: {line}", name=name, line=escape(line))
        else:
            self._log.error("{name}: died: {said}. The next client starts it anew.", name=name, said=said)


def fingerprint(file: Path) -> Fingerprint:
    """What changes when a file does; zeros for one that is gone."""
    try:
        status = file.stat()
    except OSError:
        return 0, 0, 0
    return status.st_mtime_ns, status.st_size, status.st_ino
