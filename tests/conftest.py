"""What all tests have in common."""

import os
from collections.abc import Iterator

import pytest
from hypothesis import settings
from twisted.logger import formatEvent, globalLogPublisher

from wshub.testing import FakeReactor

# A machine that runs other things is no failure, and a failure is the same for everybody.
settings.register_profile("wshub", deadline=None, derandomize=True)
settings.load_profile("wshub")


@pytest.fixture
def reactor(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeReactor]:
    """A reactor whose clock stands still; signals go to its processes alone."""
    reactor = FakeReactor()
    monkeypatch.setattr(os, "kill", reactor.signal)
    monkeypatch.setattr(os, "killpg", reactor.signal)
    yield reactor
    for process in reactor.processes:
        if not process.has_exited:
            process.exit()
    reactor.close()


@pytest.fixture
def log() -> Iterator[list[str]]:
    """What is logged: namespace, level and text of each event."""
    lines: list[str] = []

    def observe(event: dict[str, object]) -> None:
        level = getattr(event.get("log_level"), "name", "-")
        lines.append(f"[{event.get('log_namespace')}#{level}] {formatEvent(event)}")

    globalLogPublisher.addObserver(observe)
    yield lines
    globalLogPublisher.removeObserver(observe)
