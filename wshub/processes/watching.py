"""Notices which Python files of a folder were saved, made or removed, by looking at all of them twice a second.

Looking is done a hundred files at a time, so that nobody waits for it. What was found is told once it has been the same
for two looks: an editor may well save in two steps.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from wshub.processes.run import NO_FILE, Fingerprint, fingerprint

INTERVAL = 0.5  # seconds between two looks
SETTLE = 0.05  # seconds until the second look at what has changed
PIECE = 100  # files that are looked at in one turn
PASSED_OVER = ("__pycache__", "node_modules")  # and folders whose name begins with a dot

Snapshot = dict[Path, Fingerprint]


@dataclass(frozen=True)
class Changes:
    """What is different since the last time."""

    changed: frozenset[Path] = frozenset()
    new: frozenset[Path] = frozenset()
    removed: frozenset[Path] = frozenset()


def compare(before: Snapshot, after: Snapshot) -> Changes:
    """What is different in the second one."""
    both = before.keys() & after.keys()
    return Changes(
        frozenset(file for file in both if before[file] != after[file]),
        frozenset(after.keys() - both),
        frozenset(before.keys() - both),
    )


def find_sources(root: Path) -> Iterator[tuple[Path, Fingerprint]]:
    """Every Python file below `root`; what cannot be read is passed over, and so are folders that are links."""
    folders = [str(root)]
    while folders:
        try:
            with os.scandir(folders.pop()) as entries:
                for entry in entries:
                    if entry.is_dir(follow_symlinks=False):
                        if not entry.name.startswith(".") and entry.name not in PASSED_OVER:
                            folders.append(entry.path)
                    elif entry.name.endswith(".py") and not entry.name.startswith("."):
                        file = Path(entry.path)
                        if (found := fingerprint(file)) != NO_FILE:  # a link to nothing, or gone just now
                            yield file, found
        except OSError:
            continue


class FolderWatch:
    """Calls `on_changes` with what was saved, made or removed below `root`, from `start` to `stop`."""

    def __init__(self, reactor: Any, root: Path, on_changes: Callable[[Changes], object]) -> None:
        self._reactor = reactor
        self._root = root
        self._on_changes = on_changes
        self._known: Snapshot = {}
        self._last: Snapshot = {}
        self._call: Any = None

    def start(self) -> None:
        """Take what is there now for known."""
        self._known = self._last = dict(find_sources(self._root))
        self._call = self._reactor.callLater(INTERVAL, self._begin)

    def stop(self) -> None:
        """Look no more."""
        if self._call:
            self._call.cancel()
            self._call = None

    def _begin(self) -> None:
        self._look(find_sources(self._root), {})

    def _look(self, sources: Iterator[tuple[Path, Fingerprint]], found: Snapshot) -> None:
        for _ in range(PIECE):
            source = next(sources, None)
            if source is None:
                self._decide(found)
                return
            found[source[0]] = source[1]
        self._call = self._reactor.callLater(0, self._look, sources, found)

    def _decide(self, found: Snapshot) -> None:
        """Look again after a while, and tell what has changed, if it has settled."""
        is_settled, self._last = found == self._last, found
        self._call = self._reactor.callLater(INTERVAL if is_settled else SETTLE, self._begin)
        if is_settled and found != self._known:
            changes, self._known = compare(self._known, found), found
            self._on_changes(changes)
