"""What a factory of WebSockets says in the log."""

from typing import Any

from twisted.internet.task import Clock
from twisted.logger import formatEvent, globalLogPublisher

from wshub.config import Settings
from wshub.poller import Poller
from wshub.sockets.factory import HubFactory
from wshub.throttle import LINES


def test_a_flood_of_one_fault_hides_no_other():
    """However often clients break the protocol in one way, somebody who breaks it in another is in the log."""
    clock: Any = Clock()
    factory = HubFactory(clock, Settings(), Poller(clock))
    lines: list[str] = []

    def observe(event: Any) -> None:
        lines.append(formatEvent(event))

    globalLogPublisher.addObserver(observe)
    try:
        for _ in range(3 * LINES):
            factory.log_client("/echo", "127.0.0.1", "broke the protocol", "1009, too large", 1009)
        factory.log_client("/echo", "127.0.0.1", "broke the protocol", "1008, Too many fragments.", 1008)
    finally:
        globalLogPublisher.removeObserver(observe)
    assert lines[-1] == "/echo: 127.0.0.1 broke the protocol: 1008, Too many fragments."
    assert len(lines) == LINES + 1
