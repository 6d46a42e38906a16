"""Seeing what a hub does: its admin interface, its log, and what systemd hears of it, while things go wrong."""

import http.client
import json
import os
import pty
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from websockets.sync.client import connect

from .harness import LOOPBACK, TWISTD, WAIT, HubProcess, closed_with, eventually, find_free_port, processes_in

StartHub = Callable[..., HubProcess]
Sample = tuple[str, tuple[str, ...]]

ADMIN = "unix:admin"
TCP_ADMIN = "tcp:0:interface=127.0.0.1"


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=WAIT)
        self._path = path

    def connect(self) -> None:
        """Connect to the path instead of a host."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(WAIT)
        self.sock.connect(str(self._path))


def ask(connection: http.client.HTTPConnection, page: str, token: str = "") -> tuple[int, str]:
    """Status and body of a page."""
    connection.request("GET", page, headers={"Authorization": f"Bearer {token}"} if token else {})
    with connection.getresponse() as response:
        answer = response.status, response.read().decode()
    connection.close()
    return answer


def ask_hub(hub: HubProcess, page: str) -> tuple[int, str]:
    """The same of a hub whose interface is at `ADMIN`."""
    return ask(UnixConnection(hub.folder / "admin"), page)


def look_at(hub: HubProcess, path: str) -> dict[str, Any]:
    """What the interface says of a service."""
    services: list[dict[str, Any]] = json.loads(ask_hub(hub, "/services")[1])["services"]
    return next(each for each in services if each["path"] == path)


def is_not_service(label: tuple[str, str]) -> bool:
    """Whether a label, a name and a value, comes after that of the service."""
    return label[0] != "service"


def measure(hub: HubProcess) -> dict[Sample, float]:
    """The metrics, each by its name and the values of its labels, that of `service` first."""
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items(), key=is_not_service))): sample.value
        for family in text_string_to_metric_families(ask_hub(hub, "/metrics")[1])
        for sample in family.samples
    }


def test_what_happened_is_seen(start_hub: StartHub) -> None:
    """Clients, messages, closes and refusals are counted where they belong, and a process uses what it does use."""
    hub = start_hub("--admin", ADMIN)
    with hub.connect("/echo") as client:
        for _ in range(3):
            client.send("hello")
            client.recv(WAIT)
        during = measure(hub)
        assert during["wshub_clients", ("/echo",)] == 1
        assert during["wshub_connections", ()] == 1
        service = look_at(hub, "/echo")
        assert service["pid"] == hub.pid_of("/echo")
        assert (service["state"], service["clients"], service["received"], service["sent"]) == ("running", 1, 3, 3)
        assert 1 << 20 < service["memory"] < 64 << 20
        assert 0 < service["cpu"] < WAIT
        client.close(4321)
    hub.upgrade("/nowhere")
    eventually(lambda: look_at(hub, "/echo")["closed"] == {"4321": 1}, "the close is counted")
    after = measure(hub)
    assert after["wshub_closed_total", ("/echo", "4xxx")] == 1
    assert after["wshub_refused_total", ("", "not found")] == 1
    assert after["wshub_service_state", ("/echo", "running")] == 1
    assert after["wshub_ready", ()] == 1
    assert 1 << 20 < after["wshub_memory_bytes", ()] < 256 << 20


def test_only_the_hubs_user_reaches_the_socket(start_hub: StartHub) -> None:
    """Fault: another user of the machine looks for the interface. Seen: the socket's mode is 0600, the socket goes with
    the hub, and the port of the services has none of it."""
    hub = start_hub("--admin", ADMIN)
    path = hub.folder / "admin"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    for page in ("/metrics", "/services", "/healthz", "/readyz"):
        assert hub.get(page).status == 404
    assert hub.stop() == 0
    assert not path.exists()


def test_without_the_token_nothing_is_told(start_hub: StartHub) -> None:
    """Fault: a program of another user asks at the loopback port, without the token. Seen: 401, and not a figure."""
    hub = start_hub("--admin", TCP_ADMIN)
    port, token = hub.wait_for_log(
        r"admin interface: http://127\.0\.0\.1:(\d+)/, with Authorization: Bearer (\S+)"
    ).groups()
    for wrong in ("", "guess", token[:-1]):
        for page in ("/metrics", "/services"):
            status, body = ask(http.client.HTTPConnection("127.0.0.1", int(port), WAIT), page, wrong)
            assert (status, "wshub_" in body, "echo" in body) == (401, False, False)
    for page, content in (("/metrics", "wshub_info"), ("/services", "/echo")):
        status, body = ask(http.client.HTTPConnection("127.0.0.1", int(port), WAIT), page, token)
        assert status == 200
        assert content in body
    assert ask(http.client.HTTPConnection("127.0.0.1", int(port), WAIT), "/readyz")[0] == 200


def test_only_the_consoles_own_pages_may_connect(start_hub: StartHub) -> None:
    """Fault: a page of another site connects to a service, or asks the interface by a name that leads to this machine.
    Seen: 403, and 421; the console's own pages, at both of its names, may connect."""
    hub = start_hub("--admin", TCP_ADMIN)
    port, token = map(str, hub.wait_for_log(r"console: http://127\.0\.0\.1:(\d+)/#token=(\S+)").groups())
    for origin, status in (
        (f"http://127.0.0.1:{port}", 101),
        (f"http://localhost:{port}", 101),
        (f"http://127.0.0.1:{int(port) + 1}", 403),
        (f"https://127.0.0.1:{port}", 403),
        (f"http://evil.example:{port}", 403),
        (f"http://127.0.0.1:{port}.evil.example", 403),
        ("null", 403),
    ):
        assert hub.upgrade("/echo", f"Origin: {origin}\r\n").status == status, origin
    headers = {"Authorization": f"Bearer {token}", "Host": f"evil.example:{port}"}
    for page in ("/services", "/", "/console/main.js", "/readyz"):
        connection = http.client.HTTPConnection("127.0.0.1", int(port), WAIT)
        connection.request("GET", page, headers=headers)
        with connection.getresponse() as response:
            assert (response.status, b"echo" in response.read()) == (421, False)
        connection.close()


