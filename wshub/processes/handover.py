"""The clients of one process on their way to the next, some in each turn, until all have gone or stayed."""

from collections.abc import Callable

from twisted.logger import Logger

from wshub.processes.link import ServiceLink
from wshub.processes.outcome import Outcome, count, describe
from wshub.processes.socket import Socket

BATCH = 256  # clients that begin to go to another process in one turn

Find = Callable[[], ServiceLink | None]
"""Which process clients go to."""


class HandOver:
    """Lets them begin to go, and counts them, to say so in one line of the log when it is over."""

    def __init__(self, log: Logger, outcome: Outcome, sockets: list[Socket], find: Find) -> None:
        self._log = log
        self._outcome = outcome
        self._find = find
        self._to_begin = sockets
        self._left = len(sockets)
        self._went = 0
        if not sockets:  # there are requests alone
            self._say()

    def begin(self, most: int) -> bool:
        """Let so many begin to go. Return whether there are more."""
        some, self._to_begin = self._to_begin[:most], self._to_begin[most:]
        for socket in some:
            socket.wshub_hand_over(self._find, self._is_done)
        return bool(self._to_begin)

    def _is_done(self, went: bool) -> None:
        self._left -= 1
        self._went += went
        if not self._left:
            self._say()

    def _say(self) -> None:
        self._log.info("{text}, {n} handed over", text=describe(self._outcome), n=count(self._went))
