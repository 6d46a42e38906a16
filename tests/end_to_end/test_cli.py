"""The command `wshub` against a real hub, in pipes and in a terminal."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect

from .harness import WAIT, HubProcess, closed_with, processes_in

StartHub = Callable[..., HubProcess]
WSHUB = [sys.executable, "-m", "wshub"]

CLOSER = """
    import wshub

    class Service(wshub.Service):
        def on_request(self, request):
            if request.query == "no":
                raise wshub.Refuse(401, "Who are you?", {"WWW-Authenticate": "Bearer"})

        def on_message(self, client, data):
            client.close(int(data) if isinstance(data, str) else 4000, "as you like")
"""


def run(*words: str, folder: Path | None = None, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
    """Run a command until it exits."""
    return subprocess.run([*WSHUB, *words], cwd=folder, input=stdin, capture_output=True, timeout=3 * WAIT, check=False)


@pytest.fixture
def url(hub: HubProcess) -> str:
    """The URL of the module's hub, with a service that closes."""
    hub.save("closer.py", CLOSER)
    return hub.url("")


class Terminal:
    """A command in a terminal of its own."""

    def __init__(self, *words: str, folder: Path | None = None) -> None:
        self.seen = b""
        self.fd, child = pty.openpty()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *WSHUB, *words],  # so that Ctrl-C is a signal for all that run there
            stdin=child,
            stdout=child,
            stderr=child,
            cwd=folder,
        )
        os.close(child)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until what is on the screen has `pattern`."""
        deadline = time.monotonic() + WAIT
        while not (match := re.search(pattern, self.seen.decode(errors="replace"))):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, self.seen
            try:
                self.seen += os.read(self.fd, 1 << 16)
            except OSError:  # the other end is closed
                pytest.fail(f"it ended without {pattern!r}: {self.seen!r}")
        return match

    def type(self, text: str) -> None:
        """Type."""
        os.write(self.fd, text.encode())

    def end(self) -> int:
        """Wait for its end; return the exit status."""
        code = self.process.wait(WAIT)
        os.close(self.fd)
        return code


def test_call_in_a_pipe(url: str) -> None:
    """Lines go out as messages, messages come as lines, and nothing else is on stdout."""
    done = run("call", f"{url}/echo", "-n", "3", stdin="one\ntwo\nhé".encode())
    assert (done.returncode, done.stdout.decode(), done.stderr) == (0, "one\ntwo\nhé\n", b"")


def test_call_waits_after_stdin(url: str) -> None:
    """Without a number of messages it waits until nothing comes any more."""
    done = run("call", f"{url}/echo", "-w", "0.5", stdin=b"one\n")
    assert (done.returncode, done.stdout) == (0, b"one\n")


@pytest.mark.parametrize(
    ("options", "stdin", "stdout"), [(["--binary"], b"a\xff\n", b"a\xff\n"), (["--hex"], b"61 ff\n", b"61ff\n")]
)
def test_call_with_bytes(url: str, options: list[str], stdin: bytes, stdout: bytes) -> None:
    """Binary messages, as they are and in hexadecimal."""
    done = run("call", f"{url}/echo", *options, "-n", "1", stdin=stdin)
    assert (done.returncode, done.stdout) == (0, stdout)


@pytest.mark.parametrize(("code", "status"), [(1000, 0), (1001, 0), (1011, 1), (4001, 1)])
def test_call_exits_by_the_close_code(url: str, code: int, status: int) -> None:
    """0 for a close in good order, 1 for any other, which is told on stderr."""
    done = run("call", f"{url}/closer", "-n", "1", stdin=f"{code}\n".encode())
    assert done.returncode == status
    assert done.stderr == (f"closed: {code} as you like\n".encode() if status else b"")


def test_call_refused(url: str) -> None:
    """Status, headers and text of the response are shown, and the exit status is 3."""
    done = run("call", f"{url}/closer?no")
    assert done.returncode == 3
    for text in (b"refused: HTTP 401 Unauthorized\n", b"  WWW-Authenticate: Bearer\n", b"  Who are you?\n"):
        assert text in done.stderr
    assert run("call", f"{url}/missing").stderr.startswith(b"refused: HTTP 404 Not Found\n")


def test_call_nobody_there() -> None:
    """Fault: nobody listens. Seen: where that is, how to start a hub, and status 3."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run("call", f"ws://127.0.0.1:{port}/")
    first, hint = done.stderr.splitlines()
    assert (done.returncode, first) == (3, f"cannot connect to 127.0.0.1:{port}: Connection refused".encode())
    assert b"`wshub serve` starts a hub" in hint


