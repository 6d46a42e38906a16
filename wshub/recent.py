"""What happened to a service of late: its output, the connections that ended, its starts and ends, what it used.

Everything is bounded, in number and in bytes, and kept only where somebody can look at it: in a hub with an admin
interface. An entry costs what it takes to append to a deque. Times are seconds of Unix time.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, NamedTuple, TypeVar

MAX_LINES, MAX_OUTPUT = 500, 64 << 10
MAX_CLOSINGS, MAX_CLOSING_BYTES = 100, 16 << 10
MAX_EVENTS, MAX_EVENT_BYTES = 50, 8 << 10
MAX_TRACEBACKS, MAX_TRACEBACK_BYTES = 10, 64 << 10
MAX_SAMPLES = 60
MAX_TRACEBACK = 16 << 10
"""Characters of one traceback. Of a longer one the end is kept, which says what went wrong."""


class Line(NamedTuple):
    """A line of output, or a piece of a long one."""

    number: int
    time: float
    stream: str
    """``stdout`` or ``stderr``."""
    level: str
    text: str


class Closing(NamedTuple):
    """A WebSocket that has ended."""

    number: int
    time: float
    client: str
    port: int
    seconds: float
    """How long it was open."""
    code: int
    reason: str


class Happening(NamedTuple):
    """A start or an end of its process, in a few words; or a traceback."""

    number: int
    time: float
    text: str


class Sample(NamedTuple):
    """A service at one moment; counts are since the hub began, ``cpu`` since the process did."""

    time: float
    clients: int
    received: int
    sent: int
    pid: int
    cpu: float
    """Seconds of processor time."""
    memory: int
    """Bytes of its own."""


Entry = TypeVar("Entry", Line, Closing, Happening)


class Ring(Generic[Entry]):
    """The last entries: `most` of them, and `most_bytes` of their text (in characters; a single one always fits)."""

    def __init__(self, most: int, most_bytes: int) -> None:
        self.total = 0
        """How many there ever were."""
        self._entries: deque[tuple[int, Entry]] = deque()
        self._most = most
        self._most_bytes = most_bytes
        self._bytes = 0

    def add(self, entry: Entry, size: int) -> None:
        """Append an entry with `size` characters of text, and forget as many of the oldest as it takes."""
        self.total += 1
        self._bytes += size
        self._entries.append((size, entry))
        while len(self._entries) > self._most or (self._bytes > self._most_bytes and len(self._entries) > 1):
            self._bytes -= self._entries.popleft()[0]

    def after(self, number: int) -> list[Entry]:
        """Those with a higher number, the oldest first."""
        found: list[Entry] = []
        for _, entry in reversed(self._entries):
            if entry.number <= number:
                break
            found.append(entry)
        return found[::-1]


@dataclass(slots=True)
class Recent:
    """What happened to one service, over all of its processes. Entries of all kinds are numbered together, from 1."""

    last: int = 0
    """The number of the last one."""
    output: Ring[Line] = field(default_factory=lambda: Ring(MAX_LINES, MAX_OUTPUT))
    closings: Ring[Closing] = field(default_factory=lambda: Ring(MAX_CLOSINGS, MAX_CLOSING_BYTES))
    events: Ring[Happening] = field(default_factory=lambda: Ring(MAX_EVENTS, MAX_EVENT_BYTES))
    tracebacks: Ring[Happening] = field(default_factory=lambda: Ring(MAX_TRACEBACKS, MAX_TRACEBACK_BYTES))

    samples: deque[Sample] = field(default_factory=lambda: deque(maxlen=MAX_SAMPLES))

    def add_line(self, now: float, stream: str, level: str, text: str) -> None:
        """It has written a line."""
        self.last += 1
        self.output.add(Line(self.last, now, stream, level, text), len(text))

    def add_closing(self, now: float, client: str, port: int, seconds: float, code: int, reason: str) -> None:
        """One of its WebSockets has ended, after so many seconds."""
        self.last += 1
        self.closings.add(Closing(self.last, now, client, port, seconds, code, reason), len(client) + len(reason))

    def add_event(self, now: float, text: str) -> None:
        """A process of it has begun or ended."""
        self.last += 1
        self.events.add(Happening(self.last, now, text), len(text))

    def add_traceback(self, now: float, text: str) -> None:
        """It has printed a traceback, or did not start because of one."""
        self.last += 1
        text = text[-MAX_TRACEBACK:]
        self.tracebacks.add(Happening(self.last, now, text), len(text))
