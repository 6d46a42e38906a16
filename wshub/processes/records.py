"""What is remembered about services between one process and the next: whether, and when, another may be started."""

from collections.abc import Callable
from dataclasses import dataclass

from wshub.errors import ServiceEnded, ServiceFailed
from wshub.processes.life import State
from wshub.processes.restart import RestartPolicy
from wshub.processes.run import Fingerprint, Run
from wshub.routing import Route


@dataclass
class Record:
    """What is remembered about one service."""

    policy: RestartPolicy
    file: Fingerprint | None = None
    """What the rest is about. All is forgotten as soon as the file is another."""
    has_failed: bool = False
    """Whether it did not start."""
    has_ended: bool = False
    """Whether it is not to be started again."""


class Records:
    """The records of all services. `make_policy` makes the policy of one of which nothing is known."""

    def __init__(self, make_policy: Callable[[], RestartPolicy], chance: Callable[[], float]) -> None:
        self._make_policy = make_policy
        self._chance = chance
        self._records: dict[Route, Record] = {}

    def about(self, route: Route, file: Fingerprint) -> Record:
        """What is known of a service whose file is this one."""
        record = self._records.get(route)
        if record is None or record.file != file:
            record = self._records[route] = Record(self._make_policy(), file)
        return record

    def seconds_to_wait(self, route: Route, file: Fingerprint, now: float) -> float:
        """The seconds until it may be started. Raise `ServiceFailed` or `ServiceEnded` if it may not at all."""
        record = self.about(route, file)
        if record.has_failed:
            raise ServiceFailed
        if record.has_ended:
            raise ServiceEnded
        return record.policy.seconds_to_wait(now)

    def forget(self, route: Route) -> None:
        """Nothing that was known of it counts any more."""
        self._records.pop(route, None)

    def forget_failures(self) -> None:
        """Whatever did not start may be tried again."""
        for record in self._records.values():
            record.has_failed = False

    def remember(self, run: Run, now: float) -> None:
        """A process has ended, in the state of its link, without being asked to."""
        record = self.about(run.route, run.file)
        if run.link.state is State.FAILED:
            record.has_failed = True
        else:
            record.policy.record_death(now, now - run.began, self._chance())
            record.has_ended = run.link.declared.restart == "temporary"
