"""Starts services when they are asked for, watches them, and starts them anew: one link and one process each."""

import math
import os
import random
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, DeferredList, gatherResults, succeed
from twisted.logger import Logger

from wshub.accounting import Accounting
from wshub.config import Settings, find_service
from wshub.errors import (
    HubStopping,
    ServiceCrashing,
    ServiceEnded,
    ServiceFailed,
    ServiceNotFound,
    ServiceReplaced,
)
from wshub.poller import Poller
from wshub.processes.confinement import make_confinement
from wshub.processes.eager import EagerServices
from wshub.processes.generations import Standing
from wshub.processes.idleness import Idleness
from wshub.processes.life import Event, State
from wshub.processes.link import ServiceLink
from wshub.processes.outcome import Outcome
from wshub.processes.process import ServiceProcess
from wshub.processes.records import Records
from wshub.processes.reloads import Reloads
from wshub.processes.restart import RestartPolicy
from wshub.processes.run import Fingerprint, Run, fingerprint
from wshub.processes.warden import Warden
from wshub.processes.watchdog import Watchdog
from wshub.routing import Route, RouteTree, ServiceFolder, format_route

EXIT_TIME = 0.5  # seconds between the end of a process's pipe, which its exit closes first, and its exit
PATIENCE = 1.0  # seconds that a client may wait for a service to be started, rather than come again
NORMAL_END = "with exit status 0"  # what `describe_exit` says of it
ENDED_BY_ITSELF = (Event.EXITED, Event.HUNG_UP)