def test_call_connection_lost(start_hub: StartHub) -> None:
    """Fault: the service's process dies while a client is connected. Seen: the client exits with 1 and says 1011."""
    hub = start_hub()
    terminal = Terminal("call", hub.url("/echo"))
    terminal.wait_for("connected")
    terminal.type("hello\r")
    terminal.wait_for("< .*hello")
    os.kill(hub.pid_of("/echo"), signal.SIGKILL)
    terminal.wait_for("closed: 1011 The service died")
    assert terminal.end() == 1


def test_call_in_a_terminal(url: str) -> None:
    """Lines are sent, messages are shown as they come, /ping and /close work, control characters do nothing."""
    terminal = Terminal("call", f"{url}/echo")
    terminal.wait_for("connected; Ctrl-D closes")
    terminal.type("/ping\r")
    terminal.wait_for(r"pong after [\d.]+ ms")
    terminal.type("//slash \x16\x1b[2J\r")
    terminal.wait_for(r"< \x1b\[0m/slash \\x1b\[2J")
    terminal.type("/nonsense\r")
    terminal.wait_for("there are /ping")
    terminal.type("/close 4000 enough\r")
    terminal.wait_for("closed: 4000 enough")
    assert terminal.end() == 1


@pytest.mark.parametrize(("typed", "status"), [("\x04", 0), ("/quit\r", 0), ("\x03", 130)], ids=["D", "quit", "C"])
def test_call_ends(url: str, typed: str, status: int) -> None:
    """Ctrl-D and /quit close in good order; Ctrl-C ends at once, without a traceback."""
    terminal = Terminal("call", f"{url}/echo")
    terminal.wait_for("connected")
    if typed == "\x03":
        terminal.process.send_signal(signal.SIGINT)
    else:
        terminal.type(typed)
    assert terminal.process.wait(WAIT) == status
    terminal.end()
    assert b"Traceback" not in terminal.seen


def test_bench(url: str) -> None:
    """A short load on an echo has messages a second and percentiles."""
    done = run("bench", f"{url}/echo", "-t", "0.5", "-c", "3", "-n", "2")
    assert done.returncode == 0, done.stderr
    assert re.search(rb"messages/s +[\d,]+\n +p50 +[\d.]+ ms\n +p99 +[\d.]+ ms\n +client +\d+ %", done.stdout)


def test_bench_of_large_messages(url: str) -> None:
    """More in flight than all buffers on the way can hold does not stand still."""
    done = run("bench", f"{url}/echo", "-t", "0.5", "-c", "1", "-n", "64", "-s", "100000")
    assert b"messages/s" in done.stdout
    assert b"did not come back" not in done.stdout


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [("/clock", 1, b"this is no echo"), ("/closer", 1, b"connections that ended"), ("/missing", 3, b"")],
)
def test_bench_of_what_is_no_echo(url: str, path: str, status: int, says: bytes) -> None:
    """It says so."""
    done = run("bench", url + path, "-t", "0.5", "-c", "2")
    assert done.returncode == status
    assert says in done.stdout


def test_bench_interrupted(url: str) -> None:
    """Fault: Ctrl-C in the middle. Seen: what was measured so far, status 130, no traceback."""
    terminal = Terminal("bench", f"{url}/echo", "-t", "600")
    terminal.wait_for(r"[1-9][\d,]* messages/s")
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for(r"p99 +[\d.]+ ms[^$]*processor")
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.seen


