"""What is to be reached, and whether it was: ours against a peer's of the same run, or against a number."""

from dataclasses import dataclass

from bench.run import LineResult
from bench.stats import Figures, Spread, ratio, spread


@dataclass(frozen=True)
class Target:
    """`metric` of `ours` on `line`, divided by the peer's if there is one, is at most, or at least, `bound`."""

    line: str
    metric: str
    bound: float
    peer: str = ""
    at_least: bool = False
    ours: str = "wshub"
    unit: str = ""
    base_line: str = ""
    """Compare with our own figure on this line instead of a peer's: growth."""
    text: str = ""

    @property
    def about(self) -> str:
        """The target as a person says it."""
        what = self.text or NAMES.get(self.metric, self.metric)
        than = "at least" if self.at_least else "at most"
        bound = f"{self.bound:g}{' ' + self.unit if self.unit else ''}"
        whose = f" × that of {self.peer}" if self.peer else f" × that of {self.base_line}" if self.base_line else ""
        return f"{self.line}: {'' if self.ours == 'wshub' else self.ours + ': '}{what} {than} {bound}{whose}"


NAMES = {"cpu": "CPU", "rate": "throughput", "p50": "p50"}
ECHO_1, ECHO_8, BIG = "echo-100x1-64B", "echo-100x8-64B", "echo-20x1-64KiB"
FANOUT, BURSTS = "fanout-1000x1", "fanout-1000x4"

TARGETS = [
    Target(ECHO_1, "cpu", 0.65, "websockets"),
    Target(ECHO_1, "cpu", 0.25, "autobahn"),
    Target(ECHO_1, "cpu", 0.25, "websocketd"),
    Target(ECHO_1, "rate", 0.6, "picows", at_least=True),
    Target(ECHO_8, "cpu", 1.1, "picows"),
    Target("round-trip", "p50", 2.0, "floor"),
    Target("round-trip", "p50", 1.0, "websocketd"),
    Target(BIG, "cpu", 1.5, "websockets"),
    Target(BIG, "cpu", 0.25, "autobahn"),
    Target(FANOUT, "cpu", 0.75, "nchan"),
    Target(FANOUT, "cpu", 1.0, "sendloop"),
    Target(BURSTS, "cpu", 2.0, unit="µs"),
    Target("connects", "cpu", 1.0, "websockets"),
    Target("storm", "served", 1000, text="served", at_least=True),
    Target("idle-10000", "hub_private", 6.0, unit="KiB", text="each in the hub"),
    Target("idle-10000", "service_private", 1.0, unit="KiB", text="each in the service"),
    Target("service", "private_mib", 6.0, unit="MiB", text="private"),
    Target("service", "first_ms", 60.0, unit="ms", text="first 101"),
    Target("growth-10000-connections", "cpu", 1.15, base_line="growth-10-connections"),
    Target("growth-100-services", "cpu", 1.15, base_line="growth-1-services"),
    Target(ECHO_1, "cpu", 1.5, "wshub", ours="wshub-classic"),
]


@dataclass(frozen=True)
class Verdict:
    """A target, and what there was instead; None if it was not measured."""

    target: Target
    found: Spread | None

    @property
    def is_reached(self) -> bool | None:
        """Whether the median is within the bound; None if it was not measured."""
        if self.found is None:
            return None
        return (
            self.found.median >= self.target.bound if self.target.at_least else self.found.median <= self.target.bound
        )


def judge(results: list[LineResult]) -> list[Verdict]:
    """Every target whose line was run."""
    by_name = {result.line.name: result for result in results}
    return [Verdict(target, find(target, by_name)) for target in TARGETS if target.line in by_name]


def find(target: Target, results: dict[str, LineResult]) -> Spread | None:
    """What was measured for a target."""
    rounds = results[target.line].rounds
    ours = rounds.get(target.ours, [])
    if target.base_line:
        base = results.get(target.base_line)
        return ratio(ours, base.rounds.get(target.ours, []) if base else [], target.metric)
    if target.peer:
        theirs: list[Figures] = rounds.get(target.peer, [])
        return ratio(ours, theirs, target.metric)
    return spread(ours, target.metric)
