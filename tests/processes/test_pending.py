"""The requests that a service has not answered."""

import pytest

from wshub.errors import HubStopping, RequestRefused, WireError
from wshub.processes.pending import Accepted, PendingRequests


class Waiting(list):
    """One who waits for an answer, and keeps what came."""

    def __call__(self, answer):
        self.append(answer)


@pytest.fixture
def waiting():
    """One who waits."""
    return Waiting()


@pytest.fixture
def pending(waiting):
    """One request, with id 7, that offers ``chat``."""
    pending = PendingRequests()
    pending.add(7, ("chat",), waiting)
    return pending


def test_accepted(pending, waiting):
    """Who waits is told once; the request stays until it is a WebSocket, and has had its only answer."""
    pending.accept(7, b"chat\nX: y")
    assert waiting == [Accepted(7, "chat", (("X", "y"),))]
    assert len(pending) == 1
    for answer in (pending.accept, pending.refuse):
        with pytest.raises(WireError, match="a second answer"):
            answer(7, b"")
    assert pending.remove(7)
    assert len(pending) == 0


def test_refused(pending, waiting):
    """Status, headers and text are the service's."""
    assert pending.refuse(7, b"401\nWWW-Authenticate: Basic\n\nWho are you?")
    (refusal,) = waiting
    assert isinstance(refusal, RequestRefused)
    assert (refusal.status, str(refusal), refusal.headers) == (401, "Who are you?", (("WWW-Authenticate", "Basic"),))
    assert len(pending) == 0


def test_answers_after_the_client_has_gone(pending, waiting):
    """They are passed over."""
    assert pending.remove(7)
    assert not pending.remove(7)
    pending.accept(7, b"chat")
    assert not pending.refuse(7, b"403\n\n")
    assert waiting == []


def test_what_the_service_may_not_say(pending, waiting):
    """It is an error, and tells nobody; the request still waits for its end."""
    with pytest.raises(WireError):
        pending.accept(7, b"other")
    with pytest.raises(WireError):
        pending.refuse(7, b"200\n\n")
    assert waiting == []
    assert len(pending) == 1


def test_the_end(pending, waiting):
    """All who wait are told why they will hear nothing."""
    others = Waiting()
    pending.add(8, (), others)
    why = HubStopping()
    assert pending.end(why) == [7, 8]
    assert waiting == others == [why]
    assert len(pending) == 0
