"""Services whose files change while they have clients: nobody is lost."""

import asyncio
import http.client
import os
import pty
import random
import re
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from textwrap import dedent

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from .harness import WAIT, HubProcess, closed_with, eventually, find_free_port, processes_in

StartHub = Callable[..., HubProcess]

RELOADS = 100 if os.environ.get("WSHUB_TEST_LONG") else 20

SERVICES = {
    "handlers": """
        import wshub
        import helper

        class Service(wshub.Service):
            resumes = {resumes}

            def on_open(self, client):
                client.send(f"open {{helper.VERSION}} {{int(client.resumed)}}")

            def on_message(self, client, data):
                client.send(f"{{helper.VERSION}} {{data}}")

            def on_close(self, client, code, reason):
                print(f"closed {{code}} after {{helper.VERSION}}")
    """,
    "coroutines": """
        import asyncio
        import wshub
        import helper

        class Service(wshub.AsyncService):
            resumes = {resumes}

            async def on_open(self, client):
                client.send(f"open {{helper.VERSION}} {{int(client.resumed)}}")

            async def on_message(self, client, data):
                await asyncio.sleep(0.002)
                client.send(f"{{helper.VERSION}} {{data}}")
    """,
}

CLASSIC = """
    import queue
    import Services
    import helper

    class Service(Services.Service):
        resumes = True

        def run(self):
            while not self.shutdownFlag.is_set():
                try:
                    transaction = self.recvQueue.get()
                except queue.Empty:
                    continue
                if transaction.transactionType == transaction.NEWSOCKET:
                    text = f"open {{helper.VERSION}} {{int(helper.VERSION > 0)}}"
                elif transaction.transactionType == transaction.DATA:
                    text = f"{{helper.VERSION}} {{transaction.data}}"
                else:
                    continue
                transaction.transactionType, transaction.data = transaction.DATA, text
                self.sendQueue.put(transaction)
"""

BROKEN = """
    import wshub

    class Service(wshub.Service):
        def on_start(self):
            raise ValueError("a mistake in version 2")
"""


HANGS = """
    import time
    import wshub
    import helper

    class Service(wshub.Service):
        resumes = True

        def on_open(self, client):
            client.send(f"open {helper.VERSION} {int(client.resumed)}")

        def on_message(self, client, data):
            if data == "hang":
                time.sleep(600)
            client.send(f"{helper.VERSION} {data}")
"""


def save_version(hub: HubProcess, number: int) -> None:
    """Save the helper that says which version the service is."""
    hub.save("helper.py", f"VERSION = {number}\n")


def save_service(hub: HubProcess, style: str = "handlers", resumes: bool = True) -> None:
    """Save ``/told``, which says its version with every message."""
    hub.save("told.py", {**SERVICES, "classic": CLASSIC}[style].format(resumes=resumes))


def reload(hub: HubProcess, times: int) -> None:
    """SIGHUP, and wait until the new process serves; it is the so-manieth time."""
    hub.process.send_signal(signal.SIGHUP)
    hub.wait_for_logs(r"reloaded /told in", times)


