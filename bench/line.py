"""A line of the table: what is done to which systems, and what each kind of line takes."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

FANOUT_PEERS = ("picows", "websockets", "sendloop", "nchan", "autobahn", "uvicorn")
KIB = 1 << 10
MIB = 1 << 20


@dataclass(frozen=True)
class Line:
    """One line: a load, and the systems that it is put on in turns."""

    name: str
    kind: str
    """echo, fanout, connects, storm, idle, service or growth: what runs it, and which columns it has."""
    systems: tuple[str, ...]
    about: str
    load: dict[str, Any] = field(default_factory=dict)
    seconds: float = 2.0
    """For each turn, after the warm-up."""
    rounds: int = 5
    group: str = ""
    """Lines of one group that follow each other take turns as their systems do: they are compared with each other."""


def size_name(size: int, space: str = "") -> str:
    """A number of bytes as people say it."""
    for unit, name in ((MIB, "MiB"), (KIB, "KiB")):
        if size >= unit and size % unit == 0:
            return f"{size // unit}{space}{name}"
    return f"{size}{space}B"


def number(count: int, what: str) -> str:
    """1 service, 2 services."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def echo(connections: int, inflight: int, size: int, systems: Iterable[str], is_binary: bool = False) -> Line:
    """A line of echo."""
    name = f"echo-{connections}x{inflight}-{size_name(size)}{'-binary' if is_binary else ''}"
    kind = "binary" if is_binary else "text"
    about = f"{number(connections, 'connection')}, {inflight} in flight each, {size_name(size, ' ')} {kind}"
    load = {"connections": connections, "inflight": inflight, "size": size, "binary": is_binary}
    return Line(name, "echo", tuple(systems), about, load)


def fanout(subscribers: int, burst: int, systems: Iterable[str] = ("wshub", *FANOUT_PEERS)) -> Line:
    """A line of fan-out."""
    name = f"fanout-{subscribers}x{burst}"
    what = "one message at a time" if burst == 1 else f"bursts of {burst} messages"
    about = f"one publisher, {subscribers:,} subscribers, 128 bytes, {what}"
    return Line(name, "fanout", tuple(systems), about, {"connections": subscribers, "burst": burst, "size": 128})


def idle(connections: int, systems: Iterable[str]) -> Line:
    """A line of memory."""
    about = f"{connections:,} connections that say nothing: KiB each"
    return Line(f"idle-{connections}", "idle", tuple(systems), about, {"connections": connections}, rounds=3)


def growth_connections(connections: int, systems: Iterable[str] = ("wshub", "websockets")) -> Line:
    """Ten active connections among many that say nothing."""
    about = f"10 active of {number(connections, 'connection')}, 1 in flight each, 64 B"
    load = {"connections": 10, "inflight": 1, "size": 64, "binary": False, "idle": connections - 10}
    name = f"growth-{connections}-connections"
    return Line(name, "echo", tuple(systems), about, load, group="growth in connections")


def growth_services(services: int, is_spread: bool) -> Line:
    """The same ten connections with ever more services, of which one is spoken to, or all are."""
    load = {"inflight": 1, "size": 64, "binary": False, "services": services, "is_spread": is_spread}
    if is_spread:
        about = f"100 connections spread over {number(services, 'service')}, 1 in flight each, 64 B"
        load |= {"connections": 100}
        return Line(f"spread-{services}-services", "echo", ("wshub",), about, load, group="spread over services")
    about = f"10 active connections to one of {number(services, 'service')}, 1 in flight each, 64 B"
    load |= {"connections": 10}
    return Line(f"growth-{services}-services", "echo", ("wshub",), about, load, group="growth in services")
