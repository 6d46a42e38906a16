"""Ports that wait while there are no descriptors."""

import pytest
from twisted.internet.task import Clock

from wshub.door import descriptors
from wshub.door.ports import MOST, PAUSE, PatientPort, open_port
from wshub.errors import ConfigError


class FakePort:
    """What a port of Twisted's has to do with it."""

    def __init__(self):
        self.accepted = 0
        self.waiting = 1
        self.sessionno = 0
        self.numberAccepts = 100
        self.is_reading = True
        self.connected = True
        self.disconnecting = False

    def doRead(self):
        """Accept."""
        count = min(self.waiting, self.numberAccepts)
        self.waiting -= count
        self.accepted += count
        self.sessionno += count
        self.numberAccepts = max(1, count + 20 * (count == self.numberAccepts))

    def stopReading(self):
        """Called while there is nothing to accept with."""
        self.is_reading = False

    def startReading(self):
        """Called when there may be again."""
        self.is_reading = True


@pytest.fixture
def clock():
    """A clock that stands still."""
    return Clock()


@pytest.fixture
def port(clock):
    """A port that has been made patient."""
    port = FakePort()
    PatientPort(clock, port)
    return port


def test_a_port_accepts(port):
    """While there are descriptors, it is as if nothing were between."""
    port.doRead()
    assert (port.accepted, port.is_reading) == (1, True)


def test_without_descriptors_it_pauses(port, clock, monkeypatch, log):
    """It is not watched for a while, says so, and accepts again when there are some; a flood of pauses is few lines."""
    monkeypatch.setattr(descriptors, "find_room", lambda: 0)
    for _ in range(30):
        port.doRead()
        assert not port.is_reading
        clock.advance(PAUSE)
        assert port.is_reading
    assert port.accepted == 0
    assert 1 <= len([line for line in log if "no descriptors left" in line]) <= 20
    monkeypatch.setattr(descriptors, "find_room", lambda: 5000)
    port.doRead()
    assert port.accepted == 1


def test_it_accepts_few_in_one_turn(port):
    """Twisted accepts a hundred and more; those too many would take the descriptors that are kept."""
    port.waiting = 100
    port.doRead()
    assert port.accepted == MOST


def test_descriptors_that_run_out_meanwhile(port, monkeypatch):
    """When there are few, it is asked anew before each connection whether there is a descriptor."""
    port.waiting = 100
    monkeypatch.setattr(descriptors, "find_room", lambda: 3 - port.accepted)
    port.doRead()
    assert (port.accepted, port.is_reading) == (3, False)


@pytest.mark.parametrize("change", [{"connected": False}, {"disconnecting": True}])
def test_a_port_that_closes_meanwhile_stays_closed(port, clock, monkeypatch, change):
    """A pause does not outlive the port."""
    monkeypatch.setattr(descriptors, "find_room", lambda: 0)
    port.doRead()
    for name, value in change.items():
        setattr(port, name, value)
    clock.advance(PAUSE)
    assert not port.is_reading


@pytest.mark.parametrize("description", ["abc", "tcp:", "tcp:80:x=1", "tcp"])
def test_what_is_no_endpoint(description, clock):
    """A description that Twisted cannot read is one sentence that names the setting."""
    with pytest.raises(
        ConfigError, match=f"^port: {description} is no port number and no endpoint description: ."
    ) as caught:
        open_port(clock, description, None, "port")
    assert "\n" not in str(caught.value)
