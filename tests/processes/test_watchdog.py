"""Who gives no sign of life is found, and nobody else."""

import pytest

from wshub.processes.watchdog import Watchdog
from wshub.testing import FakeReactor
from wshub.wire import BEATS

TIMEOUT = 12.0


@pytest.fixture
def silences() -> list[float]:
    """When the watchdog found silence."""
    return []


@pytest.fixture
def watchdog(reactor: FakeReactor, silences: list[float]) -> Watchdog:
    """A watchdog of twelve seconds."""
    return Watchdog(reactor, TIMEOUT, lambda: silences.append(reactor.seconds()), lambda: False)


def test_silence_from_the_start(reactor: FakeReactor, watchdog: Watchdog, silences: list[float]) -> None:
    """Silence is found once, after the time is up."""
    for _ in range(100):
        reactor.advance(0.5)
    assert silences == [TIMEOUT]
    assert not reactor.getDelayedCalls()


@pytest.mark.parametrize("last", [6.125, 7.0, 7.875])
def test_silence_after_a_sign_of_life(
    reactor: FakeReactor, watchdog: Watchdog, silences: list[float], last: float
) -> None:
    """Whenever the last sign of life comes, silence is found in not much less than the time, and not in more."""
    for _ in range(200):
        reactor.advance(0.125)
        if reactor.seconds() == last:
            watchdog.hear()
    assert TIMEOUT * (BEATS - 1) / BEATS <= silences[0] - last <= TIMEOUT


def test_signs_of_life(reactor: FakeReactor, watchdog: Watchdog, silences: list[float]) -> None:
    """As many as are sent are plenty, even if all but one in four are late."""
    for _ in range(100):
        reactor.advance(TIMEOUT / BEATS * 4)
        watchdog.hear()
    assert silences == []


def test_a_look_that_is_late_counts_once(reactor: FakeReactor, watchdog: Watchdog, silences: list[float]) -> None:
    """A hub that was stopped itself for an hour has looked once in that hour."""
    for _ in range(3):
        reactor.pump([3600.0])
        watchdog.hear()
    assert silences == []


def test_stop(reactor: FakeReactor, watchdog: Watchdog, silences: list[float]) -> None:
    """Once stopped it never calls."""
    watchdog.stop()
    reactor.advance(1000)
    assert silences == []


def test_nobody_listens(reactor: FakeReactor) -> None:
    """While the hub itself does not read what the process says, its silence counts for nothing."""
    silences: list[float] = []
    is_held = [True]
    Watchdog(reactor, TIMEOUT, lambda: silences.append(reactor.seconds()), lambda: is_held[0])
    for _ in range(100):
        reactor.advance(TIMEOUT / BEATS)
    assert silences == []
    is_held[0] = False
    for _ in range(BEATS):
        reactor.advance(TIMEOUT / BEATS)
    assert len(silences) == 1
