"""Ports that systemd opens and hands over, in the way of sd_listen_fds(3)."""

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from .harness import TWISTD, WAIT, HubProcess, eventually, find_free_port, make_upgrade, read_response

LAUNCHER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="ws", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Does what systemd does: puts the socket where it belongs, and says so to the process that the hub becomes."""

ACTIVATE = shutil.which("systemd-socket-activate")

StartHub = Callable[..., HubProcess]


def hand_over(start_hub: StartHub, listener: socket.socket, *options: str, port: str) -> HubProcess:
    """Start a hub with a socket that listens already."""
    fd = listener.fileno()
    return start_hub(*options, port=port, launcher=(sys.executable, "-c", LAUNCHER, str(fd)), pass_fds=(fd,))


@pytest.mark.parametrize("how", ["name=ws", "index=0"])
def test_restart_with_a_socket_of_systemds(start_hub: StartHub, how: str) -> None:
    """Fault: the hub is restarted while somebody connects. Seen: the connection waits in systemd's socket, and the next
    hub serves it.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        first = hand_over(start_hub, listener, port=f"systemd:domain=INET:{how}")
        assert (first.host, first.port) == listener.getsockname()
        with first.connect("/echo") as client:
            client.send("hello")
            assert client.recv(WAIT) == "hello"
        first.check_end()
        with socket.create_connection(listener.getsockname(), WAIT) as waiting:
            waiting.sendall(make_upgrade("/echo"))
            command = [sys.executable, "-c", LAUNCHER, str(listener.fileno()), TWISTD, "-n", "--pidfile=", "wshub"]
            second = subprocess.Popen(
                [*command, "--port", f"systemd:domain=INET:{how}"], cwd=first.folder, pass_fds=[listener.fileno()]
            )
            try:
                assert read_response(waiting).status == 101
                waiting.close()
                second.terminate()
                assert second.wait(WAIT) == 0
            finally:
                second.kill()
                second.wait(WAIT)


def test_unix_socket_of_systemds(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: what systemd hands over is a Unix socket. Seen: it is served as one, and stays when the hub ends."""
    path = str(tmp_path / "ws")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        hub = hand_over(start_hub, listener, port="systemd:domain=UNIX:name=ws")
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(WAIT)
            connection.connect(path)
            connection.sendall(make_upgrade("/echo"))
            assert read_response(connection).status == 101
        hub.check_end()
        assert os.path.exists(path)


def test_no_socket_of_systemds(tmp_path: Path) -> None:
    """Fault: a hub that is to have a socket of systemd's is started by hand. Seen: it ends with 1 and one line."""
    command = [TWISTD, "-n", "--pidfile=", "wshub", "--port", "systemd:domain=INET:name=ws"]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=WAIT, check=False)
    assert (ended.returncode, ended.stdout) == (1, "")
    (line,) = ended.stderr.splitlines()
    assert line.startswith(
        "twistd wshub: systemd has handed over no socket for systemd:domain=INET:name=ws: is the hub"
    )


@pytest.mark.skipif(
    ACTIVATE is None and os.environ.get("CI") != "true",
    reason="no systemd-socket-activate here: install the package systemd (Debian's name for it)",
)
def test_hub_starts_with_its_first_client(tmp_path: Path) -> None:
    """Fault: there is no hub yet when a client connects to the port that systemd has opened. Seen: it is started, and
    serves the client.
    """
    assert ACTIVATE, "CI must have a systemd-socket-activate: install the package systemd"
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "echo.py").write_text("import wshub\nclass Service(wshub.Service): pass\n")
    port = find_free_port()
    command = [TWISTD, "-n", "--pidfile=", "wshub", "-d", str(tmp_path / "services")]
    process = subprocess.Popen(
        [ACTIVATE, f"--listen=127.0.0.1:{port}", "--fdname=ws", *command, "--port", "systemd:domain=INET:name=ws"],
        cwd=tmp_path,
    )
    try:
        with eventually(lambda: try_to_connect(port), "systemd listens") as connection:
            connection.sendall(make_upgrade("/echo"))
            assert read_response(connection).status == 101
        process.terminate()
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait(WAIT)


def try_to_connect(port: int) -> socket.socket | None:
    """A connection to a port of this machine, if somebody listens there."""
    try:
        return socket.create_connection(("127.0.0.1", port), WAIT)
    except ConnectionRefusedError:
        return None