def test_serve(tmp_path: Path) -> None:
    """From nothing: new, serve, call; Ctrl-C ends it within a second, with status 0 and nothing ugly."""
    assert run("new", "hello", folder=tmp_path).returncode == 0
    terminal = Terminal("serve", "-p", "tcp:0:interface=127.0.0.1", folder=tmp_path)
    port = terminal.wait_for(r"listening: http://127\.0\.0\.1:(\d+)/")[1]
    done = run("call", f"localhost:{port}/hello", "-n", "2", stdin=b"hi\n")
    assert (done.returncode, done.stdout) == (0, b"1 here\nhi\n")
    began = time.monotonic()
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("stopped")
    assert terminal.end() == 0
    assert time.monotonic() - began < 2  # a second, and room for a busy machine
    assert "Traceback" not in terminal.seen.decode()
    assert processes_in(tmp_path) == []


def test_serve_at_a_port_that_is_taken(tmp_path: Path) -> None:
    """Fault: somebody else listens at the port. Seen: one line that names the process; status 1."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        done = run("serve", "-p", str(port), "-o", "127.0.0.1", folder=tmp_path)
    assert done.returncode == 1
    assert f"Address already in use by process {os.getpid()}, ".encode() in done.stderr
    assert done.stderr.count(b"\n") == 1


def test_check_interrupted(tmp_path: Path) -> None:
    """Fault: Ctrl-C while a service starts. Seen: status 130, and no process is left."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "slow.py").write_text("open('began', 'w')\nimport time; time.sleep(60)\n")
    terminal = Terminal("check", folder=tmp_path)
    terminal.wait_for(r"\[1/1\] /slow")
    deadline = time.monotonic() + WAIT
    while not (tmp_path / "services" / "began").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert b"Traceback" not in terminal.seen
    assert processes_in(tmp_path) == []


def test_routes_of_a_hub(hub: HubProcess, tmp_path: Path) -> None:
    """The table has what the hub at a port does, if it serves the same folder; else a line on stderr says why not."""
    hub.save("broken.py", "x = (")
    folder, port = str(hub.folder / "services"), str(hub.port)
    assert hub.upgrade("/broken").status == 500
    with hub.connect("/echo"):
        done = run("routes", "-d", folder, "-p", port)
        listed = json.loads(run("routes", "-d", folder, "-p", port, "--json").stdout)
    rows = {cells[0]: cells[1:] for cells in map(str.split, done.stdout.decode().splitlines())}
    assert (done.returncode, done.stderr) == (0, b"")
    assert rows["URL"] == ["STYLE", "STATE", "CLIENTS", "FILE"]
    assert rows["/echo"][1:] == ["running", "1", "echo.py"]
    assert rows["/broken"][:3] == ["?", "failed", "0"]
    (echo,) = (each for each in listed if each["path"] == "/echo")
    assert (echo["state"], echo["clients"]) == ("running", 1)
    run("new", "other", folder=tmp_path)
    other = run("routes", "-p", port, folder=tmp_path)
    assert other.stderr == f"the hub at port {port} serves other services than these\n".encode()
    assert b"STATE" not in other.stdout


