"""Who is pinged, and who is given up: times alone, no connection."""

import math

import pytest

from wshub.sockets.keepalive import AWAY, SLOT, Keepalive

INTERVAL, TIMEOUT = 20.0, 10.0


class Peer:
    """A connection that gives a sign when the test says so."""

    def __init__(self, sign=0.0):
        self.sign = sign

    def wshub_last_sign(self, now):
        assert self.sign <= now
        return self.sign


def watch(keepalive, start, end, on_ping=lambda peer, now: None):
    """Look once a slot; when each was pinged, and when each was given up."""
    pinged, silent, now = [], [], start
    while now <= end:
        to_ping, gone = keepalive.look(now)
        for peer in to_ping:
            on_ping(peer, now)
            pinged.append((peer, now))
        silent += [(peer, now) for peer in gone]
        now += SLOT
    return pinged, silent


def make(*peers, interval=INTERVAL, timeout=TIMEOUT, now=0.0):
    """A keepalive with connections."""
    keepalive = Keepalive(interval, timeout)
    for peer in peers:
        keepalive.add(peer, now)
    return keepalive


@pytest.mark.parametrize("last", [0.0, 0.1, 7.3, 19.9])
def test_silence(last):
    """Whoever is silent is pinged after the interval and given up after the timeout, three slots later at most.

    What counts is when it last gave a sign, not when the connection began.
    """
    peer = Peer()
    keepalive = make(peer)
    assert watch(keepalive, 0.0, last) == ([], [])
    peer.sign = last
    ((_, pinged),), ((_, gone),) = watch(keepalive, last, 100.0)
    assert last + INTERVAL - SLOT <= pinged <= last + INTERVAL + SLOT
    assert pinged + TIMEOUT <= gone <= last + INTERVAL + TIMEOUT + 3 * SLOT


def test_whoever_says_something_is_not_pinged():
    """As long as there is a sign within each interval, nothing is asked."""
    peer = Peer()
    keepalive = make(peer)
    for second in range(0, 300, 15):
        peer.sign = float(second)
        assert watch(keepalive, second, second + 15 - SLOT) == ([], [])


def test_an_answer_to_the_ping():
    """Whoever answers is pinged again an interval after that, and never given up."""
    peer = Peer()

    def answer(peer, now):
        peer.sign = now

    pinged, silent = watch(make(peer), 0.0, 99.0, answer)
    assert silent == []
    assert [now for _, now in pinged] == pytest.approx([20, 40, 60, 80], abs=4 * SLOT)


def test_a_late_answer():
    """What comes in the last moment counts; what came before the ping does not."""
    early, late = Peer(), Peer()
    keepalive = make(early, late)

    def note(peer, now):
        early.sign = now - SLOT / 2

    watch(keepalive, 0.0, 29.0, note)
    late.sign = 29.0
    _, silent = watch(keepalive, 29.25, 32.0)
    assert [peer for peer, _ in silent] == [early]


def test_removed():
    """Who has gone is looked at no more, pinged or not; who was never there does not matter."""
    quiet, asked = Peer(), Peer()
    keepalive = make(quiet, asked)
    keepalive.remove(quiet)
    ((pinged, _),), _ = watch(keepalive, 0.0, 21.0)
    assert pinged is asked
    keepalive.remove(asked)
    keepalive.remove(asked)
    keepalive.remove(Peer())
    assert watch(keepalive, 21.25, 100.0) == ([], [])


def test_nothing_is_kept_of_those_who_have_gone():
    """When a thousand have come and gone, the tables are empty."""
    keepalive = make()
    for second in range(100):
        peers = [Peer(second) for _ in range(10)]
        for peer in peers:
            keepalive.add(peer, second)
        keepalive.look(second + 0.5)
        for peer in peers:
            keepalive.remove(peer)
    keepalive.add(Peer(1000.0), 1000.0)
    assert len(keepalive._slot_of) == len(keepalive._slots) == 1


def test_the_first_after_a_long_time():
    """After hours without a connection the next one has its times like any other."""
    first, second = Peer(), Peer(10_000.0)
    keepalive = make(first)
    keepalive.remove(first)
    keepalive.add(second, 10_000.0)
    ((_, pinged),), ((_, gone),) = watch(keepalive, 10_000.25, 10_100.0)
    assert pinged == pytest.approx(10_020, abs=2 * SLOT)
    assert gone == pytest.approx(10_030, abs=3 * SLOT)


def test_a_hub_that_was_stopped():
    """If nobody has looked for a while, answers may wait to be read: nobody is given up before the next look."""
    here, gone = Peer(), Peer()
    keepalive = make(here, gone)
    watch(keepalive, 0.0, 21.0)
    now = 21.0 + 3600
    assert keepalive.look(now) == ([], [])
    here.sign = now + 0.1
    assert keepalive.look(now + SLOT)[1] == [gone]
    assert AWAY > SLOT


def test_many_are_all_seen():
    """Each of many is pinged and given up once, in the order in which they came."""
    peers = [Peer(i / 7) for i in range(200)]
    keepalive = Keepalive(INTERVAL, TIMEOUT)
    now, come = 0.0, iter(peers)
    upcoming = next(come)
    pinged, silent = [], []
    while now < 100:
        while upcoming and upcoming.sign <= now:
            keepalive.add(upcoming, now)
            upcoming = next(come, None)
        to_ping, gone = keepalive.look(now)
        pinged += to_ping
        silent += gone
        now += SLOT
    assert len(pinged) == len(silent) == 200
    assert set(pinged) == set(silent) == set(peers)


@pytest.mark.parametrize(("interval", "timeout"), [(0.01, 0.01), (0.3, 0.1), (3600.0, 0.1)])
def test_odd_times(interval, timeout):
    """However short the times are, nobody is given up in the look that pings, nor before the timeout is over."""
    peer = Peer()
    pinged, silent = watch(make(peer, interval=interval, timeout=timeout), 0.0, interval + 3)
    assert len(silent) == 1
    assert silent[0][1] - pinged[0][1] >= max(timeout, SLOT)
    assert math.isclose(pinged[0][1], interval, abs_tol=2 * SLOT)