class ServiceSupervisor:
    """All services of a hub, running or not.

    Raise `ConfigError` if the settings ask for a user that services cannot run as.
    """

    def __init__(
        self,
        reactor: Any,
        settings: Settings,
        poller: Poller,
        environ: Mapping[str, str] = os.environ,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.tree: RouteTree[ServiceLink] = RouteTree(ServiceFolder(settings.document_root))
        self.accounting = Accounting(keeps_recent=bool(settings.admin))
        self.warden = Warden()
        self._confinement = make_confinement(settings, environ)
        self._reactor = reactor
        self._poller = poller
        self._settings = settings
        self.current: dict[Route, Run] = {}
        """What runs at each URL, as `tree` has the links."""
        self.reloads = Reloads(reactor, poller, self.tree.folder, self, settings.drain_timeout)
        make_policy = partial(RestartPolicy, settings.restart_intensity, settings.restart_period)
        self._records = Records(make_policy, chance)
        self._runs: dict[ServiceLink, Run] = {}
        """Those whose process has not exited."""
        self._idleness = Idleness(reactor, self.uninstall, self.reloads.is_awaiting)
        eager = [find_service(settings.document_root, path) for path in settings.eager]
        self._eager = EagerServices(reactor, self.tree.folder, eager, self.link)
        self._is_stopping = False
        self._log = Logger(namespace="wshub")

    # What others want.

    def link(self, route: Route) -> ServiceLink:
        """The link of the service at `route`, running, just started, or about to be started within a second.

        Raise `ServiceNotFound` if there is none, `ServiceFailed` if it did not start and its file is still the same,
        `ServiceCrashing` if it died too often of late, `ServiceEnded` if it was to run only once.
        """
        running = self.tree.get(route)
        if running is not None:
            return running
        if self._is_stopping:
            raise HubStopping
        module = self.tree.folder.module(route)
        seconds = self._seconds_to_wait(route, fingerprint(module))
        if seconds > PATIENCE:
            raise ServiceCrashing(math.ceil(seconds))
        link = self._start(route, module, seconds)
        if link.state is State.FAILED:
            raise link.failure
        return link

    def state(self, route: Route) -> tuple[str, int]:
        """The state of the service at `route` in one word, and how many clients it has."""
        link = self.tree.get(route)
        older = sum(len(each.sockets) for each in self.reloads.draining(route))
        if link is not None:
            return link.state.value, len(link.sockets) + older
        if older:
            return State.STOPPING.value, older
        try:
            seconds = self._seconds_to_wait(route, fingerprint(self.tree.folder.module(route)))
        except ServiceFailed:
            return "failed", 0
        except ServiceEnded:
            return "ended", 0
        except ServiceNotFound:
            return "idle", 0
        return ("crashing" if seconds > PATIENCE else "idle"), 0

    @property
    def links(self) -> list[ServiceLink]:
        """Those of the services that run, and of their other generations."""
        return [*self.tree.running.values(), *self.reloads.links]

    @property
    def eager(self) -> list[Route]:
        """Those that run as soon as the hub does."""
        return self._eager.routes

    def process(self, route: Route) -> ServiceProcess | None:
        """The process that serves `route`, or that is about to finish; None if there is none."""
        link = self.tree.get(route)
        run = self._runs.get(link) if link else None
        return run.process if run else self._idleness.retiring.get(route)

    def start(self) -> None:
        """Start the services that run without clients: those of the setting, and those that declare it."""
        self._eager.start()

    def reload_changed(self) -> "Deferred[list[Outcome]]":
        """Reload the services whose files have changed, and start the eager ones that do not run; when all is done."""
        if self._is_stopping:
            return succeed([])
        outcomes = gather(self.reloads.reload_changed())
        self.forget_failures()
        self.start()
        return outcomes

    def forget_failures(self) -> None:
        """What did not start may be tried again: what was mended need not be in its own file."""
        self._records.forget_failures()

    def reload(self, routes: Iterable[Route]) -> "Deferred[list[Outcome]]":
        """Reload these, whether their files have changed or not, and whatever has become of them before."""
        return gather([] if self._is_stopping else [self._reload_one(route) for route in routes])

    def _reload_one(self, route: Route) -> "Deferred[Outcome]":
        if route in self.current or not self.tree.exists(route) or self.state(route)[0] == "idle":
            return self.reloads.reload(route)
        self._records.forget(route)  # it has failed, or ended, or died too often: that is forgotten
        self._eager.start_one(route)
        return self.reloads.when_ready(self.current[route]) if route in self.current else self.reloads.reload(route)

    def stop(self) -> "Deferred[Any]":
        """Let every service finish. The result fires when no process is left."""
        self._is_stopping = True
        self._eager.stop()
        self.reloads.stop()
        for link in self.links:
            link.happen(Event.STOP)
        return DeferredList([run.process.exited for run in self._runs.values() if run.process])

    # Starting.

    def _seconds_to_wait(self, route: Route, file: Fingerprint) -> float:
        return self._records.seconds_to_wait(route, file, self._reactor.seconds())

    def _start(self, route: Route, module: Path, seconds: float) -> ServiceLink:
        """Have a link at once, and its process as soon as it may be, within `seconds`."""
        run = self.make_run(route, module)
        self.install(run)
        if predecessor := self._idleness.retiring.get(route):
            predecessor.exited.addCallback(lambda _: self.spawn(run))
        elif seconds:
            run.timers.append(self._reactor.callLater(seconds, self.spawn, run))
        else:
            self.spawn(run)
        return run.link

    def make_run(self, route: Route, module: Path) -> Run:
        """A run that has a link and no process yet."""
        name = format_route(route)
        link = ServiceLink(lambda _, event, kill: self._changed(run, event, kill), self.accounting.service(name))
        link.name = name
        run = Run(route, link, fingerprint(module), module)
        return run

    def install(self, run: Run) -> None:
        """Let new clients get this run. What was known of another file than its own does not count any more."""
        self.current[run.route] = run
        self.tree.running[run.route] = run.link
        self._records.about(run.route, run.file)

    def uninstall(self, route: Route) -> None:
        """Let new clients get whatever the folder has then."""
        del self.current[route]
        del self.tree.running[route]

    def spawn(self, run: Run) -> None:
        """Start the process of a run, unless nobody wants it any more."""
        link, name = run.link, run.name
        if link.state is not State.STARTING:
            return
        try:
            run.process = ServiceProcess.spawn(
                self._reactor, self._poller, name, self.tree.folder.root, run.module, link, self._confinement
            )
        except OSError as error:
            self._log.error("{name}: no process to be had: {error}", name=name, error=error)
            link.failure = ServiceCrashing(1)
            link.happen(Event.EXITED)
            return
        if run.standing is Standing.CURRENT and link.counts.starts:
            link.counts.restarts += 1
        link.counts.starts += 1
        run.began, run.began_at = self._reactor.seconds(), time.time_ns()
        self._runs[link] = run
        assert run.process.pid is not None
        group = run.process.pid
        self.warden.begin(group)
        run.process.exited.addCallback(lambda _: self._forget(run, group))
        run.timers.append(self._reactor.callLater(self._settings.start_timeout, link.happen, Event.LATE))
        self._log.info("{name}: started, process {pid}", name=name, pid=run.process.pid)
        link.counts.note(time.time(), f"started, process {run.process.pid}")

    def _forget(self, run: Run, group: int) -> None:
        del self._runs[run.link]
        self.warden.end(group)

    # Running.

    def _changed(self, run: Run, event: Event, kill: bool) -> None:
        link, process = run.link, run.process
        run.cancel_timers()
        if link.state is State.READY:
            self._records.about(run.route, run.file).has_failed = False
            self._log.info("{name}: running", name=run.name)
            run.note_files(self.tree.folder.root)
            self._watch(run)
            self.reloads.is_ready(run)
        elif link.state is State.STOPPING:
            if process:
                process.finish(self._settings.stop_timeout)
        elif self.current.get(run.route) is run:
            self.uninstall(run.route)
            if process and not self._is_stopping:
                self._records.remember(run, self._reactor.seconds())
                process.exited.addCallback(lambda _: self._end(run, event, process.how))
            if successor := self.reloads.take_next(run.route):
                link.pass_on(ServiceReplaced(successor.link))
            if not process:
                self.reloads.current_has_failed(run, "no process to be had")
        elif run.standing is not Standing.CURRENT:
            tell = self.reloads.has_ended(run)
            if process:
                process.exited.addCallback(lambda _: tell(describe_end(event, process.how)))
            else:
                tell("no process to be had")
        if kill and process:
            process.kill(EXIT_TIME if event is Event.HUNG_UP else 0)

    def _watch(self, run: Run) -> None:
        """Look after a process that is ready: does it live, and does anybody want it?"""
        link, process, declared = run.link, run.process, run.link.declared
        assert process is not None
        if declared.hang_timeout:
            run.watchdog = watchdog = Watchdog(
                self._reactor, declared.hang_timeout, lambda: link.happen(Event.SILENT), lambda: link.is_held
            )
            process.on_sign_of_life = watchdog.hear
        seconds = self._settings.idle_timeout if declared.idle_timeout is None else declared.idle_timeout
        if seconds and declared.restart != "permanent" and run.route not in self.eager:
            self._idleness.watch(run, seconds)

    # Ending.

    def _end(self, run: Run, event: Event, how: str) -> None:
        link, name = run.link, run.name
        is_normal = event in ENDED_BY_ITSELF and how == NORMAL_END
        said = describe_end(event, how)
        link.counts.deaths[said] += 1
        if link.state is State.FAILED:
            run.log_failure(self._log, f"does not start until its file changes: {said}")
            self.reloads.current_has_failed(run, said)
            return
        wait = self._records.about(run.route, run.file).policy.seconds_to_wait(self._reactor.seconds())
        restart, is_eager = link.declared.restart, run.route in self.eager
        if restart == "temporary":
            then = "It is not started again until its file changes."
        elif restart == "permanent" or (is_eager and not is_normal):
            then = f"It is started anew in {wait:.1f} seconds."
            self._eager.start_after(run.route, wait)
        elif wait > PATIENCE:
            then = f"A client that comes within {wait:.0f} seconds is told to come again."
        else:
            then = "The next client starts it anew."
        log, verb = (self._log.info, "finished") if is_normal else (self._log.error, "died")
        log("{name}: {verb}: {said}. {then}", name=name, verb=verb, said=said, then=then)
        link.counts.note(time.time(), f"{verb}: {said}. {then}")


def describe_end(event: Event, how: str) -> str:
    """Why a process is no more, in a few words."""
    return event.value if event not in ENDED_BY_ITSELF or how == "killed" else f"it ended {how}"


def gather(outcomes: "list[Deferred[Outcome]]") -> "Deferred[list[Outcome]]":
    """All of them, as soon as the last one is known."""
    return gatherResults(outcomes)
