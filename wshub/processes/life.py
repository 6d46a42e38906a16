"""The life of a link, from the start of its process to its end.

An event that is not in a state's column changes nothing there::

    event      meaning                              STARTING    READY       STOPPING
    READY      the process can serve                READY       DEAD †
    FAILED     the process says why it cannot       FAILED      DEAD †      DEAD
    BROKE      it sent what it may not              FAILED †    DEAD †      DEAD †
    HUNG_UP    it closed its pipe                   FAILED †    DEAD †      STOPPING
    EXITED     it is no more                        FAILED      DEAD        DEAD
    LATE       it took too long to get READY        FAILED †
    SILENT     it gave no sign of life                          DEAD †
    STOP       the hub has closed its pipe          STOPPING    STOPPING

    †  the process is to be killed

FAILED and DEAD are final: a service is started anew with another link. Sockets that are left when a link becomes DEAD
are closed with 1011 (RFC 6455, section 7.4.1: "a server is terminating the connection because it encountered an
unexpected condition"); whoever still waits for READY then is refused.
"""

from enum import Enum


class State(Enum):
    """Where a link is in its life."""

    STARTING = "starting"
    READY = "running"
    STOPPING = "stopping"
    FAILED = "failed"
    DEAD = "dead"


class Event(Enum):
    """What can happen to a link."""

    READY = "it is ready"
    FAILED = "it does not start"
    BROKE = "it broke the wire protocol"
    HUNG_UP = "it closed its pipe"
    EXITED = "it exited"
    LATE = "it did not get ready in time"
    SILENT = "it gave no sign of life"
    STOP = "it is asked to stop"


KILL = True
TABLE: dict[tuple[State, Event], tuple[State, bool]] = {
    (State.STARTING, Event.READY): (State.READY, not KILL),
    (State.STARTING, Event.FAILED): (State.FAILED, not KILL),
    (State.STARTING, Event.BROKE): (State.FAILED, KILL),
    (State.STARTING, Event.HUNG_UP): (State.FAILED, KILL),
    (State.STARTING, Event.EXITED): (State.FAILED, not KILL),
    (State.STARTING, Event.LATE): (State.FAILED, KILL),
    (State.STARTING, Event.STOP): (State.STOPPING, not KILL),
    (State.READY, Event.READY): (State.DEAD, KILL),
    (State.READY, Event.FAILED): (State.DEAD, KILL),
    (State.READY, Event.BROKE): (State.DEAD, KILL),
    (State.READY, Event.HUNG_UP): (State.DEAD, KILL),
    (State.READY, Event.EXITED): (State.DEAD, not KILL),
    (State.READY, Event.SILENT): (State.DEAD, KILL),
    (State.READY, Event.STOP): (State.STOPPING, not KILL),
    (State.STOPPING, Event.READY): (State.STOPPING, not KILL),
    (State.STOPPING, Event.FAILED): (State.DEAD, not KILL),
    (State.STOPPING, Event.BROKE): (State.DEAD, KILL),
    (State.STOPPING, Event.HUNG_UP): (State.STOPPING, not KILL),
    (State.STOPPING, Event.EXITED): (State.DEAD, not KILL),
}
