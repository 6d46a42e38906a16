"""What an import costs, which every service process pays, and the names that arrive on first use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

import wshub

EXPENSIVE = {"asyncio", "autobahn", "pickle", "socket", "threading", "traceback", "twisted", "typing_extensions"}


def modules_after(statement):
    """The modules of a fresh interpreter after a statement, without whatever site-packages would have it import."""
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-c", f"{statement}\nimport sys; print(*sys.modules)"],
        env={**os.environ, "PYTHONPATH": str(Path(wshub.__file__).parent.parent)},
        capture_output=True,
        text=True,
        check=True,
    )
    return set(done.stdout.split())


def test_import_wshub():
    """The package itself imports nothing that costs anything."""
    assert not modules_after("import wshub") & EXPENSIVE


def test_import_of_a_service_process():
    """What a service process runs needs neither asyncio nor threads, and no traceback unless there is one to show."""
    modules = modules_after("import wshub.service.__main__")
    assert "wshub.service.channel" in modules
    assert not modules & (EXPENSIVE - {"pickle"})


def test_service_with_handlers():
    """A service that uses wshub.Service does not pay for wshub.AsyncService."""
    modules = modules_after("import wshub.service.__main__; wshub.Service")
    assert "wshub.service.handlers" in modules
    assert not modules & (EXPENSIVE - {"pickle"})


@pytest.mark.parametrize("name", sorted(set(wshub.__all__) - {"__version__"}))
def test_public_names(name):
    """Each public name is the class of that name, fetched once."""
    vars(wshub).pop(name, None)
    cls = getattr(wshub, name)
    assert (cls.__name__, cls.__module__) == (name, wshub._HOMES[name])
    assert vars(wshub)[name] is cls


def test_version():
    """The version is one that packaging tools understand."""
    assert all(part.isdecimal() for part in wshub.__version__.split("."))


def test_unknown_name():
    """Any other name is the usual error."""
    with pytest.raises(AttributeError, match="module 'wshub' has no attribute 'Sevrice'"):
        wshub.Sevrice  # noqa: B018 - looking it up is the test
