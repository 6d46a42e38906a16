"""A `HubProtocol` on its way from one process of its service to the next, with no message lost and none twice.

::

    the hub reads no more from the client       what it sends waits in the kernel
    SYNC to the old process                     which answers it when it has dealt with all that came before
    the answer                                  so all that it had to say to that is on its way to the client
    CLOSE to the old, RESUMED to the new one    under a new id
    the hub reads on                            what is read now is for the new process

Whoever closes meanwhile, or never gets an answer, stays with the old process to the end; so does whoever finds no new
one that takes it over when the answer comes.
"""

from collections.abc import Callable
from typing import cast

from wshub.processes.life import State
from wshub.processes.link import ServiceLink
from wshub.processes.socket import Socket

Find = Callable[[], ServiceLink | None]
Done = Callable[[bool], object]


class Moving:
    """Mixed into Autobahn's protocol."""

    state: int
    STATE_OPEN: int
    wshub_link: ServiceLink
    wshub_id: int
    wshub_is_slow: bool
    wshub_move: tuple[Find, Done] | None = None
    """Where it goes when the service has answered, and who wants to know; None unless it is about to go."""

    def wshub_hand_over(self, find: Find, done: Done) -> None:
        """Called at the end of a turn: see `wshub.processes.socket.Socket`. Between turns nothing is half read."""
        if self.wshub_move or self.state != self.STATE_OPEN or not self.wshub_link.can_give_up(self.wshub_id):
            done(False)
            return
        self.wshub_pause()
        self.wshub_move = find, done
        self.wshub_link.sync(self.wshub_id)

    def wshub_go(self) -> None:
        """The old process has answered, or there is no reason any more to wait for that: go if one still can."""
        if self.wshub_move is None:
            return
        (find, done), self.wshub_move = self.wshub_move, None
        old, new = self.wshub_link, find()
        can_go = self.state == self.STATE_OPEN and new is not None and new is not old and is_taking_over(new)
        if can_go:
            assert new is not None
            opening = old.give_up(self.wshub_id)
            self.wshub_link, self.wshub_id = new, new.take_over(cast(Socket, self), opening)
            if self.wshub_is_slow:
                new.tell_slow(self.wshub_id, True)
        if not self.wshub_link.is_paused or self.state != self.STATE_OPEN:
            self.wshub_resume()
        done(can_go)

    def wshub_stay(self) -> None:
        """It is closed, or gone: it goes nowhere else."""
        if self.wshub_move:
            (_, done), self.wshub_move = self.wshub_move, None
            done(False)

    def wshub_pause(self) -> None:
        """Read no more."""
        raise NotImplementedError

    def wshub_resume(self) -> None:
        """Read on."""
        raise NotImplementedError


def is_taking_over(link: ServiceLink) -> bool:
    """Whether a process takes clients from another: a third one, of a class that does not, may be the current one."""
    return link.state is State.READY and link.declared.resumes
