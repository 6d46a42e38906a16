"""The levels of the log: their names, what services call them, and which lines a hub wants of which service.

A line of a service's output may begin with its level, ``<4>`` for instance: a number of syslog's in angle brackets, as
sd-daemon(3) has it. It is the level of that line and of nothing else, so a service can only mislead about itself.
"""

from collections.abc import Mapping

from wshub.errors import ServiceNotFound
from wshub.routing import format_route, parse_route, split_path

LEVELS = ("debug", "info", "warn", "error", "critical")
"""Twisted's, the least first."""

_BY_NUMBER = ("critical", "critical", "critical", "error", "warn", "info", "info", "debug")
"""Syslog's (RFC 5424, section 6.2.1), from 0, emergency, to 7."""


def read_level(line: bytes) -> tuple[str, bytes]:
    """The level of a line of output and the line without it; without a level it is ``info``."""
    if line[:1] == b"<" and line[2:3] == b">" and line[1:2] in b"01234567":
        return _BY_NUMBER[line[1] - ord("0")], line[3:]
    return "info", line


def check_levels(levels: Mapping[str, str]) -> None:
    """Raise `ValueError` unless these are levels by the paths of services."""
    for path, level in levels.items():
        if level not in LEVELS:
            raise ValueError(f"log_levels: {path} has {level!r}; there are {', '.join(LEVELS)}")
        if not _is_path(path):
            raise ValueError(f"log_levels: no service can have the path {path!r}: write it as in its URL, as /chat")


def _is_path(path: str) -> bool:
    try:
        return format_route(parse_route(split_path(path.encode()))) == path
    except ServiceNotFound:
        return False


def rank(level: str) -> int:
    """How grave a level is; -1 for what is no level."""
    return LEVELS.index(level) if level in LEVELS else -1
