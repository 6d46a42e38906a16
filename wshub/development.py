"""What a hub does for somebody who writes a service: reloads what is saved, and says what there is to say about it."""

from pathlib import Path
from typing import Any

from twisted.logger import Logger

from wshub.commands.styles import read_style
from wshub.errors import ServiceNotFound
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
            route = parse_route([each.encode() for each in (*folders, "" if name == FOLDER_MODULE else name)])
            return route if self._folder.module(route) == file else None
        except ServiceNotFound:
            return None

    def _changes(self, changes: Changes) -> None:
        current, newest = self._supervisor.current, self._supervisor.reloads.newest
        touched = changes.changed | changes.new  # an editor may take the old one away first
        reloaded = [
            route
            for route in sorted(current)
            if (run := newest(route)) and touched & run.files.keys() and run.module.is_file()
        ]
        self._supervisor.reload(reloaded)
        for file in sorted(touched):
            route = self._find_route(file)
            if route is not None and route not in reloaded:
                self._introduce(route, file, "new" if file in changes.new else "changed")
        for file in sorted(changes.removed):
            for route in [route for route, run in current.items() if run.module == file]:
                name = format_route(route)
                self._log.warn("{name}: its file is gone; it serves until `wshub reload {name}`", name=name)

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