class Stayer:
    """A client that stays connected, sends numbered messages as fast as they are answered, and looks at each answer."""

    def __init__(self, hub: HubProcess, window: int) -> None:
        self.hub = hub
        self.window = window
        self.sent = self.answered = self.last_version = 0
        self.resumed = 0
        self.is_there = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`; then every message must have been answered, in order, once, by versions that only grow."""
        async with self.hub.connect_async("/told") as client:
            while not (stop.is_set() and self.answered == self.sent and self.resumed == RELOADS):
                while not stop.is_set() and self.sent - self.answered < self.window:
                    self.sent += 1
                    await client.send(str(self.sent))
                words = str(await asyncio.wait_for(client.recv(), WAIT)).split()
                if words[0] == "open":
                    self.is_there.set()
                    self.resumed += words[2] == "1"
                    version = int(words[1])
                else:
                    self.answered += 1
                    assert int(words[1]) == self.answered
                    version = int(words[0])
                assert version >= self.last_version
                self.last_version = version


class Comer:
    """A client that connects again and again, and is served each time."""

    def __init__(self, hub: HubProcess) -> None:
        self.hub = hub
        self.count = 0
        self.is_there = asyncio.Event()

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`: connect, get five answers, close."""
        while not stop.is_set():
            async with self.hub.connect_async("/told") as client:
                self.count += 1
                self.is_there.set()
                for number in range(5):
                    await client.send(str(number))
                answers = []
                while len(answers) < 5:
                    words = str(await asyncio.wait_for(client.recv(), WAIT)).split()
                    answers += [] if words[0] == "open" else [int(words[1])]
                assert answers == list(range(5))


async def reload_under_load(hub: HubProcess, clients: list[Stayer | Comer], times: int) -> None:
    """Reload so often, at moments that nobody has chosen, while the clients do what they do."""
    stop = asyncio.Event()
    tasks = [asyncio.create_task(client.run(stop)) for client in clients]
    chance = random.Random(4711)
    try:
        await asyncio.wait_for(asyncio.gather(*(client.is_there.wait() for client in clients)), 2 * WAIT)
        for number in range(1, times + 1):
            await asyncio.sleep(chance.random() * 0.2)
            save_version(hub, number)
            await asyncio.to_thread(reload, hub, number)
            for task in tasks:
                if task.done():
                    task.result()
    finally:
        stop.set()
    await asyncio.wait_for(asyncio.gather(*tasks), 3 * WAIT)


@pytest.mark.parametrize("style", [*SERVICES, "classic"])
def test_reloads_under_load(start_hub: StartHub, style: str) -> None:
    """Fault: the files of a service change 20 times, 100 in the long form, while 30 clients send and others connect.
    Seen: every message is answered once and in order, no connection is refused or closed, and no process is left over.
    """
    hub = start_hub()
    save_version(hub, 0)
    save_service(hub, style)
    stayers, comers = [Stayer(hub, 1 + number % 8) for number in range(30)], [Comer(hub) for _ in range(3)]
    asyncio.run(reload_under_load(hub, [*stayers, *comers], RELOADS))
    assert all(each.resumed == RELOADS and each.answered > RELOADS for each in stayers)
    assert all(each.last_version == RELOADS for each in stayers)
    assert all(each.count > 0 for each in comers)
    eventually(lambda: len(hub.search("/told: started")) == RELOADS + 1, "one process each")
    assert not hub.search("refused|died|error")
    hub.check_nothing_leaked()


def test_reloads_without_resuming(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a service changes 5 times that does not resume, under load. Seen: clients get all answers until they are
    closed with 1012 after drain_timeout, come again and are served; none is refused.
    """
    settings = tmp_path / "wshub.toml"
    settings.write_text("drain_timeout = 0.5\n")
    hub = start_hub("--config", str(settings))
    save_version(hub, 0)
    save_service(hub, resumes=False)
    codes: list[int] = []

    class Returner(Comer):
        async def run(self, stop: asyncio.Event) -> None:
            while not stop.is_set():
                sent = answered = 0
                with suppress(ConnectionClosed):
                    async with hub.connect_async("/told") as client:
                        while not stop.is_set():
                            sent += 1
                            await client.send(str(sent))
                            words = str(await asyncio.wait_for(client.recv(), WAIT)).split()
                            self.is_there.set()
                            while words[0] == "open":
                                words = str(await asyncio.wait_for(client.recv(), WAIT)).split()
                            answered += 1
                            assert int(words[1]) == answered
                if client.close_code == 1012:
                    codes.append(client.close_code)
                else:
                    assert stop.is_set(), client.close_code

    asyncio.run(reload_under_load(hub, [Returner(hub) for _ in range(10)], 5))
    assert len(codes) >= 10
    assert not hub.search("refused|died|error")


