"""What a hub does for somebody who writes a service: reloads what is saved, and says what there is to say about it."""

from pathlib import Path
from typing import Any

from twisted.logger import Logger

from wshub.commands.styles import read_style
from wshub.processes.supervisor import ServiceSupervisor
from wshub.processes.watching import Changes, FolderWatch
from wshub.routing import Route, format_route
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
        services = self._find_services()
        if not services:
            self._log.info("no services yet: `wshub new hello` writes one, and it is served as soon as it is there")
        for file, route in services.items():
            self._introduce(route, file, "")

    def _find_services(self) -> dict[Path, Route]:
        return {self._folder.module(route): route for route in sorted(self._folder.routes())}

    def _changes(self, changes: Changes) -> None:
        services = self._find_services()
        current = self._supervisor.current
        touched = changes.changed | changes.new  # an editor may take the old one away first
        reloaded = {
            route
            for route in current
            if (run := self._supervisor.reloads.newest(route)) and touched & run.files.keys() and run.module in services
        }
        self._supervisor.reload(sorted(reloaded))
        for file in sorted(touched & services.keys()):
            if services[file] not in reloaded:
                self._introduce(services[file], file, "new" if file in changes.new else "changed")
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
