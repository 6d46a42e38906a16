"""Hubs for the end-to-end tests."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from .harness import HubProcess


@pytest.fixture(scope="module")
def module_hub(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[HubProcess]:
    """One hub for all tests of a module, with the options that the module calls ``HUB_OPTIONS``."""
    hub = HubProcess(tmp_path_factory.mktemp("hub"), *getattr(request.module, "HUB_OPTIONS", ()))
    try:
        yield hub
        hub.check_end()
    finally:
        if hub.process.returncode is None:
            hub.kill()


@pytest.fixture
def hub(module_hub: HubProcess) -> Iterator[HubProcess]:
    """The module's hub; after the test it must be as before."""
    yield module_hub
    module_hub.check_nothing_leaked()


@pytest.fixture
def start_hub(tmp_path: Path) -> Iterator[Callable[..., HubProcess]]:
    """Start a hub of the test's own, in `tmp_path`: for what stops it, or needs options."""
    hubs: list[HubProcess] = []

    def start(*options: str, **settings: Any) -> HubProcess:
        hubs.append(HubProcess(tmp_path, *options, **settings))
        return hubs[-1]

    try:
        yield start
        for hub in hubs:
            hub.check_end()
    finally:
        for hub in hubs:
            if hub.process.returncode is None:
                hub.kill()
