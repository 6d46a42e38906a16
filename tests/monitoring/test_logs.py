"""The log: its two formats, its levels, and where it goes."""

import io
import json
import re
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import Logger, LogLevel, formatEventAsClassicLogText, globalLogPublisher
from twisted.python.failure import Failure

from wshub.monitoring.logs import (
    find_service,
    format_json,
    format_message,
    format_text,
    make_observer,
    observe,
    wants_colours,
)
from wshub.testing import FakeReactor

NASTY = "a\x1b[2Jb\rc\x00d\u202ee\x85f"
"""What rewrites a terminal, forges a line, or turns text round."""


def make_event(template: str, namespace: str = "wshub", level: str = "info", **fields: Any) -> dict[str, Any]:
    """An event as Twisted's logger makes it."""
    return {
        "log_format": template,
        "log_namespace": namespace,
        "log_level": LogLevel.levelWithName(level),
        "log_time": 1795476469.25,
        **fields,
    }


@pytest.fixture
def berlin(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A time zone that is not UTC."""
    monkeypatch.setenv("TZ", "Europe/Berlin")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def test_text(berlin: None) -> None:
    """A line has the local time, where it comes from, its level and its text, as Twisted's own has."""
    event = make_event("{service}: {n:.1f}", service="/a", n=1.25)
    assert format_text(event) == formatEventAsClassicLogText(event)
    assert format_text(event) == "2026-11-24T00:27:49+0100 [wshub#info] /a: 1.2\n"
    legacy = {"log_format": "{x}", "x": 1, "log_time": 0.0, "log_system": "-"}
    assert format_text(legacy) == "1970-01-01T01:00:00+0100 [-] 1\n"


def test_json(berlin: None) -> None:
    """An object has the time in UTC, and each of the event's own fields by its name."""
    text = format_json(make_event("{service}: {code}", service="/chat", code=1000, seconds=0.5, other=[1]))
    assert text is not None
    assert text.count("\n") == 1
    assert json.loads(text) == {
        "time": "2026-11-23T23:27:49.250Z",
        "level": "info",
        "namespace": "wshub",
        "service": "/chat",
        "message": "/chat: 1000",
        "code": 1000,
        "seconds": 0.5,
    }


def test_control_characters_are_escaped() -> None:
    """Neither format lets through what a terminal would obey, whoever has made it up."""
    event = make_event("said {text}", text=NASTY, log_namespace=NASTY)
    text = format_text({**event, "log_system": NASTY})
    assert text is not None
    assert text.removesuffix("\n").isprintable()
    line = format_json(event)
    assert line is not None
    entry = json.loads(line)
    assert entry["message"].isprintable()
    assert entry["text"].isprintable()
    assert "\\x1b[2J" in entry["message"]


def test_a_line_cannot_be_forged() -> None:
    """What comes after a line break is indented, or inside the object."""
    event = make_event("{text}", text="one\n2026-11-23T23:27:49+0000 [wshub#info] two")
    text, line = format_text(event), format_json(event)
    assert text is not None
    assert line is not None
    assert [each[0] for each in text.splitlines()] == ["2", "\t"]
    assert line.count("\n") == 1


def test_failures() -> None:
    """A traceback of the hub's own is in the log, in either format."""
    try:
        raise ValueError("on purpose")
    except ValueError:
        event = make_event("unexpected", level="critical", log_failure=Failure())
    text, line = format_text(event), format_json(event)
    assert text is not None
    assert line is not None
    assert re.search(r"unexpected\n\tTraceback.*\n(\t.*\n)*\tbuiltins.ValueError: on purpose\n", text)
    assert "ValueError: on purpose" in json.loads(line)["traceback"]
    assert json.loads(line)["message"] == "unexpected"


def test_formats_that_do_not_fit() -> None:
    """An event that is wrong in itself is logged, by Twisted's means, and stops nothing."""
    for template, fields in (("{missing}", {}), ("{x.y}", {"x": 1}), ("{", {}), ("{f()}", {"f": lambda: "called"})):
        event = make_event(template, **fields)
        assert format_text(event)
        assert format_json(event)
    assert format_message(make_event("{f()}", f=lambda: "called")) == "called"
    assert format_text(make_event("")) is None
    assert format_json(make_event("")) is None


@pytest.mark.parametrize(
    ("event", "service"),
    [
        (make_event("x", "service /chat"), "/chat"),
        (make_event("x", "wshub", service="/chat"), "/chat"),
        (make_event("x", "wshub", name="/chat"), "/chat"),
        (make_event("x", "wshub"), ""),
        (make_event("x", "other", name="/chat"), ""),
    ],
)
def test_whose_line_it_is(event: dict[str, Any], service: str) -> None:
    """A service's are what it prints and what the hub says of it."""
    assert find_service(event) == service


@pytest.mark.parametrize(
    ("text", "is_written"),
    [
        ("PortFactory starting on 12345", False),
        ("(TCP Port 12345 Closed)", False),
        ("(Port '/run/wshub.sock' Closed)", False),
        ("somebody else's line, starting on time", True),
    ],
)
def test_what_twisted_says_about_ports(text: str, is_written: bool) -> None:
    """The hub has lines of its own about where it listens; others of the kind are somebody's."""
    file = io.StringIO()
    observe(file, "text", {})({**make_event(text, "-"), "log_system": "-"})
    assert (text in file.getvalue()) is is_written
    observe(file, "text", {})(make_event(text, "service /chat"))
    assert text in file.getvalue()


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_levels(log_format: str) -> None:
    """A service is as quiet as it is told to be, and nobody else."""
    file = io.StringIO()
    observer = observe(file, log_format, {"/chat": "warn"})
    for namespace, level in (
        ("service /chat", "info"),
        ("service /chat", "warn"),
        ("service /chat", "error"),
        ("service /chat/more", "info"),
        ("wshub", "info"),
    ):
        observer(make_event("{n} {l}.", namespace, level, n=namespace, l=level))
    observer(make_event("started", service="/chat"))
    lines = file.getvalue().splitlines()
    assert len(lines) == 4
    for line, said in zip(lines, ("chat warn.", "chat error.", "/chat/more info.", "wshub info."), strict=True):
        assert said in line


@pytest.mark.parametrize(
    ("environ", "is_a_terminal", "wanted"),
    [
        ({"TERM": "xterm"}, True, True),
        ({"TERM": "xterm"}, False, False),
        ({"TERM": "xterm", "NO_COLOR": "1"}, True, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, True, False),
        ({}, True, False),
    ],
)
def test_colours(environ: dict[str, str], is_a_terminal: bool, wanted: bool) -> None:
    """There are colours on a terminal that has them, unless NO_COLOR says otherwise; and not on what is usual."""
    stream = io.StringIO()
    stream.isatty = lambda: is_a_terminal  # type: ignore[method-assign]
    assert wants_colours(stream, environ) == wanted
    observer = observe(stream, "text", {}, wanted)
    observer(make_event("grave", level="error"))
    observer(make_event("usual"))
    grave, usual = stream.getvalue().splitlines()
    assert grave.startswith("\x1b[31m") == grave.endswith("\x1b[0m") == wanted
    assert "\x1b" not in usual


def test_a_daemon_writes_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reactor: FakeReactor) -> None:
    """As twistd would: to twistd.log or the --logfile, which SIGUSR1 rotates."""
    monkeypatch.chdir(tmp_path)
    handlers: dict[int, Any] = {}
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    reactor.callFromThread = lambda call: call()  # type: ignore[attr-defined]
    for options, name in (({"logfile": None, "nodaemon": 0}, "twistd.log"), ({"logfile": "a", "nodaemon": 1}, "a")):
        observer = make_observer("json", {}, options, reactor)
        assert observer is not None
        observer(make_event("one"))
        handlers[signal.SIGUSR1](signal.SIGUSR1, None)
        observer(make_event("two"))
        assert json.loads((tmp_path / f"{name}.1").read_text())["message"] == "one"
        assert json.loads((tmp_path / name).read_text())["message"] == "two"
        observer._outFile.close()  # type: ignore[attr-defined]


def test_somebody_elses_log(reactor: FakeReactor) -> None:
    """Who has chosen another logger gets that; and without a daemon it is standard output."""
    for options in ({"logger": print}, {"syslog": 1}, {"logfile": "-", "nodaemon": 0}):
        assert make_observer("text", {}, options, reactor) is None
    for name in (None, "", "-"):
        observer = make_observer("text", {}, {"logfile": name, "nodaemon": 1}, reactor)
        assert observer is not None
        assert observer._outFile is sys.stdout  # type: ignore[attr-defined]


def test_events_as_they_are() -> None:
    """What Twisted's logger makes is what the formats read."""
    file = io.StringIO()
    observer = observe(file, "json", {})
    globalLogPublisher.addObserver(observer)
    try:
        Logger(namespace="service /echo").warn("{line}", line="hello")
    finally:
        globalLogPublisher.removeObserver(observer)
    entry = json.loads(file.getvalue())
    assert (entry["level"], entry["service"], entry["message"]) == ("warn", "/echo", "hello")
    assert "line" not in entry