def test_a_flood_of_output_is_bounded(start_hub: StartHub) -> None:
    """Fault: a service writes lines without end. Seen: the interface answers at once, with the last lines, and the
    hub's memory does not grow."""
    hub = start_hub("--admin", ADMIN)
    hub.save(
        "flood.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                for number in range(int(data)):
                    print(number, "x" * 200)
                client.send("done")
        """,
    )

    def flood(client: Any, lines: int) -> dict[str, Any]:
        client.send(str(lines))
        assert client.recv(3 * WAIT) == "done"
        return eventually(
            lambda: (
                (it := json.loads(ask_hub(hub, "/recent?service=/flood")[1]))["output"]
                and it["output"][-1]["text"].startswith(f"{lines - 1} ")
                and it
            ),
            "the last line is there",
            3 * WAIT,
        )

    with hub.connect("/flood") as client:
        flood(client, 2000)
        before = measure(hub)["wshub_memory_bytes", ()]
        recent = flood(client, 20_000)
        assert recent["output_total"] == 22_000
        assert 100 < len(recent["output"]) <= 500
        assert sum(len(line["text"]) for line in recent["output"]) <= 64 << 10
        assert measure(hub)["wshub_memory_bytes", ()] - before < 2 << 20
        assert json.loads(ask_hub(hub, f"/recent?service=/flood&after={recent['last']}")[1])["output"] == []


def test_an_open_interface_without_a_token_does_not_start(tmp_path: Path) -> None:
    """Fault: the interface is set to listen at every address, and a token is forgotten. Seen: one line, exit code 1."""
    (tmp_path / "services").mkdir()
    done = subprocess.run(
        [TWISTD, "-n", "--pidfile=", "wshub", "--port", LOOPBACK, "--admin", "tcp:0"],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=WAIT,
        check=False,
    )
    assert done.returncode == 1
    assert re.fullmatch(r"twistd wshub: admin: .* set admin_token, .*\n", done.stderr)


def test_a_killed_service_is_seen(start_hub: StartHub) -> None:
    """Fault: a service is killed, as by the kernel. Seen: a death with its signal, and then another process."""
    hub = start_hub("--admin", ADMIN)
    with hub.connect("/echo") as client:
        first = look_at(hub, "/echo")["pid"]
        os.kill(first, signal.SIGKILL)
        assert closed_with(client)[0] == 1011
    eventually(lambda: look_at(hub, "/echo")["deaths"] == {"it ended by signal SIGKILL": 1}, "the death is counted")
    service = look_at(hub, "/echo")
    assert (service["pid"], service["memory"], service["restarts"]) == (None, None, 0)
    samples = measure(hub)
    assert samples["wshub_deaths_total", ("/echo", "it ended by signal SIGKILL")] == 1
    assert ("wshub_service_memory_bytes", ("/echo",)) not in samples
    with hub.connect("/echo") as client:
        client.send("again")
        assert client.recv(WAIT) == "again"
        service = look_at(hub, "/echo")
    assert service["restarts"] == 1
    assert service["pid"] not in (None, first)


def test_a_service_that_does_not_start_is_seen(start_hub: StartHub) -> None:
    """Fault: a service has a mistake in it. Seen: its state, and the last line of the traceback."""
    hub = start_hub("--admin", ADMIN)
    hub.may_fail.add("/broken")
    hub.save("broken.py", "import wshub\nunknown_name\n")
    assert hub.upgrade("/broken").status == 500
    service = eventually(lambda: (it := look_at(hub, "/broken"))["last_error"] and it, "the error is known")
    assert (service["state"], service["last_error"]) == ("failed", "NameError: name 'unknown_name' is not defined")
    assert measure(hub)["wshub_service_state", ("/broken", "failed")] == 1


def test_a_hook_that_raises_is_seen(start_hub: StartHub) -> None:
    """Fault: a hook raises, and the service lives on. Seen: the last line of the traceback, and 1011 in the counts."""
    hub = start_hub("--admin", ADMIN)
    hub.may_fail.add("/raises")
    hub.save(
        "raises.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                raise ValueError(data)
        """,
    )
    with hub.connect("/raises") as client:
        client.send("on purpose")
        assert closed_with(client)[0] == 1011
    eventually(lambda: look_at(hub, "/raises")["last_error"] == "ValueError: on purpose", "the error is known")
    assert look_at(hub, "/raises")["closed"] == {"1011": 1}


