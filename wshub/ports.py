"""What accepts connections: pauses while there are no descriptors, instead of being told so without end.

A port that cannot accept is reported as readable in every turn of the reactor: Twisted's would take all of a
processor, or close whoever waits and write a line for each. So before each connection it is made sure that there is a
descriptor for it; if not, the port is not watched for a while, and whoever connects waits in the kernel's queue.
"""

from typing import Any

from twisted.logger import Logger

from wshub import descriptors
from wshub.throttle import LineThrottle

PAUSE = 0.2  # seconds
FEW = 1000  # descriptors; from here on it is asked anew before each connection
MOST = 8  # connections that it accepts in one turn: those too many are closed only when the turn is over


class PatientPort:
    """Stands before a listening port of Twisted's, whose `doRead` it takes the place of."""

    def __init__(self, reactor: Any, port: Any) -> None:
        self._reactor = reactor
        self._port = port
        self._accept = port.doRead
        self._throttle = LineThrottle()
        self._log = Logger(namespace="wshub")
        port.doRead = self._do_read

    def _do_read(self) -> None:
        port = self._port
        if (room := descriptors.find_room()) > FEW:
            port.numberAccepts = MOST
            self._accept()
            return
        for _ in range(MOST):
            if not room:
                self._pause()
                return
            before, port.numberAccepts = port.sessionno, 1
            self._accept()
            if port.sessionno == before:
                return  # nobody waits any more
            room = descriptors.find_room()

    def _pause(self) -> None:
        self._port.stopReading()
        self._reactor.callLater(PAUSE, self._resume)
        left_out = self._throttle.admit("no descriptors", self._reactor.seconds())
        if left_out is not None:
            self._log.warn("no descriptors left: accepting no connections for {seconds} seconds", seconds=PAUSE)

    def _resume(self) -> None:
        if self._port.connected and not self._port.disconnecting:
            self._port.startReading()
