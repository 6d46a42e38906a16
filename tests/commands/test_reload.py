"""Where `wshub reload` finds the hub, and how it says what came of it."""

import argparse
from pathlib import Path

import pytest

from wshub.commands.connection import NOT_CONNECTED
from wshub.commands.reload import TOKEN, UnixConnection, add_arguments, connect, describe, find_admin, run
from wshub.errors import ConfigError
from wshub.terminal import Style


def parse(*words: str) -> argparse.Namespace:
    """The arguments of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args(words)


@pytest.mark.parametrize(
    ("admin", "host", "port"),
    [
        ("9187", "127.0.0.1", 9187),
        ("tcp:9187:interface=10.0.0.1", "10.0.0.1", 9187),
        ("tcp:9187", "127.0.0.1", 9187),
        ("tcp:port=9187", "127.0.0.1", 9187),
        (r"tcp6:9187:interface=\:\:1", "::1", 9187),
        (r"tcp6:9187:interface=\:\:", "::1", 9187),
    ],
)
def test_ports(admin: str, host: str, port: int) -> None:
    """An endpoint to listen at is one to connect to; one for every address is one of this machine's."""
    connection = connect(admin)
    assert (connection.host, connection.port) == (host, port)


@pytest.mark.parametrize("admin", ["unix:/run/admin", "unix:/run/admin:mode=660", "unix:address=/run/admin"])
def test_unix_sockets(admin: str) -> None:
    """A path, with or without what only whoever listens needs."""
    connection = connect(admin)
    assert isinstance(connection, UnixConnection)
    assert connection._path == "/run/admin"


@pytest.mark.parametrize("admin", ["99999", "ssl:1:privateKey=x", "tcp:http", "unix"])
def test_what_cannot_be_connected_to(admin: str) -> None:
    """One sentence."""
    with pytest.raises(ConfigError, match="admin"):
        connect(admin)


def test_where_the_hub_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The option, else the file; the token is the file's, else the environment's."""
    monkeypatch.setenv(TOKEN, "from the environment")
    assert find_admin(parse("--admin", "1")) == ("1", "from the environment")
    file = tmp_path / "wshub.toml"
    file.write_text('admin = "2"\n')
    assert find_admin(parse("-c", str(file))) == ("2", "from the environment")
    file.write_text('admin = "2"\nadmin_token = "from-the-file-16"\n')
    assert find_admin(parse("-c", str(file), "--admin", "3")) == ("3", "from-the-file-16")
    with pytest.raises(ConfigError, match="--admin"):
        find_admin(parse())


@pytest.mark.parametrize(
    ("result", "clients", "handed_over", "text"),
    [
        ("reloaded", 0, False, "/a: reloaded in 0.50 s"),
        ("reloaded", 2, True, "/a: reloaded in 0.50 s; 2 clients handed over"),
        ("reloaded", 1, False, "/a: reloaded in 0.50 s; 1 client still with the old process"),
        ("failed", 1, False, r"/a: failed: why\x1b; if it ran, the old process stays"),
        ("removed", 0, False, "/a: it has no file any more"),
        ("removed", 1, False, "/a: it has no file any more; 1 client still there"),
        ("superseded", 0, False, "/a: not any more: there is a newer version"),
        ("something new", 0, False, "/a: something new"),
    ],
)
def test_lines(result: str, clients: int, handed_over: bool, text: str) -> None:
    """A line for each outcome, without control characters."""
    outcome = {"service": "/a", "result": result, "why": "why\x1b", "seconds": 0.5, "clients": clients}
    assert describe({**outcome, "handed_over": handed_over}, Style(False)) == text


@pytest.mark.parametrize("body", ["[]", "1", "{}", "no", '{"services": null}'])
def test_what_is_no_hub(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], body: str) -> None:
    """Somebody else listens there, and says something else: one line."""
    monkeypatch.setattr("wshub.commands.reload.post", lambda *_: (200, body))
    assert run(parse("--admin", "1")) == NOT_CONNECTED
    assert capsys.readouterr().err.count("\n") == 1