def test_new_version_that_does_not_start(start_hub: StartHub) -> None:
    """Fault: a service is saved with a mistake. Seen: its clients and new ones are served by the old process, the
    traceback is in the log; the mended file takes its place.
    """
    hub = start_hub()
    hub.may_fail.add("/told")
    save_version(hub, 1)
    save_service(hub)
    with hub.connect("/told") as client:
        assert client.recv(WAIT) == "open 1 0"
        hub.save("told.py", BROKEN)
        hub.process.send_signal(signal.SIGHUP)
        hub.wait_for_log(r"/told: ValueError: a mistake in version 2")
        hub.wait_for_log("not reloaded, the old process stays")
        with hub.connect("/told") as other:
            assert other.recv(WAIT) == "open 1 0"
        client.send("x")
        assert client.recv(WAIT) == "1 x"
        save_version(hub, 2)
        save_service(hub)
        reload(hub, 1)
        assert client.recv(WAIT) == "open 2 1"
    assert hub.list_services()["/told"]["state"] == "running"


def test_reload_of_what_has_not_changed(start_hub: StartHub) -> None:
    """SIGHUP does nothing to a service whose files are the same; one in a folder that changed is the only one."""
    hub = start_hub()
    save_version(hub, 1)
    save_service(hub)
    with hub.connect("/told"), hub.connect("/echo") as bystander:
        save_version(hub, 2)
        reload(hub, 1)
        bystander.send("undisturbed")
        assert bystander.recv(WAIT) == "undisturbed"
    assert len(hub.search("/echo: started")) == 1
    assert len(hub.search("/told: started")) == 2


