"""Replaces the processes of services by new ones: see `wshub.processes.generations` for the rules.

Clients of the old process go on with the new one if its class `resumes` them; else they stay where they are until
`drain_timeout` is over, and are then closed with 1012, a batch at a time.
"""

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from wshub.errors import ServiceDied, ServiceNotFound, ServiceReplaced, ServiceUnavailable
from wshub.poller import Poller
from wshub.processes.generations import CLOSE_INTERVAL, Standing, Turn, batch_size
from wshub.processes.handover import BATCH, HandOver
from wshub.processes.life import Event, State
from wshub.processes.link import ServiceLink
from wshub.processes.outcome import (
    FAILED,
    IDLE,
    RELOADED_WELL,
    REMOVED,
    SUPERSEDED,
    UNKNOWN,
    Outcome,
    count,
    describe,
)
from wshub.processes.run import Run
from wshub.processes.socket import RELOADED
from wshub.routing import Route, ServiceFolder, format_route


class Starter(Protocol):
    """What reloading needs of the supervisor."""

    current: dict[Route, Run]
    """The generation of each service that new clients get."""

    def make_run(self, route: Route, module: Path) -> Run:
        """A run that has a link and no process yet."""

    def spawn(self, run: Run) -> None:
        """Start its process."""

    def install(self, run: Run) -> None:
        """Let new clients get this run, whose process is ready or about to be."""

    def uninstall(self, route: Route) -> None:
        """Let new clients get none, or the file's as it is then."""


