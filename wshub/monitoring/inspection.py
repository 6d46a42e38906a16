"""What a hub is and does at this moment, gathered when somebody asks: it costs a message nothing."""

import time
from collections import deque
from typing import Any

import wshub
from wshub.accounting import Accounting, Counts
from wshub.monitoring.metrics import HubView, ServiceView
from wshub.monitoring.procfs import read_usage
from wshub.processes.supervisor import ServiceSupervisor
from wshub.routing import Route, format_route

PERIOD = 1.0  # seconds between two looks at the reactor's lag
REMEMBERED = 15  # of them


class Inspector:
    """Looks at a hub. `begin` and `end` say when it listens."""

    def __init__(self, reactor: Any, supervisor: ServiceSupervisor, count_connections: Any) -> None:
        self._reactor = reactor
        self.supervisor = supervisor
        self._count_connections = count_connections
        self._is_listening = False
        self._began = time.time()
        self._lags: deque[float] = deque(maxlen=REMEMBERED)
        self._due = 0.0
        self._call: Any = None

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
        return tuple(map(self._look_at, routes))

    def look(self) -> HubView:
        """The hub as a whole, for metrics."""
        return HubView(
            version=wshub.__version__,
            not_ready=self.not_ready(),
            began=self._began,
            connections=self._count_connections(),
            lag=max(self._lags, default=0.0),
            usage=read_usage("self"),
            counts=self.supervisor.accounting.hub,
            services=self.look_at_services(everything=False),
        )

    def _look_at(self, route: Route) -> ServiceView:
        name, supervisor = format_route(route), self.supervisor
        state, clients = supervisor.state(route)
        process, link = supervisor.process(route), supervisor.tree.get(route)
        pid = process.pid if process else None
        return ServiceView(
            route=name,
            state=state,
            clients=clients,
            counts=supervisor.accounting.services.get(name) or Counts(),
            pid=pid,
            usage=read_usage(pid) if pid else None,
            draining=sum(len(older.sockets) for older in supervisor.reloads.draining(route)),
            waiting_for_service=process.bytes_waiting if process else 0,
            waiting_for_clients=sum(map(_backlog_size, link.sockets.values())) if link else 0,
        )

    def _schedule(self) -> None:
        self._due = self._reactor.seconds() + PERIOD
        self._call = self._reactor.callLater(PERIOD, self._measure_lag)

    def _measure_lag(self) -> None:
        self._lags.append(max(0.0, self._reactor.seconds() - self._due))
        self._schedule()


def _backlog_size(socket: Any) -> int:
    backlog = getattr(socket, "wshub_backlog", None)
    return backlog.size if backlog else 0
