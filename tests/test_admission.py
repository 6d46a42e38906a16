"""The requests that a service has not answered."""

import pytest

from wshub.admission import Accepted, Admission
from wshub.errors import HubStopping, RequestRefused, WireError


class Waiting(list):
    """One who waits for an answer, and keeps what came."""

    def __call__(self, answer):
        self.append(answer)


@pytest.fixture
def waiting():
    """One who waits."""
    return Waiting()


@pytest.fixture
def admission(waiting):
    """One request, with id 7, that offers ``chat``."""
    admission = Admission()
    admission.add(7, ("chat",), waiting)
    return admission


def test_accepted(admission, waiting):
    """Who waits is told once; the request stays until it is a WebSocket, and has had its only answer."""
    admission.accept(7, b"chat\nX: y")
    assert waiting == [Accepted(7, "chat", (("X", "y"),))]
    assert len(admission) == 1
    for answer in (admission.accept, admission.refuse):
        with pytest.raises(WireError, match="a second answer"):
            answer(7, b"")
    assert admission.remove(7)
    assert len(admission) == 0


def test_refused(admission, waiting):
    """Status, headers and text are the service's."""
    assert admission.refuse(7, b"401\nWWW-Authenticate: Basic\n\nWho are you?")
    (refusal,) = waiting
    assert isinstance(refusal, RequestRefused)
    assert (refusal.status, str(refusal), refusal.headers) == (401, "Who are you?", (("WWW-Authenticate", "Basic"),))
    assert len(admission) == 0


def test_answers_after_the_client_has_gone(admission, waiting):
    """They are passed over."""
    assert admission.remove(7)
    assert not admission.remove(7)
    admission.accept(7, b"chat")
    assert not admission.refuse(7, b"403\n\n")
    assert waiting == []


def test_what_the_service_may_not_say(admission, waiting):
    """It is an error, and tells nobody; the request still waits for its end."""
    with pytest.raises(WireError):
        admission.accept(7, b"other")
    with pytest.raises(WireError):
        admission.refuse(7, b"200\n\n")
    assert waiting == []
    assert len(admission) == 1


def test_the_end(admission, waiting):
    """All who wait are told why they will hear nothing."""
    others = Waiting()
    admission.add(8, (), others)
    why = HubStopping()
    assert admission.end(why) == [7, 8]
    assert waiting == others == [why]
    assert len(admission) == 0