class Reloads:
    """The generations besides the current ones, of all services."""

    def __init__(self, reactor: Any, poller: Poller, folder: ServiceFolder, starter: Starter, timeout: float) -> None:
        self._reactor = reactor
        self._poller = poller
        self._folder = folder
        self._starter = starter
        self._timeout = timeout
        self._next: dict[Route, Run] = {}
        self._older: dict[Route, list[Run]] = {}
        self._asked: dict[Run, tuple[float, list[Deferred[Outcome]]]] = {}
        """Since when somebody waits for a run to get ready, and who."""
        self._log = Logger(namespace="wshub")

    @property
    def links(self) -> list[ServiceLink]:
        """Those of all generations besides the current ones."""
        return [run.link for run in (*self._next.values(), *(run for older in self._older.values() for run in older))]

    def draining(self, route: Route) -> list[ServiceLink]:
        """Those of the older generations of a service that still have clients."""
        return [run.link for run in self._older.get(route, ())]

    def is_awaiting(self, route: Route) -> bool:
        """Whether clients of an older generation may still come to the current one."""
        return any(link.on_open for link in self.draining(route))

    def newest(self, route: Route) -> Run | None:
        """The generation that was started last: the one on its way, or else the current one."""
        return self._next.get(route) or self._starter.current.get(route)

    # A new generation.

    def reload(self, route: Route) -> "Deferred[Outcome]":
        """Start a new process beside the one that runs; the result fires when it has taken its place, or has not."""
        current = self._starter.current.get(route)
        try:
            module = self._folder.module(route)
        except ServiceNotFound:
            return succeed(self._remove(route, current))
        if current is None:
            return succeed(Outcome(format_route(route), IDLE))
        self._abandon(route)
        run = self._starter.make_run(route, module)
        run.standing = Standing.NEXT
        self._next[route] = run
        asked = self.when_ready(run)
        self._starter.spawn(run)
        return asked

    def when_ready(self, run: Run) -> "Deferred[Outcome]":
        """What becomes of a run that is not ready yet."""
        asked: Deferred[Outcome] = Deferred()
        self._asked.setdefault(run, (self._reactor.seconds(), []))[1].append(asked)
        return asked

    def reload_changed(self) -> "list[Deferred[Outcome]]":
        """Reload the services of which any file has changed; one whose files are not known yet, as soon as they are."""
        asked = []
        for route in list(self._starter.current):
            run = self.newest(route)
            assert run is not None
            if run.has_changed:
                asked.append(self.reload(route))
            elif run.link.state is State.STARTING:
                run.look_again = True
                if run.standing is Standing.NEXT:  # somebody has asked before: what comes of that is the answer
                    asked.append(self.when_ready(run))
        return asked

    def _remove(self, route: Route, current: Run | None) -> Outcome:
        """Its file is gone: so is the service, once its clients have gone."""
        self._abandon(route)
        if current is None:
            return Outcome(format_route(route), UNKNOWN)
        clients = current.link.client_count
        self._starter.uninstall(route)
        self._log.info("{name}: has no file any more{stay}", name=current.name, stay=self._describe_stay(clients))
        self._replace(current, None)
        return Outcome(current.name, REMOVED, clients=clients)

    def _abandon(self, route: Route) -> None:
        if run := self._next.pop(route, None):
            run.turn(Turn.REPLACED)
            self._log.info("{name}: the new process is not wanted any more: there is a newer one", name=run.name)
            run.link.happen(Event.STOP)
            self._tell(run, Outcome(run.name, SUPERSEDED))

    def is_ready(self, run: Run) -> None:
        """Called when a process is ready, before anybody who waits for that is told."""
        old = self._starter.current.get(run.route)
        if run.standing is Standing.NEXT:
            run.turn(Turn.READY)
            del self._next[run.route]
            self._starter.install(run)
        if run in self._asked:
            self._complete(run, old)
        if run.look_again and run.has_changed:
            self.reload(run.route)

    def _complete(self, run: Run, old: Run | None) -> None:
        run.link.counts.reloads += 1
        run.link.counts.note(time.time(), "reloaded")
        seconds = self._reactor.seconds() - self._asked[run][0]
        clients = old.link.client_count if old and old is not run else 0
        resumes = run.link.declared.resumes and old is not None and old.link.declared.resumes
        outcome = Outcome(run.name, RELOADED_WELL, "", seconds, clients, resumes)
        if old and old is not run:
            if not resumes or not clients:
                self._log.info("{text}", text=describe(outcome) + self._describe_stay(clients))
            self._replace(old, run, outcome if resumes else None)
        self._tell(run, outcome)

    def has_ended(self, run: Run) -> Callable[[str], None]:
        """Called when a process has ended that is not the current one. Return what wants to know how."""
        before = run.standing
        run.turn(Turn.ENDED)
        if before is Standing.NEXT:
            self._next.pop(run.route, None)
            return partial(self._fail, run)
        if before in (Standing.DRAINING, Standing.CLOSING):
            self._forget(run)
            return partial(self._mourn, run)
        return lambda said: None

    def _mourn(self, run: Run, said: str) -> None:
        run.link.counts.deaths[said] += 1
        self._log.error("{name}: the old process died: {said}", name=run.name, said=said)

    def current_has_failed(self, run: Run, said: str) -> None:
        """Called when one has ended before it was ready that had become the current one by then."""
        if run in self._asked:
            run.link.counts.failed_reloads += 1
            self._tell(run, Outcome(run.name, FAILED, run.last_line or said))

    def _fail(self, run: Run, said: str) -> None:
        run.link.counts.failed_reloads += 1
        run.log_failure(self._log, f"not reloaded, the old process stays: {said}")
        self._tell(run, Outcome(run.name, FAILED, run.last_line or said))

    def take_next(self, route: Route) -> Run | None:
        """Called when the current process has ended: the next one, if it is on its way already, is the current one."""
        run = self._next.pop(route, None)
        if run:
            run.turn(Turn.ALONE)
            self._starter.install(run)
        return run

    def _tell(self, run: Run, outcome: Outcome) -> None:
        _, asked = self._asked.pop(run, (0.0, []))
        for each in asked:
            each.callback(outcome)

    # The old one.

    def _replace(self, old: Run, new: Run | None, outcome: Outcome | None = None) -> None:
        """Empty a process that is not the current one any more, into `new` if there is an outcome to complete."""
        old.turn(Turn.REPLACED)
        if old in self._asked:  # it had become the current one before it was ready
            self._tell(old, Outcome(old.name, SUPERSEDED))
        link = old.link
        self._older.setdefault(old.route, []).append(old)
        link.on_empty = partial(self._look_if_empty, old)
        link.pass_on(ServiceReplaced(new.link) if new else ServiceNotFound())
        if not link.client_count:
            self._look_if_empty(old)
            return
        old.timers.append(self._reactor.callLater(self._timeout, self._begin_to_close, old))
        if outcome:
            find = partial(self._find_current, old.route)
            link.on_open = lambda socket: self._poller.at_end_of_turn(
                lambda: socket.wshub_hand_over(find, lambda _: None)
            )
            moving = HandOver(self._log, outcome, list(link.sockets.values()), find)
            self._poller.at_end_of_turn(lambda: self._hand_over_some(moving))

    def _hand_over_some(self, moving: "HandOver") -> None:
        """Called at the end of a turn, with clients of the turns between served as ever."""
        if moving.begin(BATCH):
            self._reactor.callLater(0, self._poller.at_end_of_turn, lambda: self._hand_over_some(moving))

    def _find_current(self, route: Route) -> ServiceLink | None:
        run = self._starter.current.get(route)
        return run.link if run else None

    def _find_way_on(self, route: Route) -> ServiceUnavailable:
        """What those are told whom an old process never decides about: where to go, or that there is nowhere to go."""
        if new := self._find_current(route):
            return ServiceReplaced(new)
        try:
            self._folder.module(route)
        except ServiceNotFound as error:
            return error
        return ServiceDied()  # the next client starts another

    def _look_if_empty(self, run: Run) -> None:
        if not run.link.client_count and run.turn(Turn.EMPTY):
            self._forget(run)
            run.link.happen(Event.STOP)

    def _forget(self, run: Run) -> None:
        older = self._older.get(run.route, [])
        if run in older:
            older.remove(run)
        if not older:
            self._older.pop(run.route, None)

    def _begin_to_close(self, run: Run) -> None:
        """Its clients have had their time. Who is still being decided about is asked for anew."""
        if not run.turn(Turn.LATE):
            return
        run.link.pass_on_requests(self._find_way_on(run.route))
        socket_ids = list(run.link.sockets)
        if socket_ids:
            self._log.info("{name}: closing {n} of the old process", name=run.name, n=count(len(socket_ids)))
        self._close_some(run, socket_ids, batch_size(len(socket_ids)))
        self._look_if_empty(run)

    def _close_some(self, run: Run, socket_ids: list[int], size: int) -> None:
        for socket_id in socket_ids[:size]:
            if socket := run.link.sockets.get(socket_id):  # it may have gone to the new process since
                socket.wshub_close(*RELOADED)
                socket.wshub_resume()  # to hear the answer, whether the process keeps up or not
        if rest := socket_ids[size:]:
            run.timers.append(self._reactor.callLater(CLOSE_INTERVAL, self._close_some, run, rest, size))

    def stop(self) -> None:
        """The hub stops, and all processes with it: nobody is replaced any more."""
        runs = [*self._next.values(), *(run for older in self._older.values() for run in older)]
        self._next.clear()
        self._older.clear()
        for run in runs:
            run.cancel_timers()
            run.standing = Standing.GONE
            run.link.on_empty = lambda: None
            run.link.happen(Event.STOP)
        for run in list(self._asked):
            self._tell(run, Outcome(run.name, FAILED, "the hub is stopping"))

    def _describe_stay(self, clients: int) -> str:
        if not clients:
            return ""
        return f"; {count(clients)} may stay with the old process for {self._timeout:g} s"
