"""What is measured: the lines that a run has."""

from dataclasses import replace

from bench.line import KIB, MIB, Line, echo, fanout, growth_connections, growth_services, idle

OURS = ("wshub", "wshub-asyncio", "wshub-classic")
IN_PROCESS = ("autobahn", "websockets", "picows")
CHANNELS = ("uvicorn", "daphne")

WITH_WEBSOCKETD = (*OURS, *IN_PROCESS, "websocketd", "websocketd-cat")
ROUND_TRIP = replace(
    echo(1, 1, 64, (*WITH_WEBSOCKETD, "uvicorn", "floor")),
    name="round-trip",
    about="1 connection, 1 in flight, 64 B text: the round trip",
)
CONNECTS = Line(
    "connects",
    "connects",
    ("wshub", *IN_PROCESS, "websocketd-cat", "uvicorn"),
    "connections opened and closed, 50 at a time",
    {"at_once": 50},
)
STORM = Line(
    "storm",
    "storm",
    ("wshub", *IN_PROCESS),
    "1,000 connections at the same moment: all of them served",
    {"connections": 1000},
    rounds=3,
)
SERVICE = Line(
    "service",
    "service",
    ("wshub", "autobahn", "websockets", "picows"),
    "one more service: its private memory, and the first 101",
    {"services": 20},
    rounds=3,
)

EVERY_LINE = [
    ROUND_TRIP,
    echo(1, 8, 64, (*OURS, *IN_PROCESS)),
    echo(10, 1, 64, (*OURS, *IN_PROCESS)),
    echo(100, 1, 64, (*WITH_WEBSOCKETD, *CHANNELS)),
    echo(100, 8, 64, (*WITH_WEBSOCKETD, *CHANNELS)),
    echo(1000, 1, 64, (*OURS, *IN_PROCESS)),
    echo(1000, 8, 64, (*OURS, *IN_PROCESS)),
    echo(100, 1, 64, ("wshub", *IN_PROCESS), is_binary=True),
    echo(100, 1, KIB, ("wshub", *IN_PROCESS, "websocketd")),
    echo(100, 8, KIB, ("wshub", *IN_PROCESS, "websocketd")),
    echo(20, 1, 64 * KIB, ("wshub", *IN_PROCESS)),
    echo(20, 1, 64 * KIB, ("wshub", *IN_PROCESS), is_binary=True),
    echo(4, 1, MIB, ("wshub", *IN_PROCESS)),
    echo(4, 1, MIB, ("wshub", *IN_PROCESS), is_binary=True),
    fanout(10, 1),
    fanout(100, 1),
    fanout(1000, 1),
    fanout(1000, 4),
    CONNECTS,
    STORM,
    idle(1000, ("wshub", *IN_PROCESS, "websocketd-cat", "uvicorn", "nchan")),
    idle(10_000, ("wshub", *IN_PROCESS, "nchan")),
    SERVICE,
    *(growth_connections(n) for n in (10, 100, 1000, 10_000)),
    *(growth_services(n, False) for n in (1, 10, 100)),
    *(growth_services(n, True) for n in (1, 10, 100)),
]
BY_NAME = {line.name: line for line in EVERY_LINE}

QUICK = (
    "round-trip",
    "echo-100x1-64B",
    "echo-100x8-64B",
    "echo-20x1-64KiB",
    "fanout-1000x1",
    "fanout-1000x4",
    "connects",
    "idle-1000",
    "service",
)
QUICK_SYSTEMS = ("wshub", "autobahn", "websockets", "picows", "websocketd", "nchan", "sendloop", "floor")


def default_lines() -> list[Line]:
    """What ``make bench`` measures."""
    return EVERY_LINE


def full_lines() -> list[Line]:
    """The same, and every other combination of connections, messages in flight, sizes and types."""
    more = [
        echo(connections, inflight, size, ("wshub", *IN_PROCESS), is_binary)
        for connections in (1, 10, 100, 1000)
        for inflight in (1, 8)
        for size in (64, KIB, 64 * KIB, MIB)
        for is_binary in (False, True)
        if connections * inflight * size <= 512 * MIB  # what is in flight has to fit into memory, several times
    ]
    return [*EVERY_LINE, *(line for line in more if line.name not in BY_NAME), fanout(10, 4), fanout(100, 4)]


def quick_lines() -> list[Line]:
    """What matters most, within three minutes."""
    chosen = [BY_NAME[name] for name in QUICK]
    few = [tuple(name for name in line.systems if name in QUICK_SYSTEMS) for line in chosen]
    rounds = [1 if line.kind in ("idle", "service") else 2 for line in chosen]  # memory is the same every time
    group = "quick"  # every line once, before any of them twice: on a slow machine there may be no time for that
    return [
        replace(line, systems=names, seconds=0.6, rounds=number, group=group)
        for line, names, number in zip(chosen, few, rounds, strict=True)
    ]


def tiny_lines() -> list[Line]:
    """Each kind of line once, with next to no load: whether the harness works, not how fast anything is."""
    some = ("wshub", "websockets", "picows")
    storm = replace(STORM, systems=some[:2], load={"connections": 20})
    service = replace(SERVICE, systems=("wshub",), load={"services": 2})
    lines = [
        replace(ROUND_TRIP, systems=(*some, "floor")),
        echo(5, 2, KIB, some),
        fanout(5, 2, ("wshub", "sendloop")),
        replace(CONNECTS, systems=some[:1], load={"at_once": 5}),
        storm,
        idle(20, some[:1]),
        service,
        growth_services(2, True),
    ]
    return [replace(line, seconds=0.1, rounds=1) for line in lines]


def custom_line(kind: str, options: dict[str, int]) -> Line | None:
    """A line that is in no list, or None if there can be none of that `kind`."""
    get = options.get
    if kind == "echo":
        some = ("wshub", *IN_PROCESS)
        line = echo(get("connections", 100), get("inflight", 1), get("size", 64), some, bool(get("binary")))
        return replace(line, load={**line.load, "idle": get("idle", 0)})
    if kind == "fanout":
        line = fanout(get("connections", 1000), get("burst", 1))
        return replace(line, load={**line.load, "size": get("size", 128)})
    if kind == "idle":
        return idle(get("connections", 1000), ("wshub", *IN_PROCESS))
    return None
