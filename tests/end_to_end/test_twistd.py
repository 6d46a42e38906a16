"""The command line: help, mistakes, the daemon, the file of settings, where it listens."""

import os
import re
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect, unix_connect

import wshub

from .harness import LOOPBACK, TWISTD, WAIT, HubProcess, closed_with, eventually, find_free_port, processes_in

StartHub = Callable[..., HubProcess]


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run twistd in `folder` until it exits."""
    return subprocess.run(
        [TWISTD, *arguments],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )


def test_help(tmp_path: Path) -> None:
    """twistd knows wshub, and wshub its options; so does its version."""
    listing = run(tmp_path, "--help")
    assert listing.returncode == 0
    assert re.search(r"^ +wshub +A hub of WebSocket services", listing.stdout, re.M)
    for option in ("--help", "-h"):
        own = run(tmp_path, "wshub", option)
        assert own.returncode == 0
        for name in ("--port", "--host", "--document-root", "--html", "--config", "--compression", "--origin"):
            assert name in own.stdout
        assert own.stderr == ""
    assert run(tmp_path, "wshub", "--version").stdout == f"wshub {wshub.__version__}\n"


@pytest.mark.parametrize(
    "options",
    [["--bogus"], ["-d", "missing"], ["-c", "bad.toml"], ["--port", "unix:/no/such/folder/socket"]],
    ids=["option", "folder", "config", "endpoint"],
)
def test_mistakes_are_one_line(tmp_path: Path, options: list[str]) -> None:
    """A wrong option or setting ends it before it begins, with one line on stderr and an exit code that is not 0."""
    (tmp_path / "services").mkdir()
    (tmp_path / "bad.toml").write_text("port = [\n")
    check_mistake(tmp_path, options, daemon=False)


def test_taken_port_is_one_line(tmp_path: Path) -> None:
    """So does a port that somebody else has, as a daemon too, with its number in the line."""
    (tmp_path / "services").mkdir()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for daemon in (False, True):
            line = check_mistake(tmp_path, ["--host", "127.0.0.1", "--port", port], daemon)
            assert port in line


def check_mistake(folder: Path, options: list[str], daemon: bool) -> str:
    """Assert that these options end it as they should; return the line."""
    done = run(folder, *([] if daemon else ["-n"]), "--pidfile=hub.pid", "--logfile=hub.log", "wshub", *options)
    assert done.returncode != 0
    lines = done.stderr.splitlines()
    assert len(lines) == 1, done.stderr
    assert lines[0].startswith("twistd wshub: ")
    assert "Traceback" not in done.stdout
    assert not (folder / "hub.pid").exists()
    assert not processes_in(folder)
    return lines[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every folder")
def test_unreadable_folder(tmp_path: Path) -> None:
    """A folder that may not be read is one line too."""
    (tmp_path / "services").mkdir(mode=0)
    check_mistake(tmp_path, ["-d", "services"], daemon=False)


def test_daemon(tmp_path: Path) -> None:
    """Without -n it is a daemon with a pid file and a log file, serves, and stops by the pid."""
    (tmp_path / "services").mkdir()
    shutil.copy(Path(__file__).parents[2] / "services" / "echo.py", tmp_path / "services")
    done = run(tmp_path, "wshub", "--port", LOOPBACK)
    assert (done.returncode, done.stderr) == (0, "")
    log = tmp_path / "twistd.log"
    try:
        pid = int(eventually(lambda: read(tmp_path / "twistd.pid"), "pid file"))
        port = eventually(lambda: re.search(r"listening: http://127.0.0.1:(\d+)/", read(log)), "listening")[1]
        with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as client:
            client.send("from afar")
            assert client.recv(WAIT) == "from afar"
            assert os.readlink(f"/proc/{pid}/cwd") == str(tmp_path)
        os.kill(pid, signal.SIGTERM)
        eventually(lambda: not processes_in(tmp_path), "all gone")
        assert not (tmp_path / "twistd.pid").exists()
        assert not re.search("Traceback|Unhandled", read(log))
        assert "stopped" in read(log)
    finally:
        for process in processes_in(tmp_path):
            os.kill(process, signal.SIGKILL)


def read(file: Path) -> str:
    """The text of a file, empty if there is none yet."""
    return file.read_text() if file.exists() else ""


def test_config_and_the_command_line_over_it(start_hub: StartHub, tmp_path: Path) -> None:
    """Settings come from the file, relative paths from its folder, and the command line overrides them."""
    conf = tmp_path / "conf"
    (conf / "mine").mkdir(parents=True)
    (conf / "mine" / "only.py").write_text(
        "import wshub\nclass Service(wshub.Service):\n    def on_message(self, c, d): c.send(d)\n"
    )
    (conf / "mine" / "echo.py").write_text((conf / "mine" / "only.py").read_text())
    (conf / "pages").mkdir()
    (conf / "pages" / "index.html").write_text("from the file")
    (conf / "wshub.toml").write_text(
        'port = "tcp:1:interface=127.0.0.1"\n'  # overridden
        'document_root = "mine"\n'
        'html = "pages"\n'
        "compression = true\n"
        'max_message_size = "1KiB"\n'
        'origins = ["http://friend.example"]\n'
        "handshake_timeout = 0.3\n"
    )
    hub = start_hub("-c", "conf/wshub.toml", "--max-message-size", "2KiB")
    assert hub.get("/").body == b"from the file"
    assert hub.upgrade("/clock").status == 404
    assert hub.upgrade("/only", origin="http://friend.example").status == 101
    assert hub.upgrade("/only", origin="http://foe.example").status == 403
    with hub.connect("/only", compression="deflate") as client:
        assert client.response is not None
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        client.send("x" * 2048)
        assert client.recv(WAIT) == "x" * 2048
    with hub.open_socket() as silent:
        silent.sendall(b"GET / HTTP/1.1\r\n")
        try:
            assert silent.recv(1000).partition(b"\r\n")[0] in (b"", b"HTTP/1.1 408 Request Timeout")
        except ConnectionResetError:
            pass
    hub.check_nothing_leaked()


def test_endpoints(tmp_path: Path) -> None:
    """It listens at several endpoints at once: an IPv6 address, a Unix socket, a port of the loopback interface."""
    hub = HubProcess(tmp_path, "--port", "unix:hub.socket", "--port", "tcp6:0:interface=\\:\\:1")
    try:
        with unix_connect(str(hub.folder / "hub.socket"), "ws://localhost/echo") as client:
            client.send("by socket")
            assert client.recv(WAIT) == "by socket"
        port = hub.wait_for_log(r"listening: http://\[::1\]:(\d+)/")[1]
        with connect(f"ws://[::1]:{port}/echo", proxy=None) as client:
            client.send("by IPv6")
            assert client.recv(WAIT) == "by IPv6"
        with hub.connect("/echo") as client:
            client.send("by IPv4")
            assert client.recv(WAIT) == "by IPv4"
    finally:
        hub.check_end()
    assert not (hub.folder / "hub.socket").exists()


def test_host(tmp_path: Path) -> None:
    """--host is the address at which port numbers listen, an IPv6 one too."""
    port = find_free_port()
    hub = HubProcess(tmp_path, "--host", "::1", port=str(port))
    try:
        assert (hub.host, hub.port) == ("::1", port)
        with hub.connect("/echo") as client:
            client.send("by IPv6")
            assert client.recv(WAIT) == "by IPv6"
    finally:
        hub.check_end()


def test_examples_are_served_where_there_is_no_folder(tmp_path: Path) -> None:
    """Without ./services the packaged examples are served."""
    hub = HubProcess(tmp_path, bring_services=False)
    assert "/demo_chatroom" in hub.list_services()
    with hub.connect("/echo") as client:
        client.send("an example")
        assert client.recv(WAIT) == "an example"
    hub.check_end()


def test_compression(start_hub: StartHub) -> None:
    """With --compression deflate is agreed to, messages survive it, and a bomb is closed with 1009."""
    hub = start_hub("--compression")
    with hub.connect("/echo", compression="deflate") as client:
        assert client.response is not None
        assert "permessage-deflate" in client.response.headers["Sec-WebSocket-Extensions"]
        for message in ("again and again " * 1000, b"", bytes(range(256)) * 100, ["frag", "ments ", "of it"]):
            client.send(message)
            assert client.recv(WAIT) == ("".join(message) if isinstance(message, list) else message)
    with hub.connect("/echo", compression="deflate") as client:
        client.send(bytes(8 << 20))
        assert closed_with(client)[0] == 1009
    with hub.connect("/echo") as client:
        client.send("without")
        assert client.recv(WAIT) == "without"
    hub.check_nothing_leaked()