def test_ready_is_when_the_eager_services_run(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: an eager service dies and does not come back. Seen: /readyz is 503 and names it; the hub still answers."""
    (tmp_path / "services").mkdir()
    gate = tmp_path / "gate"
    (tmp_path / "services" / "needed.py").write_text(
        "import os, time, wshub\n"
        f"while not os.path.exists({str(gate)!r}): time.sleep(0.01)\n"
        "class Service(wshub.Service): pass\n"
    )
    (tmp_path / "wshub.toml").write_text(f'eager = "/needed"\nadmin = "{ADMIN}"\n')
    hub = start_hub("-c", "wshub.toml")
    assert ask_hub(hub, "/readyz") == (503, "Not ready: /needed is starting.\n")
    gate.write_text("")
    eventually(lambda: ask_hub(hub, "/readyz")[0] == 200, "it is ready")
    gate.unlink()
    os.kill(hub.pid_of("/needed"), signal.SIGKILL)
    _, body = eventually(lambda: (answer := ask_hub(hub, "/readyz"))[0] == 503 and answer, "it is not ready")
    assert re.fullmatch(r"Not ready: /needed is (idle|starting|crashing)\.\n", body)
    assert ask_hub(hub, "/healthz")[0] == 200
    gate.write_text("")
    eventually(lambda: ask_hub(hub, "/readyz")[0] == 200, "it is ready again")


def test_a_hub_that_stops_is_not_ready(start_hub: StartHub) -> None:
    """Fault: a balancer still sends clients to a hub that stops. Seen: /readyz says 503 until the last service ends."""
    hub = start_hub("--admin", ADMIN)
    hub.save(
        "lingering.py",
        """
        import time
        import wshub

        class Service(wshub.Service):
            def on_stop(self):
                time.sleep(1)
        """,
    )
    with hub.connect("/lingering"):
        assert ask_hub(hub, "/readyz")[0] == 200
    hub.process.send_signal(signal.SIGTERM)
    hub.wait_for_log(r"\] stopping")
    assert ask_hub(hub, "/readyz") == (503, "Not ready: the hub is starting or stopping.\n")
    assert ask_hub(hub, "/healthz")[0] == 200
    assert hub.wait() == 0


def test_a_client_that_floods_makes_no_labels(start_hub: StartHub) -> None:
    """Fault: a client asks for many paths and closes with many codes. Seen: the metrics grow by a few lines."""
    hub = start_hub("--admin", ADMIN)
    for number in range(30):
        hub.upgrade(f"/made-up-{number}")
        with hub.connect("/echo") as client:
            client.close(4000 + number)
    eventually(lambda: measure(hub).get(("wshub_closed_total", ("/echo", "4xxx"))) == 30, "all are counted")
    text = ask_hub(hub, "/metrics")[1]
    assert "made-up" not in text
    assert len(re.findall(r"^wshub_(?:closed|refused)_total", text, re.M)) == 2


# The log.

SAYS = """
    import logging
    import wshub

    class Service(wshub.Service):
        def on_message(self, client, data):
            print("printed", data)
            logging.getLogger("author").warning("warned of %s", data)
            client.send("done")
"""


def say(hub: HubProcess, what: str, path: str = "/says") -> None:
    """Let a service write to the log, and wait until it has."""
    hub.save(f"{path[1:]}.py", SAYS)
    with hub.connect(path) as client:
        client.send(what)
        assert client.recv(WAIT) == "done"
    hub.wait_for_log(f"warned of {what[:4]}")


def test_every_websocket_is_a_line(start_hub: StartHub) -> None:
    """Fault: a client closes with a reason that would clear the screen and forge a line. Seen: one line, all of it
    readable; a record of the service's has its own level."""
    hub = start_hub()
    with hub.rude_client("/echo") as client:
        client.send_frame(client.CLOSE, (4321).to_bytes(2, "big") + b"\x1b[2J\n[wshub#info] forged")
        client.read_close()
    line = hub.wait_for_log(r"\[wshub#info\] /echo: .*closed after")
    assert re.search(
        r": 127\.0\.0\.1, port \d+: closed after \d\.\d{3} s with 4321: \\x1b\[2J\\n\[wshub#info\] forged$", line.string
    )
    say(hub, "thunder")
    assert hub.wait_for_log(r"\[service /says#warn\] author: warned of thunder$")
    assert hub.wait_for_log(r"\[service /says#info\] printed thunder$")


def test_json_lines(start_hub: StartHub) -> None:
    """Fault: what a client says would break a line. Seen: every line of the log is an object, from first to last."""
    hub = start_hub("--log-format", "json")
    say(hub, 'rain\n"}\x1b[2J')
    assert hub.stop() == 0
    entries = [json.loads(line) for line in hub.lines]
    assert all({"time", "level", "namespace", "message"} <= entry.keys() for entry in entries)
    assert all(entry["message"].isprintable() for entry in entries)
    assert "starting up" in entries[0]["message"] or "starting on" in entries[0]["message"]
    (warning,) = (entry for entry in entries if entry["message"].startswith("author:"))
    assert (warning["level"], warning["service"]) == ("warn", "/says")
    (end,) = (entry for entry in entries if "closed after" in entry["message"])
    assert (end["service"], end["client"], end["code"]) == ("/says", "127.0.0.1", 1000)
    assert 0 < end["seconds"] < WAIT


def test_json_lines_of_a_daemon(tmp_path: Path) -> None:
    """A daemon writes them to its log file."""
    (tmp_path / "services").mkdir()
    subprocess.run(
        [TWISTD, "wshub", "--port", LOOPBACK, "--log-format", "json"], cwd=tmp_path, timeout=WAIT, check=True
    )
    log = tmp_path / "twistd.log"
    try:
        eventually(lambda: log.exists() and "listening" in log.read_text(), "it listens")
        os.kill(int((tmp_path / "twistd.pid").read_text()), signal.SIGTERM)
        eventually(lambda: not processes_in(tmp_path), "all gone")
    finally:
        for process in processes_in(tmp_path):
            os.kill(process, signal.SIGKILL)
    messages = [json.loads(line)["message"] for line in log.read_text().splitlines()]
    assert messages[-1] == "Server Shut Down."


def test_a_service_that_is_too_loud(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a service says more than anybody reads. Seen: at level warn its warnings are there, its prints are not,
    nor what the hub says of it; another service is as loud as ever."""
    (tmp_path / "wshub.toml").write_text('log_levels = { "/says" = "warn" }\n')
    hub = start_hub("-c", "wshub.toml")
    say(hub, "thunder")
    say(hub, "lightning", "/other")
    hub.wait_for_log(r"/other: .*closed after")
    assert len(hub.search(r"/says")) == 1
    assert hub.search(r"\[service /other#info\] printed lightning")


@pytest.mark.parametrize("environment", [{"TERM": "xterm", "NO_COLOR": ""}, {"TERM": "xterm", "NO_COLOR": "1"}])
def test_colours_on_a_terminal(tmp_path: Path, environment: dict[str, str]) -> None:
    """On a terminal a warning has a colour, unless NO_COLOR says that nobody wants it."""
    (tmp_path / "services").mkdir()
    (tmp_path / "services" / "warns.py").write_text(
        "import wshub\nprint('<4>beware', flush=True)\nclass Service(wshub.Service): pass\n"
    )
    (tmp_path / "wshub.toml").write_text('eager = "/warns"\n')
    ours, its = pty.openpty()
    process = subprocess.Popen(
        [TWISTD, "-n", "--pidfile=", "wshub", "--port", LOOPBACK, "-c", "wshub.toml"],
        cwd=tmp_path,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        stdout=its,
        stderr=its,
    )
    os.close(its)
    seen = b""
    try:
        while not re.search(rb"beware.*\n", seen):
            seen += os.read(ours, 65536)
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
    (line,) = re.findall(rb"[^\n]*beware[^\n]*", seen)
    assert (b"\x1b[33m" in line) == (not environment["NO_COLOR"])


# systemd.


@pytest.fixture
def systemd(tmp_path: Path) -> Iterator[socket.socket]:
    """A socket such as systemd's."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
        channel.bind(str(tmp_path / "notify"))
        channel.settimeout(WAIT)
        yield channel


def test_a_hub_that_hangs_is_not_heard(start_hub: StartHub, systemd: socket.socket) -> None:
    """Fault: the hub hangs, here by SIGSTOP. Seen: the signs of life that systemd waits for stop, and come
    again; before them it was told that the hub is ready, after them that it stops."""
    environment = {"NOTIFY_SOCKET": systemd.getsockname(), "WATCHDOG_USEC": "200000"}
    hub = start_hub(environment=environment)
    assert [systemd.recv(100) for _ in range(4)] == [b"READY=1", *[b"WATCHDOG=1"] * 3]
    hub.process.send_signal(signal.SIGSTOP)
    systemd.settimeout(0.5)
    on_their_way = 0
    with suppress(TimeoutError):
        while systemd.recv(100):
            on_their_way += 1
            assert on_their_way < 3
    hub.process.send_signal(signal.SIGCONT)
    systemd.settimeout(WAIT)
    assert systemd.recv(100) == b"WATCHDOG=1"
    hub.process.send_signal(signal.SIGTERM)
    while (said := systemd.recv(100)) == b"WATCHDOG=1":
        pass
    assert said == b"STOPPING=1"
    assert hub.wait() == 0


@pytest.mark.skipif(not shutil.which("systemd-socket-activate"), reason="there is no systemd-socket-activate")
def test_socket_activation(tmp_path: Path) -> None:
    """systemd opens the port and starts the hub at the first connection, which is served."""
    (tmp_path / "services").mkdir()
    shutil.copy(Path(__file__).parents[2] / "services" / "echo.py", tmp_path / "services")
    port = find_free_port()
    command = [TWISTD, "-n", "--pidfile=", "wshub", "--port", "systemd:domain=INET:name=ws"]
    process = subprocess.Popen(
        ["systemd-socket-activate", f"--listen=127.0.0.1:{port}", "--fdname=ws", *command],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    assert process.stdout is not None
    lines = []
    try:
        for line in process.stdout:
            lines.append(line)
            if "Listening on" in line:
                break
        with connect(f"ws://127.0.0.1:{port}/echo", proxy=None, open_timeout=WAIT) as client:
            client.send("activated")
            assert client.recv(WAIT) == "activated"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0, "".join(lines)
    finally:
        process.kill()
        lines += process.stdout.readlines()
        process.stdout.close()
        process.wait()
    assert f"listening: http://127.0.0.1:{port}/" in "".join(lines)
    assert not re.search("Traceback|Unhandled", "".join(lines))
    eventually(lambda: not processes_in(tmp_path), "all gone")


def test_a_socket_from_elsewhere(tmp_path: Path) -> None:
    """A socket that some other program hands over as systemd would (sd_listen_fds(3)) does as well."""
    (tmp_path / "services").mkdir()
    shutil.copy(Path(__file__).parents[2] / "services" / "echo.py", tmp_path / "services")
    hand_over = (
        "import os, socket, sys\n"
        "s = socket.create_server(('127.0.0.1', int(sys.argv[1])))\n"
        "os.dup2(s.detach(), 3)\n"
        "os.set_inheritable(3, True)\n"
        "os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS='1', LISTEN_FDNAMES='x')\n"
        "os.execv(sys.argv[2], sys.argv[2:])\n"
    )
    port = find_free_port()
    command = [TWISTD, "-n", "--pidfile=", "wshub", "--port", "systemd:domain=INET:index=0"]
    process = subprocess.Popen(
        [sys.executable, "-c", hand_over, str(port), *command],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )

    def try_to_talk() -> Any:
        try:
            with connect(f"ws://127.0.0.1:{port}/echo", proxy=None, open_timeout=WAIT) as client:
                client.send("from elsewhere")
                return client.recv(WAIT)
        except OSError:
            return None  # the socket is not open yet

    try:
        assert eventually(try_to_talk, "it talks") == "from elsewhere"
        process.send_signal(signal.SIGTERM)
        assert process.wait(WAIT) == 0
    finally:
        process.kill()
        process.wait()
    eventually(lambda: not processes_in(tmp_path), "all gone")
