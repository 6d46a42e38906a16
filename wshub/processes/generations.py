"""The generations of a service: a new process starts beside the old one, takes its place, and the old one empties.

A service has one CURRENT generation, whom new clients get, at most one NEXT, and any number of older ones. An event
that is not in a standing's column changes nothing there::

    event      meaning                                NEXT       CURRENT    DRAINING   CLOSING
    READY      its process can serve                  CURRENT
    ALONE      the one that it was to follow is gone  CURRENT
    REPLACED   a newer one is in its place            GONE       DRAINING
    LATE       its clients have had `drain_timeout`                         CLOSING
    EMPTY      it has no clients                                            GONE       GONE
    ENDED      its process has ended                  GONE       GONE       GONE       GONE

GONE is final: a process that is still there is asked to finish. Whether a process lives is another question, and its
link's to answer: see :mod:`wshub.processes.life`.
"""

from enum import Enum

CLOSE_INTERVAL = 0.25  # seconds between two batches of clients that are closed
MOST_BATCHES = 20  # so that the last client is closed five seconds after the first one
LEAST_BATCH = 16  # clients that a service takes in at once whatever it does


class Standing(Enum):
    """Where a generation stands among those of its service."""

    NEXT = "next"
    CURRENT = "current"
    DRAINING = "draining"
    CLOSING = "closing"
    GONE = "gone"


class Turn(Enum):
    """What can happen to a generation."""

    READY = "it is ready"
    ALONE = "the one before it is gone"
    REPLACED = "there is a newer one"
    LATE = "its time is over"
    EMPTY = "it has no clients"
    ENDED = "it has ended"


TABLE: dict[tuple[Standing, Turn], Standing] = {
    (Standing.NEXT, Turn.READY): Standing.CURRENT,
    (Standing.NEXT, Turn.ALONE): Standing.CURRENT,
    (Standing.NEXT, Turn.REPLACED): Standing.GONE,
    (Standing.NEXT, Turn.ENDED): Standing.GONE,
    (Standing.CURRENT, Turn.REPLACED): Standing.DRAINING,
    (Standing.CURRENT, Turn.ENDED): Standing.GONE,
    (Standing.DRAINING, Turn.LATE): Standing.CLOSING,
    (Standing.DRAINING, Turn.EMPTY): Standing.GONE,
    (Standing.DRAINING, Turn.ENDED): Standing.GONE,
    (Standing.CLOSING, Turn.EMPTY): Standing.GONE,
    (Standing.CLOSING, Turn.ENDED): Standing.GONE,
}


def after(standing: Standing, turn: Turn) -> Standing:
    """Where a generation stands once that has happened."""
    return TABLE.get((standing, turn), standing)


def batch_size(count: int) -> int:
    """How many of `count` clients are closed at once, so that they do not all come back at once."""
    return max(LEAST_BATCH, -(-count // MOST_BATCHES))
