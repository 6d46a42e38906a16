"""Who ends the services of a hub that was killed: a shell that waits for nothing else.

A service process ends by itself when its hub is gone, by a thread of its own (:mod:`wshub.service.watcher`). That takes
a process in which threads run: one that is stopped, or in which foreign code keeps Python's lock, would stay for ever.
The kernel's help, a signal at the parent's death (prctl(2), PR_SET_PDEATHSIG), comes at once and to that process alone:
`on_stop` would never run, and what the service has started would stay.

So the hub has one more process, which knows the process groups of the services from its standard input. When that ends
and the hub has not said that all is well, the hub is dead: what is left of the groups a second later is killed.
"""

import os
from typing import Any

from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure

SHELL = "/bin/sh"

SCRIPT = """
trap '' HUP INT TERM
groups=' '
while read -r sign group; do
    case $sign in
        +) groups="$groups$group " ;;
        -) groups="${groups%% $group *} ${groups#* $group }" ;;
        .) exit ;;
    esac
done
sleep 1
for group in $groups; do
    kill -s KILL -- "-$group" || kill -s KILL "$group"
done
"""
"""POSIX, and nothing but what every shell has in itself, except for `sleep`. A process that has only just begun has no
group of its own yet."""


class Warden(ProcessProtocol):
    """The shell, from the start of the hub to its end."""

    transport: Any

    def __init__(self) -> None:
        self._is_there = False
        self._log = Logger(namespace="wshub")

    def start(self, reactor: Any) -> None:
        """Start the shell; without one, say so in the log and do without."""
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            reactor.spawnProcess(
                self,
                SHELL,
                [SHELL, "-c", SCRIPT],
                env={"PATH": os.defpath},
                path="/",
                childFDs={0: "w", 1: nothing, 2: nothing},
            )
        except OSError as error:
            self._log.warn("no {shell}: services that hang outlive a hub that is killed: {e}", shell=SHELL, e=error)
        finally:
            os.close(nothing)

    def begin(self, group: int) -> None:
        """A service process has been started, whose group will be its own id."""
        self._say(f"+ {group}\n")

    def end(self, group: int) -> None:
        """It has exited, and nobody is left of its group."""
        self._say(f"- {group}\n")

    def dismiss(self) -> None:
        """All is well: the hub stops in order, and there are no services any more."""
        self._say(".\n")

    def connectionMade(self) -> None:
        self._is_there = True

    def processExited(self, reason: Failure) -> None:
        self._is_there = False

    def _say(self, line: str) -> None:
        if self._is_there:
            self.transport.write(line.encode())
