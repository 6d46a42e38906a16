"""Imports from the folder of services what is there now, and not what was there a second ago.

Python's cache of bytecode takes a source for unchanged if its size and its time are the same, and of the time it knows
the second only (PEP 552, "the standard timestamp-based pycs"). Whoever saves a file twice within a second would get the
first version, for good. So the bytecode of a source that young is not kept.
"""

from __future__ import annotations

import os
import sys
import time
from importlib.machinery import (
    BYTECODE_SUFFIXES,
    EXTENSION_SUFFIXES,
    SOURCE_SUFFIXES,
    ExtensionFileLoader,
    FileFinder,
    SourceFileLoader,
    SourcelessFileLoader,
)

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

OLD = 2.0  # seconds: a second for the cache, and one for file systems whose clock is behind


class FreshLoader(SourceFileLoader):
    """Loads a source as Python does, and keeps no bytecode of one that may change within this second."""

    def set_data(self, path: str, data: Any, *, _mode: int = 0o666) -> None:
        """Called by Python to write the bytecode."""
        try:
            is_old = time.time() - os.stat(self.path).st_mtime > OLD
        except OSError:
            return
        if is_old:
            super().set_data(path, data, _mode=_mode)


def import_freshly(root: str) -> None:
    """Let everything that is imported from `root` or below it be loaded so."""
    finder = FileFinder.path_hook(
        (ExtensionFileLoader, EXTENSION_SUFFIXES),
        (FreshLoader, SOURCE_SUFFIXES),
        (SourcelessFileLoader, BYTECODE_SUFFIXES),
    )

    def hook(path: str) -> Any:
        if path != root and not path.startswith(os.path.join(root, "")):
            raise ImportError
        return finder(path)

    sys.path_hooks.insert(0, hook)
    sys.path_importer_cache.pop(root, None)
