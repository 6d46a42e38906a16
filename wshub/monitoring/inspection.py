"""What a hub is and does at this moment, gathered when somebody asks: it costs a message nothing.

Where there is an admin interface, each service that runs is looked at every few seconds, for the curves of the console.
"""

import math
import time
from collections import deque
from typing import Any

import wshub
from wshub.accounting import Accounting, Counts
from wshub.errors import ServiceNotFound
from wshub.monitoring.procfs import read_usage
from wshub.monitoring.views import HubView, ServiceView, Usage
from wshub.processes.supervisor import ServiceSupervisor
from wshub.recent import Sample
from wshub.routing import Route, format_route, parse_route

PERIOD = 1.0  # seconds between two looks at the reactor's lag
REMEMBERED = 15  # of them
SAMPLED = 5  # periods between two looks at one service: in each of them a part of all services has its turn
MOST_SAMPLED = 20  # services that have their turn in one period; of more, each is looked at less often
MOST_READ = 50  # processes that are looked at for one answer: each takes 0.02 to 0.2 ms, in which no message moves


class Inspector:
    """Looks at a hub. `begin` and `end` say when it listens."""

    certificate_expiry: float | None = None
    """Until when the certificate of the hub's own is valid, in seconds of Unix time, if it has one."""

    def __init__(self, reactor: Any, supervisor: ServiceSupervisor, count_connections: Any) -> None:
        self._reactor = reactor
        self.supervisor = supervisor
        self._count_connections = count_connections
        self._is_listening = False
        self._began = time.time()
        self._lags: deque[float] = deque(maxlen=REMEMBERED)
        self._due = 0.0
        self._call: Any = None
        self._turn = 0
        self._usages: dict[int, tuple[float, Usage | None]] = {}  # by pid, with the time when it was read

    @property
    def accounting(self) -> Accounting:
        """The counts of the hub."""
        return self.supervisor.accounting

    def begin(self) -> None:
        """The reactor runs, and connections are accepted."""
        self._is_listening = True
        self._schedule()

    def end(self) -> None:
        """No more connections are accepted."""
        self._is_listening = False
        if self._call:
            self._call.cancel()
            self._call = None

    def not_ready(self) -> tuple[str, ...]:
        """Why clients cannot be served, or not all; empty if they can."""
        if not self._is_listening:
            return ("the hub is starting or stopping",)
        states = ((format_route(route), self.supervisor.state(route)[0]) for route in self.supervisor.eager)
        return tuple(f"{route} is {state}" for route, state in states if state != "running")

    def look_at_services(self, everything: bool = True) -> tuple[ServiceView, ...]:
        """The services, by route: all that the folder has, or else those that were ever started, and the eager ones."""
        supervisor = self.supervisor
        if everything:
            routes = supervisor.tree.routes()
        else:
            known = {tuple(name.split("/")[1:]) for name in supervisor.accounting.services}
            routes = sorted(known | set(supervisor.eager))
        return tuple(self._look_at(route, is_read=everything) for route in routes)

    def look_at_service(self, name: str) -> ServiceView | None:
        """The service of this path, such as ``/foo/bar``; None if there is none, nor was."""
        try:
            route = parse_route([segment.encode() for segment in name.split("/")[1:]])
        except ServiceNotFound:
            return None
        is_there = name in self.accounting.services or self.supervisor.tree.exists(route)
        return self._look_at(route) if is_there else None

    def look(self, everything: bool = False) -> HubView:
        """The hub as a whole; which of its services, `look_at_services` says.

        With `everything`, which is for who asks each second, the processes of a hub with many are not all read anew.
        """
        if everything:
            self._read_usages()
        return HubView(
            version=wshub.__version__,
            not_ready=self.not_ready(),
            began=self._began,
            connections=self._count_connections(),
            lag=max(self._lags, default=0.0),
            usage=read_usage("self"),
            counts=self.supervisor.accounting.hub,
            services=self.look_at_services(everything),
            certificate_expiry=self.certificate_expiry,
        )

    def _read_usages(self) -> None:
        """Read what processes use, those first that were read longest ago, as many as do not take too long."""
        running = [run.pid for route in self.supervisor.tree.running if (run := self.supervisor.process(route))]
        known = {pid: self._usages.get(pid, (0.0, None)) for pid in running if pid}
        for pid in sorted(known, key=lambda pid: known[pid][0])[:MOST_READ]:
            known[pid] = time.time(), read_usage(pid)
        self._usages = known

    def _look_at(self, route: Route, is_read: bool = False) -> ServiceView:
        name, supervisor = format_route(route), self.supervisor
        state, clients = supervisor.state(route)
        process, link = supervisor.process(route), supervisor.tree.get(route)
        pid = process.pid if process else None
        measured, usage = self._usages.get(pid or 0, (0.0, None))
        if pid and not is_read:
            measured, usage = time.time(), read_usage(pid)
        return ServiceView(
            route=name,
            state=state,
            clients=clients,
            counts=supervisor.accounting.services.get(name) or Counts(),
            pid=pid,
            usage=usage,
            measured=measured if usage else None,
            draining=sum(len(older.sockets) for older in supervisor.reloads.draining(route)),
            waiting_for_service=process.bytes_waiting if process else 0,
            waiting_for_clients=sum(map(_backlog_size, link.sockets.values())) if link else 0,
        )

    def _schedule(self) -> None:
        self._due = self._reactor.seconds() + PERIOD
        self._call = self._reactor.callLater(PERIOD, self._measure_lag)

    def _measure_lag(self) -> None:
        self._lags.append(max(0.0, self._reactor.seconds() - self._due))
        self._sample()
        self._schedule()

    def _sample(self) -> None:
        """Keep what some of the services use, if it is kept; not all at once, as that takes a while."""
        running = list(self.supervisor.tree.running.items())
        turns = max(SAMPLED, math.ceil(len(running) / MOST_SAMPLED))
        self._turn = (self._turn + 1) % turns
        for route, link in running[self._turn :: turns]:
            process, recent, counts = self.supervisor.process(route), link.counts.recent, link.counts
            if recent and process and process.pid and (usage := read_usage(process.pid)):
                sample = Sample(
                    *(time.time(), len(link.sockets), counts.messages_in, counts.messages_out),
                    *(process.pid, usage.cpu, usage.memory),
                )
                recent.samples.append(sample)


def _backlog_size(socket: Any) -> int:
    backlog = getattr(socket, "wshub_backlog", None)
    return backlog.size if backlog else 0
