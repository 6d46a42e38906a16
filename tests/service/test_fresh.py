"""What is imported from the folder of services is what is there."""

import os
import sys
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from wshub.service.__main__ import import_file
from wshub.service.fresh import OLD, import_freshly

NAME = "saved_a_moment_ago"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder from which is imported freshly."""
    monkeypatch.setattr(sys, "path_hooks", sys.path_hooks[:])
    monkeypatch.setattr(sys, "path", [*sys.path, str(tmp_path)])
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    monkeypatch.setattr(sys, "pycache_prefix", None)
    import_freshly(str(tmp_path))
    yield tmp_path
    for path in list(sys.path_importer_cache):
        if path.startswith(str(tmp_path)):
            del sys.path_importer_cache[path]
    for name in [name for name in sys.modules if name.split(".")[0] == NAME]:
        del sys.modules[name]


def test_two_versions_of_one_second(folder: Path) -> None:
    """A module, one in a package, and a service's own are the second version, though size and time are the same."""
    package = folder / NAME
    package.mkdir()
    now = time.time_ns()
    for version in (1, 2):
        for file in (package / "__init__.py", package / "inside.py", folder / "service.py"):
            file.write_text(f"version = {version}")
            os.utime(file, ns=(now, now))
        for name in (NAME, f"{NAME}.inside"):
            sys.modules.pop(name, None)
            assert import_module(name).version == version
        assert import_file(str(folder / "service.py"), f"{NAME}.service").version == version


def test_bytecode_of_what_is_old_is_kept(folder: Path) -> None:
    """Whoever starts a hub again does not compile everything anew."""
    file = folder / f"{NAME}.py"
    file.write_text("")
    then = time.time() - OLD - 1
    os.utime(file, (then, then))
    import_module(NAME)
    assert [each.name.split(".")[0] for each in (folder / "__pycache__").iterdir()] == [NAME]


def test_a_file_that_is_gone(folder: Path) -> None:
    """What has been loaded from a file that is no more leaves nothing behind."""
    (folder / f"{NAME}.py").write_text("import os\nos.remove(__file__)")
    import_module(NAME)
    assert not (folder / "__pycache__").exists()