def test_service_that_never_lets_go(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a service does not come back from on_message when it is reloaded. Seen: the client that waits for that is
    closed with 1012 after drain_timeout, the others of the new process notice nothing, the old process is ended.
    """
    settings = tmp_path / "wshub.toml"
    settings.write_text("drain_timeout = 0.5\nstop_timeout = 0.5\n")
    hub = start_hub("--config", str(settings))
    save_version(hub, 1)
    hub.save("told.py", HANGS)
    with hub.connect("/told") as client:
        assert client.recv(WAIT) == "open 1 0"
        pid = hub.pid_of("/told")
        client.send("hang")
        save_version(hub, 2)
        hub.process.send_signal(signal.SIGHUP)
        began = time.monotonic()
        eventually(lambda: len(hub.search("/told: running")) == 2, "the new process")
        with hub.connect("/told") as other:
            assert other.recv(WAIT) == "open 2 0"
            assert closed_with(client) == (1012, "The service is reloaded.")
            assert time.monotonic() - began >= 0.5
            hub.wait_for_log("still running: TERM")
            eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the old process gone")
            other.send("x")
            assert other.recv(WAIT) == "2 x"


def test_hub_that_stops_while_it_reloads(start_hub: StartHub) -> None:
    """Fault: SIGTERM while clients are with two generations and a third starts. Seen: 1001 for all, exit code 0."""
    hub = start_hub()
    save_version(hub, 1)
    save_service(hub, resumes=False)
    with hub.connect("/told") as first:
        save_version(hub, 2)
        reload(hub, 1)
        with hub.connect("/told") as second:
            assert second.recv(WAIT) == "open 2 0"
            hub.save("helper.py", "VERSION = 3\nimport time\ntime.sleep(2)\n")
            hub.process.send_signal(signal.SIGHUP)
            eventually(lambda: len(hub.search("/told: started")) == 3, "the third process")
            hub.process.send_signal(signal.SIGTERM)
            assert closed_with(first)[0] == closed_with(second)[0] == 1001
    assert hub.wait() == 0
    assert len(hub.search(r"\[service /told#info\] closed 1001 after")) == 2


def run(hub: HubProcess, *words: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of ``wshub reload``, given in the hub's folder."""
    command = [sys.executable, "-m", "wshub", "reload", *words]
    done = subprocess.run(
        command,
        cwd=hub.folder,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=3 * WAIT,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def test_reload_command(start_hub: StartHub) -> None:
    """It reloads what has changed, or what is named, waits until that serves, and says so; nothing is nothing."""
    hub = start_hub("--admin", "unix:admin")
    admin = ("--admin", "unix:admin")
    save_version(hub, 1)
    save_service(hub)
    assert run(hub, *admin) == (0, "nothing has changed\n", "")
    with hub.connect("/told") as client:
        assert client.recv(WAIT) == "open 1 0"
        save_version(hub, 2)
        status, said, _ = run(hub, *admin)
        assert status == 0
        assert re.fullmatch(r"/told: reloaded in \d\.\d\d s; 1 client handed over\n", said)
        with hub.connect("/told") as other:
            assert other.recv(WAIT) == "open 2 0"
        status, said, _ = run(hub, *admin, "/told", "/clock", "/nothing", "../../x")
        assert status == 1
        assert re.fullmatch(
            r"/told: reloaded .*\n/clock: it does not run: .*\n/nothing: there is no .*\n\.\./\.\./x: there is .*\n",
            said,
        )
        assert client.recv(WAIT) == client.recv(WAIT) == "open 2 1"


def test_reload_command_and_a_mistake(start_hub: StartHub) -> None:
    """Fault: `wshub reload` of a service with a mistake. Seen: status 1 and the last line of the traceback; the old
    process serves on.
    """
    hub = start_hub("--admin", "unix:admin")
    hub.may_fail.add("/told")
    save_version(hub, 1)
    save_service(hub)
    with hub.connect("/told") as client:
        assert client.recv(WAIT) == "open 1 0"
        hub.save("told.py", BROKEN)
        status, said, _ = run(hub, "--admin", "unix:admin")
        assert (status, said) == (
            1,
            "/told: failed: ValueError: a mistake in version 2; if it ran, the old process stays\n",
        )
        client.send("x")
        assert client.recv(WAIT) == "1 x"


def test_reload_command_without_the_token(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: `wshub reload` without the token, with a wrong one, and without a hub. Seen: status 3 and one line that
    says what to do; with the token of the hub's settings, or of the environment, it works.
    """
    port, token = find_free_port(), "a-token-of-the-test"
    settings = tmp_path / "wshub.toml"
    settings.write_text(f'admin = "{port}"\nadmin_token = "{token}"\n')
    assert run_without_hub(tmp_path, str(port))[0] == 3
    hub = start_hub("--config", str(settings))
    assert run(hub, "-c", str(settings)) == (0, "nothing has changed\n", "")
    assert run(hub, "--admin", str(port), HUB_ADMIN_TOKEN=token) == (0, "nothing has changed\n", "")
    for wrong in ("", "another-token-altogether"):
        status, said, complaint = run(hub, "--admin", str(port), HUB_ADMIN_TOKEN=wrong)
        assert (status, said) == (3, "")
        assert "HTTP 401" in complaint
        assert "HUB_ADMIN_TOKEN" in complaint
    status, _, complaint = run(hub)
    assert status == 1
    assert "--admin" in complaint


def run_without_hub(folder: Path, admin: str) -> tuple[int, str]:
    """``wshub reload`` where nobody listens: exit status and stderr."""
    command = [sys.executable, "-m", "wshub", "reload", "--admin", admin]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=3 * WAIT, check=False)
    assert "Traceback" not in done.stderr
    return done.returncode, done.stderr


class DevTerminal:
    """``wshub dev`` in a terminal of its own."""

    def __init__(self, folder: Path, port: int, *options: str) -> None:
        self.seen = b""
        self.fd, child = pty.openpty()
        command = [sys.executable, "-m", "wshub", "dev", str(folder), "-p", str(port), *options]
        self.process = subprocess.Popen(
            command, stdin=child, stdout=child, stderr=child, cwd=folder.parent, start_new_session=True
        )
        os.close(child)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Wait until what is on the screen has `pattern`."""
        deadline = time.monotonic() + WAIT
        while not (match := re.search(pattern, self.screen)):
            ready, _, _ = select.select([self.fd], [], [], max(0, deadline - time.monotonic()))
            assert ready, f"no {pattern!r} in\n{self.screen}"
            self.seen += os.read(self.fd, 1 << 16)
        return match

    @property
    def screen(self) -> str:
        """What was written so far, without colours."""
        return re.sub(r"\x1b\[[\d;]*m", "", self.seen.decode(errors="replace")).replace("\r\n", "\n")

    def read_to_the_end(self) -> None:
        """Read what is left when it has ended."""
        with suppress(OSError):
            while data := os.read(self.fd, 1 << 16):
                self.seen += data
        os.close(self.fd)


@pytest.fixture
def dev(tmp_path: Path) -> Iterator[tuple[DevTerminal, int, Path]]:
    """``wshub dev`` over a folder with ``/told``, its port, and the folder."""
    folder, port = tmp_path / "services", find_free_port()
    folder.mkdir()
    (folder / "helper.py").write_text("VERSION = 1\n")
    (folder / "told.py").write_text(dedent(SERVICES["handlers"].format(resumes=True)))
    terminal = DevTerminal(folder, port)
    yield terminal, port, folder
    if terminal.process.poll() is None:
        terminal.process.kill()
        terminal.process.wait(WAIT)
    eventually(lambda: not processes_in(folder), "no process left")


def test_dev(dev: tuple[DevTerminal, int, Path]) -> None:
    """Fault: somebody writes a service: saves, saves a mistake, mends it, adds another, and presses Ctrl-C. Seen: the
    connection goes on with each version, every step is a line, and the end comes within a second and is quiet.
    """
    terminal, port, folder = dev
    terminal.wait_for(rf"ws://127\.0\.0\.1:{port}/told\n")
    address, token = terminal.wait_for(r"console: http://(127\.0\.0\.1:\d+)/#token=(\S+)").groups()
    with connect(f"ws://127.0.0.1:{port}/told", proxy=None) as client:
        assert client.recv(WAIT) == "open 1 0"
        (folder / "helper.py").write_text("VERSION = 2\n")
        assert client.recv(WAIT) == "open 2 1"
        terminal.wait_for(r"reloaded /told in \d\.\d\d s, 1 client handed over")
        (folder / "helper.py").write_text("VERSION = 1 / 0\n")
        terminal.wait_for(r"/told: not reloaded, the old process stays")
        terminal.wait_for(r"/told: ZeroDivisionError: division by zero")
        client.send("x")
        assert client.recv(WAIT) == "2 x"
        (folder / "helper.py").write_text("VERSION = 3\n")
        assert client.recv(WAIT) == "open 3 1"
        (folder / "other.py").write_text("import wshub\nclass Service(wshub.Service:\n")
        terminal.wait_for(r"/other: other\.py, line 2: ")
        (folder / "other.py").write_text("import wshub\nclass Service(wshub.Service): pass\n")
        terminal.wait_for(rf"changed: /other   ws://127\.0\.0\.1:{port}/other")
        console = http.client.HTTPConnection(address, timeout=WAIT)
        console.request("GET", "/services", headers={"Authorization": f"Bearer {token}"})
        assert console.getresponse().status == 200
        console.close()
        began = time.monotonic()
        terminal.process.send_signal(signal.SIGINT)
        assert closed_with(client)[0] == 1001
    assert terminal.process.wait(WAIT) == 0
    assert time.monotonic() - began < 1.5
    terminal.read_to_the_end()
    assert terminal.screen.count("Traceback") == 1  # the author's
    assert terminal.screen.endswith("stopped\n")


def test_dev_whose_terminal_is_closed(dev: tuple[DevTerminal, int, Path]) -> None:
    """Fault: the terminal of `wshub dev` is closed. Seen: it ends, and its services with it."""
    terminal, port, _ = dev
    terminal.wait_for(rf"ws://127\.0\.0\.1:{port}/told\n")
    with connect(f"ws://127.0.0.1:{port}/told", proxy=None) as client:
        assert client.recv(WAIT) == "open 1 0"
        terminal.process.send_signal(signal.SIGHUP)  # which reloads as long as the terminal is there
        client.send("x")
        assert client.recv(WAIT) == "1 x"
        os.close(terminal.fd)
        terminal.process.send_signal(signal.SIGHUP)
        assert closed_with(client)[0] == 1001
    terminal.process.wait(WAIT)
