"""The hub's log: text for people, JSON for programs, and for each service the levels that are wanted.

twistd asks its application for an observer before it makes one of its own. So `make_observer` has to do what twistd
would have: write to standard output or to a file of its `--logfile`, which is rotated when it is large and at SIGUSR1.
"""

import json
import os
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import lru_cache, partial
from typing import IO, Any

from twisted.logger import FileLogObserver, LogEvent, eventAsText, formatEvent
from twisted.python.logfile import LogFile

from wshub.monitoring.levels import rank
from wshub.processes.process import escape

OF_A_SERVICE = "service "  # how the namespace of a service's own output begins
COLOURS = {"warn": "33", "error": "31", "critical": "1;31", "debug": "2"}  # ECMA-48, select graphic rendition
DEFAULT_FILE = "twistd.log"  # twistd's, for a daemon
TWISTED_ON_PORTS = re.compile(r"\w+ starting on .*|\(\w* ?Port .* Closed\)")  # which the hub says in its own way
NO_FIELDS = ("time", "system", "isError", "format", "name")  # of the event: they have other names below, or none
SIMPLE = (str, int, float, bool, type(None))  # fields that JSON has as they are

Format = Callable[[LogEvent], str | None]


def make_observer(
    log_format: str, levels: Mapping[str, str], twistd: Mapping[str, Any], reactor: Any
) -> FileLogObserver | None:
    """The observer that the settings ask for, writing where `twistd`, its options, says.

    None if somebody else is to write the log: `--logger` or `--syslog`.
    """
    if twistd.get("logger") or twistd.get("syslog"):
        return None
    name, is_daemon = twistd.get("logfile"), not twistd.get("nodaemon")
    if not is_daemon and name in (None, "", "-"):
        return observe(sys.stdout, log_format, levels, wants_colours(sys.stdout, os.environ))
    if name == "-":
        return None  # twistd itself says that a daemon has no standard output
    file = LogFile.fromFullPath(name or DEFAULT_FILE)
    if signal.getsignal(signal.SIGUSR1) in (None, signal.SIG_DFL):
        signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(file.rotate))
    return observe(file, log_format, levels)


def observe(file: IO[Any], log_format: str, levels: Mapping[str, str], colours: bool = False) -> FileLogObserver:
    """An observer that writes to `file`."""
    write: Format = format_json if log_format == "json" else partial(format_text, colours=colours)
    return FileLogObserver(file, partial(format_wanted, write, levels))


def wants_colours(stream: IO[Any], environ: Mapping[str, str]) -> bool:
    """Whether a person reads it on a terminal that has colours, and wants them (https://no-color.org)."""
    return stream.isatty() and not environ.get("NO_COLOR") and environ.get("TERM", "dumb") != "dumb"


def find_service(event: LogEvent) -> str:
    """The path of the service that an event is about; empty if it is about none."""
    namespace: str = event.get("log_namespace") or ""
    if namespace.startswith(OF_A_SERVICE):
        return namespace.removeprefix(OF_A_SERVICE)
    return str(event.get("service") or event.get("name") or "") if namespace == "wshub" else ""


def find_level(event: LogEvent) -> str:
    """The level of an event by name; ``-`` if it has none."""
    return getattr(event.get("log_level"), "name", "-")


def format_wanted(write: Format, levels: Mapping[str, str], event: LogEvent) -> str | None:
    """What `write` makes of the event, unless it says nothing new, or its service is to be quieter than that."""
    if event.get("log_system") == "-" and TWISTED_ON_PORTS.fullmatch(format_message(event)):
        return None
    least = levels.get(find_service(event))
    return write(event) if least is None or rank(find_level(event)) >= rank(least) else None


def format_text(event: LogEvent, colours: bool = False) -> str | None:
    """One line, or more for a traceback: local time, where it comes from, the level, the text."""
    text = describe(event)
    if not text:
        return None
    level = find_level(event)
    system = event.get("log_system") or f"{event.get('log_namespace', '-')}#{level}"
    line = f"{format_local_time(int(event.get('log_time', 0)))} [{escape(system)}] {text}"
    return f"\x1b[{COLOURS[level]}m{line}\x1b[0m\n" if colours and level in COLOURS else f"{line}\n"


def describe(event: LogEvent) -> str:
    """The text of an event. What is not the first line of it is indented, so that it cannot be mistaken for one."""
    if event.get("log_failure") is None:
        text = format_message(event)
    else:
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
    return text if text.isprintable() else "\n\t".join(map(escape, text.rstrip("\n").split("\n")))


def format_message(event: LogEvent) -> str:
    """The text of an event without its traceback: Twisted's `formatEvent`, which the usual event need not go through.

    It looks for calls in the format, `{name()}`, and survives whatever is wrong, which takes ten times as long.
    """
    template = event.get("log_format")
    if isinstance(template, str) and "()" not in template:
        try:
            return template.format_map(event)
        except Exception:
            pass  # whatever it is, Twisted says it in the log
    return formatEvent(event)


@lru_cache(maxsize=4)
def format_local_time(seconds: int) -> str:
    """Unix time as ISO 8601 in the local time zone, to the second."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z", time.localtime(seconds))


def format_json(event: LogEvent) -> str | None:
    """One object on one line: time (UTC), level, namespace, service, message, and the event's own fields."""
    message = escape(format_message(event))
    failure = event.get("log_failure")
    if not message and failure is None:
        return None
    entry: dict[str, Any] = {
        name: value if not isinstance(value, str) else escape(value)
        for name, value in event.items()
        if isinstance(value, SIMPLE) and not name.startswith("log_") and name not in NO_FIELDS and value != message
    }
    if service := find_service(event):
        entry["service"] = service
    moment = datetime.fromtimestamp(event.get("log_time", 0), UTC)
    entry |= {
        "time": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": find_level(event),
        "namespace": event.get("log_namespace", "-"),
        "message": message or escape(str(getattr(failure, "value", ""))),
    }
    if failure is not None:
        entry["traceback"] = failure.getTraceback()
    return json.dumps(entry) + "\n"
