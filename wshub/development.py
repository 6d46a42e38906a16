"""What a hub does for somebody who writes a service: reloads what is saved, and says what there is to say about it."""

import os
from pathlib import Path
from typing import Any

from twisted.logger import Logger

from wshub.commands.styles import read_style
from wshub.errors import ServiceNotFound
from wshub.processes.life import State
from wshub.processes.outcome import FAILED, Outcome
from wshub.processes.supervisor import ServiceSupervisor
from wshub.processes.watching import Changes, FolderWatch
from wshub.routing import FOLDER_MODULE, Route, format_route, parse_route
from wshub.terminal import escape


class Development:
    """Watches the folder of a hub. `base` is what the URLs of services begin with, ``ws://localhost:12345``."""

    def __init__(self, reactor: Any, supervisor: ServiceSupervisor, base: str) -> None:
        self._supervisor = supervisor
        self._base = base
        self._folder = supervisor.tree.folder
        self._failed: set[str] = set()
        """The paths of services whose newest version did not start."""
        self.watch = FolderWatch(reactor, self._folder.root, self._changes)
        self._log = Logger(namespace="wshub")

    def start(self) -> None:
        """Begin to watch, and say which services there are."""
        self.watch.start()
        routes = sorted(self._folder.routes())
        if not routes:
            self._log.info("no services yet: `wshub new hello` writes one, and it is served as soon as it is there")
        for route in routes:
            self._introduce(route, self._folder.module(route), "")

    def _find_route(self, file: Path) -> Route | None:
        """The route of the service that is in this file; None if it is no service's."""
        *folders, name = file.relative_to(self._folder.root).with_suffix("").parts
        try:
            route = parse_route([os.fsencode(each) for each in (*folders, "" if name == FOLDER_MODULE else name)])
            return route if self._folder.module(route) == file else None
        except ServiceNotFound:
            return None

    def _changes(self, changes: Changes) -> None:
        supervisor = self._supervisor
        touched = changes.changed | changes.new  # an editor may take the old one away first
        reloaded = self._find_touched(touched)
        for each in reloaded:
            supervisor.reload([each]).addCallback(self._remember)
        if touched:  # also what did not start may do so now
            supervisor.forget_failures()
            supervisor.start()
        for file in sorted(touched):
            route = self._find_route(file)
            if route is not None and route not in reloaded:
                self._introduce(route, file, "new" if file in changes.new else "changed")
        for file in sorted(changes.removed):
            for route in [route for route, run in supervisor.current.items() if run.module == file]:
                name = format_route(route)
                self._log.warn("{name}: its file is gone; it serves until `wshub reload {name}`", name=name)

    def _find_touched(self, touched: frozenset[Path]) -> list[Route]:
        """The services that run and have imported any of these files, or may have failed for want of one.

        Which files a process has imported is known when it is ready: one that starts is looked at again then.
        """
        newest = self._supervisor.reloads.newest
        runs = {route: run for route in sorted(self._supervisor.current) if (run := newest(route))}
        is_imported_by_none = touched.difference(*(run.files for run in runs.values()))
        for run in runs.values():
            run.look_again |= bool(touched) and run.link.state is State.STARTING
        return [
            route
            for route, run in runs.items()
            if run.module.is_file()
            and (touched & run.files.keys() or (is_imported_by_none and run.name in self._failed))
        ]

    def _remember(self, outcomes: list[Outcome]) -> None:
        for each in outcomes:
            (self._failed.add if each.result == FAILED else self._failed.discard)(each.service)

    def _introduce(self, route: Route, file: Path, what: str) -> None:
        """Say where a service is that does not run, or at once what is wrong with its source."""
        found, name = read_style(file), format_route(route)
        if found.problem.startswith("no class"):
            return  # a module that others import
        where = file.relative_to(self._folder.root)
        if found.problem.startswith("line"):
            self._log.error("{name}: {file}, {problem}", name=name, file=where, problem=escape(found.problem))
            return
        page = f"   {'http' + self._base[2:]}{name}" if file.with_suffix(".html").is_file() else ""
        what = f"{what}: {name}   " if what else ""
        self._log.info("{what}{base}{path}{page}", what=what, base=self._base, path=name, page=page)
