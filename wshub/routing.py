"""Which URL names which service: routes, the tree of what runs, the folder of what could.

::

    /foo/bar     foo/bar.py
    /foo/bar/    foo/bar/ws_service.py
    /            ws_service.py

A *route* is the list of a URL's path segments, decoded; the last one is empty where the path ends in a slash. A name is
a letter or a digit and then letters, digits, ``_`` and ``-``: so ``..``, ``.git``, ``_private``, an encoded slash, an
escape within an escape or a NUL never get as far as the file system.
"""

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Generic, TypeVar
from urllib.parse import unquote_to_bytes

from wshub.errors import ServiceNotFound

FOLDER_MODULE = "ws_service"
"""The module that serves a folder's own URL; the name is the original WebSocketServer's."""

MAX_DEPTH = 32
"""The most segments in a route. A tree that deep is a mistake or an attack."""

Route = tuple[str, ...]
T = TypeVar("T")

_NAME = re.compile(r"[^\W_][\w-]{0,100}")  # 101 characters have at most 255 bytes with ".py", in any script but a few


def parse_segment(raw: bytes) -> str:
    """The name that a percent-decoded path segment is; `ServiceNotFound` if no service can have it."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        raise ServiceNotFound from None
    if not is_name(name):
        raise ServiceNotFound
    return name


def is_name(name: str) -> bool:
    """Whether a file or folder of this name can be in a route."""
    return bool(_NAME.fullmatch(name)) and name != FOLDER_MODULE


def split_path(path: bytes) -> list[bytes]:
    """The segments of a URL's path, each percent-decoded once: an encoded slash is no separator."""
    return [unquote_to_bytes(segment) for segment in path.removeprefix(b"/").split(b"/")]


def parse_route(segments: Sequence[bytes]) -> Route:
    """The route that decoded path segments are; `ServiceNotFound` if they cannot be one."""
    if not 0 < len(segments) <= MAX_DEPTH:
        raise ServiceNotFound
    *folders, last = segments
    return (*map(parse_segment, folders), parse_segment(last) if last else "")


def format_route(route: Route) -> str:
    """The route as people write it: ``/foo/bar``."""
    return "/" + "/".join(route)


class ServiceFolder:
    """The folder of service files: what could run."""

    def __init__(self, root: Path) -> None:
        self.root = root.resolve()

    def module(self, route: Route) -> Path:
        """The module that `route` names; `ServiceNotFound` if there is none, or if it lies outside the root."""
        return self._find(route, ".py")

    def page(self, route: Route) -> Path:
        """The HTML page that lies beside the module; `ServiceNotFound` likewise."""
        return self._find(route, ".html")

    def _find(self, route: Route, suffix: str) -> Path:
        path = self.root.joinpath(*route[:-1], (route[-1] or FOLDER_MODULE) + suffix)
        try:
            real = path.resolve(strict=True)
        except (OSError, RuntimeError):
            raise ServiceNotFound from None
        if not real.is_file() or not real.is_relative_to(self.root):
            raise ServiceNotFound
        return path

    def routes(self) -> Iterator[Route]:
        """Every route that has a module. What cannot be read is passed over, and so are folders that are links."""
        for folder, folders, files in os.walk(self.root):
            inside = Path(folder).relative_to(self.root).parts
            is_deepest = len(inside) + 1 >= MAX_DEPTH
            folders[:] = [] if is_deepest else [name for name in folders if is_name(name)]
            for file in files:
                stem, suffix = os.path.splitext(file)
                if suffix == ".py" and (is_name(stem) or stem == FOLDER_MODULE):
                    route = (*inside, "" if stem == FOLDER_MODULE else stem)
                    try:
                        self.module(route)
                    except ServiceNotFound:
                        continue  # a link that leads out, or to nothing
                    yield route


class RouteTree(Generic[T]):
    """What there is at each URL: first what runs, then what the folder has."""

    def __init__(self, folder: ServiceFolder) -> None:
        self.folder = folder
        self.running: dict[Route, T] = {}

    def get(self, route: Route) -> T | None:
        """What runs at `route`."""
        return self.running.get(route)

    def exists(self, route: Route) -> bool:
        """Whether `route` names a service, running or not."""
        if route in self.running:
            return True
        try:
            self.folder.module(route)
        except ServiceNotFound:
            return False
        return True

    def routes(self) -> list[Route]:
        """Every route, running or not, in the order of their names."""
        return sorted({*self.running, *self.folder.routes()})
