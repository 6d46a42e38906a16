"""What `wshub dev` serves with, and how its log looks."""

import argparse
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from twisted.internet.address import IPv4Address
from twisted.logger import LogLevel

from wshub.commands.dev import add_arguments, format_line, make_settings, prepare
from wshub.config import Settings
from wshub.errors import ConfigError
from wshub.routing import ServiceFolder
from wshub.terminal import Style


def parse(*words: str) -> argparse.Namespace:
    """The arguments of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


def test_settings(tmp_path: Path) -> None:
    """Only this machine, an admin interface, short times; a file's settings come before these, options before both."""
    settings = make_settings(parse(str(tmp_path)))
    assert (settings.document_root, settings.host, settings.port) == (tmp_path.resolve(), "127.0.0.1", ("12345",))
    assert settings.admin == "tcp:0:interface=127.0.0.1"
    assert settings.stop_timeout < 1
    assert settings.drain_timeout < 10
    file = tmp_path / "wshub.toml"
    file.write_text('document_root = "."\nport = 1\nhost = "::1"\ndrain_timeout = 7\n')
    settings = make_settings(parse("-c", str(file), "-p", "2"))
    assert (settings.host, settings.port, settings.drain_timeout) == ("::1", ("2",), 7.0)
    assert make_settings(parse("-c", str(file), "-o", "0.0.0.0")).host == "0.0.0.0"


def test_no_such_folder(tmp_path: Path) -> None:
    """A mistake is one sentence."""
    with pytest.raises(ConfigError, match="there is no folder"):
        make_settings(parse(str(tmp_path / "missing")))


def line(text: str, namespace: str = "wshub", level: LogLevel = LogLevel.info, enabled: bool = False) -> str | None:
    """A line of the log, without its time."""
    written = format_line(
        Style(enabled), {"log_format": text, "log_namespace": namespace, "log_level": level, "log_time": 0.0}
    )
    return written and written.partition(" ")[2]


@pytest.mark.parametrize(
    ("text", "namespace", "level", "shown"),
    [
        ("reloaded /a in 0.08 s", "wshub", LogLevel.info, "reloaded /a in 0.08 s\n"),
        ("hello", "service /a", LogLevel.info, "/a | hello\n"),
        ("services are in /x", "wshub", LogLevel.info, None),
        ("console: http://127.0.0.1:1/#token=x", "wshub", LogLevel.info, None),  # printed already
        ("services run as root: give", "wshub", LogLevel.warn, None),
        ("PortFactory starting", "-", LogLevel.info, None),
        ("Unhandled", "twisted", LogLevel.critical, "Unhandled\n"),
    ],
)
def test_lines(text: str, namespace: str, level: LogLevel, shown: str | None) -> None:
    """Who says what; what only concerns those who run a hub is left out."""
    assert line(text, namespace, level) == shown


def test_colours() -> None:
    """Errors are red, a reload is green."""
    assert line("no", level=LogLevel.error, enabled=True) == "\x1b[31mno\x1b[0m\n"
    assert line("reloaded /a", enabled=True) == "\x1b[32mreloaded /a\x1b[0m\n"


def test_where_it_is_with_tls(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A hub whose settings name a certificate is where https leads, and its services where wss does."""
    services = SimpleNamespace(tree=SimpleNamespace(folder=ServiceFolder(tmp_path)))
    port = SimpleNamespace(getHost=lambda: IPv4Address("TCP", "127.0.0.1", 8443))
    hub: Any = SimpleNamespace(ports=[port], supervisor=services, admin=SimpleNamespace(console_url=None))
    started: list[Any] = []
    reactor = SimpleNamespace(callWhenRunning=started.append, addSystemEventTrigger=lambda *_: None)
    for file, scheme in ((None, "http"), (tmp_path, "https")):
        settings = Settings(document_root=tmp_path, port=("8443",), tls_cert=file, tls_key=file)
        prepare(settings, False, reactor, hub)
        assert f" at {scheme}://127.0.0.1:8443/; " in capsys.readouterr().out
        assert started.pop().__self__._base == scheme.replace("http", "ws") + "://127.0.0.1:8443"