def test_routes_without_a_hub(tmp_path: Path) -> None:
    """What nobody says is not known, which is no fault; a port that is none is one."""
    run("new", "hello", folder=tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    done = run("routes", "-p", str(port), folder=tmp_path)
    assert done.stderr == f"no hub answers at port {port}: what the services are doing is not known\n".encode()
    assert (done.returncode, b"/hello" in done.stdout, b"STATE" in done.stdout) == (0, True, False)
    wrong = run("routes", "-p", "http", folder=tmp_path)
    assert wrong.stderr == b"wshub routes: --port: http is not a port: choose one from 1 to 65535\n"
    assert wrong.returncode == 1


def test_routes_in_a_terminal(tmp_path: Path) -> None:
    """Colours in a terminal, none with NO_COLOR."""
    run("new", "hello", folder=tmp_path)
    terminal = Terminal("routes", folder=tmp_path)
    terminal.wait_for(r"\x1b\[1mURL")
    assert terminal.end() == 0
    os.environ["NO_COLOR"] = "1"
    try:
        terminal = Terminal("routes", folder=tmp_path)
    finally:
        del os.environ["NO_COLOR"]
    terminal.wait_for("(?m)^URL")
    assert terminal.end() == 0


INTERRUPTED = {
    "serve": (("serve", "-p", "tcp:0:interface=127.0.0.1"), "listening: ", 0),
    "call": (("call", "{url}/echo"), "connected", 130),
    "bench": (("bench", "{url}/echo", "-t", "600"), r"[1-9][\d,]* messages/s", 130),
    "check": (("check",), r"\[1/1\] /slow", 130),
}


@pytest.mark.parametrize("command", INTERRUPTED)
def test_ctrl_c(url: str, tmp_path: Path, command: str) -> None:
    """Fault: Ctrl-C is typed, which is a signal for all that runs in the terminal. Seen: the end within a second, and
    no traceback.
    """
    words, pattern, status = INTERRUPTED[command]
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "slow.py").write_text("import time; time.sleep(60)\n")
    terminal = Terminal(*(word.format(url=url) for word in words), folder=tmp_path)
    terminal.wait_for(pattern)
    terminal.type("\x03")
    began = time.monotonic()
    terminal.wait_for(r"\^C[^$]*stopped" if command == "serve" else r"\^C[^$]*\n")
    assert terminal.process.wait(WAIT) == status
    assert time.monotonic() - began < 2  # a second, and room for a busy machine
    terminal.end()
    assert b"Traceback" not in terminal.seen
    assert b"KeyboardInterrupt" not in terminal.seen
    assert processes_in(tmp_path) == []


def test_ctrl_c_with_clients(tmp_path: Path) -> None:
    """Fault: the same while services run, which are in the terminal too. Seen: they are ended in order all the same."""
    (tmp_path / "services").mkdir()
    source = "import wshub\nclass Service(wshub.Service):\n    def on_stop(self):\n        print('in order')\n"
    (tmp_path / "services" / "quiet.py").write_text(source)
    terminal = Terminal("serve", "-p", "tcp:0:interface=127.0.0.1", folder=tmp_path)
    port = terminal.wait_for(r"listening: http://127\.0\.0\.1:(\d+)/")[1]
    with connect(f"ws://127.0.0.1:{port}/quiet", proxy=None) as client:
        terminal.type("\x03")
        assert closed_with(client)[0] == 1001
    terminal.wait_for(r"/quiet#info\] in order[^$]*stopped")
    assert terminal.end() == 0
    assert b"KeyboardInterrupt" not in terminal.seen


def test_terminal_is_closed(tmp_path: Path) -> None:
    """Fault: the terminal of a hub is closed. Seen: the hub ends in order; SIGHUP by anybody else is no end."""
    terminal = Terminal("serve", "-p", "tcp:0:interface=127.0.0.1", folder=tmp_path)
    port = int(terminal.wait_for(r"listening: http://127\.0\.0\.1:(\d+)/")[1])
    with connect(f"ws://127.0.0.1:{port}/echo", proxy=None) as client:
        terminal.process.send_signal(signal.SIGHUP)
        client.send("still there?")
        assert client.recv(WAIT) == "still there?"
        os.close(terminal.fd)
        assert closed_with(client)[0] == 1001
    assert terminal.process.wait(WAIT) == 0
    assert processes_in(tmp_path) == []


def test_quick_commands_in_a_pipe(tmp_path: Path) -> None:
    """No colours and no progress where nobody looks; in a terminal without them either, if NO_COLOR is set."""
    run("new", "hello", folder=tmp_path)
    for words in (("routes",), ("check",), ("new", "again"), ("--help",)):
        done = run(*words, folder=tmp_path)
        assert done.returncode == 0, done.stderr
        assert b"\x1b" not in done.stdout + done.stderr
        assert b"\r" not in done.stdout + done.stderr
