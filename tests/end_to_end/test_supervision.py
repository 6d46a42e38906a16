"""Services that fail, die, and are started anew; and what they print."""

import asyncio
import hashlib
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from pathlib import Path

import pytest
from websockets.exceptions import ConnectionClosed

from .harness import (
    EXAMPLES,
    WAIT,
    HubProcess,
    closed_with,
    cpu_time,
    eventually,
    make_upgrade,
    processes_in,
    zombies_of,
)

StartHub = Callable[..., HubProcess]

ECHO_WITH_PID = """
    import os
    import wshub

    class Service(wshub.Service):
        def on_open(self, client):
            client.send(str(os.getpid()))

        def on_message(self, client, data):
            client.send(data)
"""


CRASHES = """
    import os
    import wshub

    class Service(wshub.Service):
        def on_open(self, client):
            os._exit(1)
"""

STARTS_A_CHILD = """
        def on_start(self):
            import subprocess
            print("child", subprocess.Popen(["sleep", "600"]).pid)

"""

SLOW = {
    "handlers": """
        import time
        import wshub

        class Service(wshub.Service):
            slow_clients = "pause"

            def on_open(self, client):
                time.sleep(3)

            def on_message(self, client, data):
                client.send(data)
    """,
    "coroutines": """
        import time
        import wshub

        class Service(wshub.AsyncService):
            slow_clients = "pause"

            async def on_open(self, client):
                time.sleep(3)

            async def on_message(self, client, data):
                client.send(data)
    """,
    "classic": """
        import queue
        import time
        import Services

        class Service(Services.Service):
            slow_clients = "pause"

            def run(self):
                while not self.shutdownFlag.is_set():
                    try:
                        transaction = self.recvQueue.get()
                    except queue.Empty:
                        continue
                    if transaction.transactionType == transaction.NEWSOCKET:
                        time.sleep(3)
                    elif transaction.transactionType == transaction.DATA:
                        self.sendQueue.put(transaction)
    """,
}


def test_killed_service(hub: HubProcess) -> None:
    """Its clients get 1011 within a second, those of others notice nothing, and the next client starts it anew."""
    hub.save("victim.py", ECHO_WITH_PID)

    async def everybody() -> None:
        async with hub.connect_async("/echo") as bystander:
            clients = await asyncio.gather(*(hub.connect_async("/victim") for _ in range(20)))
            (pid,) = {int(await client.recv()) for client in clients}
            began = time.monotonic()
            os.kill(pid, signal.SIGKILL)
            assert await asyncio.gather(*map(close_code, clients)) == [1011] * 20
            assert time.monotonic() - began < 1
            async with hub.connect_async("/victim") as client:
                assert int(await client.recv()) != pid
                await client.send("again")
                assert await client.recv() == "again"
            await bystander.send("undisturbed")
            assert await bystander.recv() == "undisturbed"

    async def close_code(client: object) -> int | None:
        try:
            await client.recv()  # type: ignore[attr-defined]
        except ConnectionClosed as closed:
            return closed.rcvd and closed.rcvd.code
        return None

    asyncio.run(asyncio.wait_for(everybody(), WAIT))
    assert "SIGKILL" in hub.wait_for_log(r"/victim: died: .*")[0]


@pytest.mark.parametrize("way", ["sys.exit(3)", "os._exit(3)"])
def test_how_a_service_ended_is_in_the_log(hub: HubProcess, way: str) -> None:
    """The log has the exit status of a service that ended by itself."""
    name = "exits" if "sys" in way else "exits_hard"
    hub.save(
        f"{name}.py",
        f"""
        import os
        import sys
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                {way}
        """,
    )
    with hub.connect(f"/{name}") as client:
        client.send("go")
        assert closed_with(client)[0] == 1011
    assert "exit status 3" in hub.wait_for_log(rf"/{name}: died: .*")[0]


def test_crash_loop(start_hub: StartHub) -> None:
    """Fault: a service dies at every client, and clients come back for ever. Seen: five starts at most in any thirty
    seconds, further and further apart; then 503 with a true time to wait; under 2% of a processor; a mended file
    starts at once.
    """
    hub = start_hub()
    hub.save("crashes.py", CRASHES)
    began, cpu_before, starts = time.monotonic(), cpu_time(hub.process.pid), 0
    waits: list[int] = []
    while time.monotonic() - began < 12:
        response = hub.upgrade("/crashes")
        if response.status == 101:
            starts += 1
            waits.clear()
        else:
            assert response.status == 503
            waits.append(int(response.headers["retry-after"]))
        time.sleep(0.25)  # an eager client
    assert starts == 5
    assert len(hub.search(r"\] /crashes: started")) == 5
    assert waits[0] <= 30
    assert waits == sorted(waits, reverse=True)
    assert waits[0] - waits[-1] >= 2, "the time to wait passes"
    assert hub.list_services()["/crashes"]["state"] == "crashing"
    used = cpu_time(hub.process.pid) - cpu_before
    assert used < 0.02 * 30, f"{used} s of processor time for all starts that there may be in thirty seconds"
    quiet, cpu_before = time.monotonic(), cpu_time(hub.process.pid)
    while time.monotonic() - quiet < 5:
        assert hub.upgrade("/crashes").status == 503
        time.sleep(0.25)
    assert (cpu_time(hub.process.pid) - cpu_before) / 5 < 0.02
    hub.save("crashes.py", CRASHES.replace("os._exit(1)", "client.send('mended')"))
    with hub.connect("/crashes") as client:
        assert client.recv(WAIT) == "mended"


def test_crash_loop_ends_when_it_was_said(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a crash loop, and its cause goes away. Seen: the Retry-After is true: no start before, one after."""
    (tmp_path / "wshub.toml").write_text("restart_intensity = 2\nrestart_period = 4\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save("crashes.py", CRASHES.replace("os._exit(1)", "os.path.exists('mended') or os._exit(1)"))
    for _ in range(2):
        with hub.connect("/crashes") as client:
            assert closed_with(client)[0] == 1011
    said = int(hub.upgrade("/crashes").headers["retry-after"])
    began = time.monotonic()
    assert 2 <= said <= 4
    (hub.services / "mended").write_text("")  # the module's own file stays as it is
    while (response := hub.upgrade("/crashes")).status == 503:
        time.sleep(0.05)
    assert response.status == 101
    assert said - 1.5 <= time.monotonic() - began <= said + 0.5


def test_kill_under_load(start_hub: StartHub) -> None:
    """Fault: kill -9 of a service while twenty clients send as fast as they are answered. Seen: all get 1011 within a
    second; no answer is missing before the last one, none comes twice, none is torn; who comes next is served.
    """
    hub = start_hub()
    hub.save("victim.py", ECHO_WITH_PID)
    answered: list[int] = []

    async def client(number: int) -> float:
        async with hub.connect_async("/victim") as connection:
            pids.add(int(await connection.recv()))
            ready.release()
            received = 0

            async def send() -> None:
                with suppress(ConnectionClosed):
                    for sequence in count():
                        await connection.send(numbered(number, sequence))
                        while sequence - received > 50:
                            await asyncio.sleep(0)

            sender = asyncio.create_task(send())
            try:
                while True:
                    assert await connection.recv() == numbered(number, received)
                    received += 1
            except ConnectionClosed:
                pass
            assert connection.close_code == 1011
            sender.cancel()
            answered.append(received)
            return time.monotonic()

    async def everybody() -> None:
        clients = [asyncio.create_task(client(number)) for number in range(20)]
        for _ in clients:
            await ready.acquire()
        await asyncio.sleep(1)  # of load
        (pid,) = pids
        os.kill(pid, signal.SIGKILL)
        killed = time.monotonic()
        ends = await asyncio.gather(*clients)
        assert max(ends) - killed < 1
        async with hub.connect_async("/victim") as connection:
            assert int(await connection.recv()) != pid
            await connection.send("again")
            assert await connection.recv() == "again"

    def numbered(number: int, sequence: int) -> str:
        text = f"{number}:{sequence}:" + "x" * (sequence % 700)
        return text + hashlib.sha256(text.encode()).hexdigest()

    pids: set[int] = set()
    ready = asyncio.Semaphore(0)
    asyncio.run(asyncio.wait_for(everybody(), 3 * WAIT))
    assert min(answered) > 0
    assert len(hub.search(r"\] /victim: started")) == 2


def test_stopped_service(start_hub: StartHub) -> None:
    """Fault: SIGSTOP of a service that has clients. Seen: others are served meanwhile; within fifteen seconds (and one)
    it is killed with what it has started, its clients get 1011, and the next client is served.
    """
    hub = start_hub()
    hub.save("victim.py", ECHO_WITH_PID.replace("        def on_message", STARTS_A_CHILD + "        def on_message", 1))
    with hub.connect("/victim") as client, hub.connect("/echo") as bystander:
        pid = int(client.recv(WAIT))
        client.send("hello")
        assert client.recv(WAIT) == "hello"
        (grandchild,) = {int(match[1]) for match in hub.wait_for_logs(r"child (\d+)", 1)}
        os.kill(pid, signal.SIGSTOP)
        stopped = time.monotonic()
        client.send("is anybody there?")
        while not hub.search(r"/victim: died: it gave no sign of life"):
            began = time.monotonic()
            bystander.send("undisturbed")
            assert bystander.recv(WAIT) == "undisturbed"
            assert time.monotonic() - began < 1
            assert time.monotonic() - stopped < 16
            time.sleep(0.1)
        assert time.monotonic() - stopped > 9, "so soon it might only have been slow"
        assert closed_with(client) == (1011, "The service died.")
    eventually(lambda: not {pid, grandchild} & set(processes_in(hub.folder)), "both gone")
    with hub.connect("/victim") as client:
        assert int(client.recv(WAIT)) != pid


def test_service_whose_lock_foreign_code_keeps(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: a regular expression runs away in a service, and Python's lock with it. Seen: it is found and killed."""
    (tmp_path / "wshub.toml").write_text("hang_timeout = 2\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save(
        "victim.py",
        """
        import re
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                re.match("(a+)+b", "a" * 60)
        """,
    )
    with hub.connect("/victim") as client, hub.connect("/echo"):
        client.send("go")
        began = time.monotonic()
        assert closed_with(client)[0] == 1011
        assert 1 < time.monotonic() - began < 3
    hub.wait_for_log("/victim: died: it gave no sign of life")
    assert not hub.search("/echo: died")


@pytest.mark.parametrize("kind", ["handlers", "coroutines", "classic"])
def test_slow_service_is_left_alone(start_hub: StartHub, tmp_path: Path, kind: str) -> None:
    """Fault: none, though it looks like one: a hook, or a classic loop, takes three times the `hang_timeout`, while a
    client sends more than the pipe holds. Seen: it is not killed, and everything arrives, in order.
    """
    (tmp_path / "wshub.toml").write_text("hang_timeout = 1\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save("slow.py", SLOW[kind])
    with hub.connect("/slow") as client:
        messages = [bytes([number]) * 100_000 for number in range(60)]
        sender = threading.Thread(target=lambda: [client.send(message) for message in messages])
        began = time.monotonic()
        sender.start()
        received = [client.recv(WAIT) for _ in messages]
        sender.join(WAIT)
        assert time.monotonic() - began > 3
        assert received == messages
    assert not hub.search("died")


def test_idle_service(start_hub: StartHub) -> None:
    """A service with an `idle_timeout` finishes in order when nobody is there; the next client finds another."""
    hub = start_hub()
    hub.save(
        "passing.py",
        ECHO_WITH_PID
        + """
        idle_timeout = 0.5

        def on_stop(self):
            print("bye")
        """,
    )
    with hub.connect("/passing") as client:
        pid = int(client.recv(WAIT))
        time.sleep(0.7)
        client.send("still here")
        assert client.recv(WAIT) == "still here"
    hub.wait_for_log(r"/passing#info\] bye")
    eventually(lambda: pid not in processes_in(hub.folder), "it gone")
    with hub.connect("/passing") as client:
        assert int(client.recv(WAIT)) != pid
    assert not hub.search("died")


def test_eager_service(start_hub: StartHub, tmp_path: Path) -> None:
    """A service in `eager`, or one that says so itself, runs before its first client, and comes back after kill -9."""
    (tmp_path / "wshub.toml").write_text('eager = "/echo"\n')
    folder = tmp_path / "services"
    shutil.copytree(EXAMPLES, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "keen.py").write_text('import wshub\n\nclass Service(wshub.Service):\n    lifetime = "eager"\n')
    hub = start_hub("-c", "wshub.toml")
    hub.wait_for_log("/echo: running")
    hub.wait_for_log("/keen: running")
    assert not hub.search("/clock: started")
    os.kill(hub.pid_of("/echo"), signal.SIGKILL)
    hub.wait_for_logs("/echo: running", 2)


def test_service_that_ignores_term(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: an idle service with a child ignores both the end of its input and TERM, and so does the child. Seen: KILL
    a second after TERM, for both; no zombie is left; who came meanwhile is served by a new process.
    """
    (tmp_path / "wshub.toml").write_text("stop_timeout = 0.5\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save(
        "deaf.py",
        """
        import os, signal, subprocess, time
        import wshub

        class Service(wshub.Service):
            idle_timeout = 0.2

            def on_open(self, client):
                signal.signal(signal.SIGTERM, signal.SIG_IGN)
                child = subprocess.Popen(["sh", "-c", "trap '' TERM; while :; do sleep 1; done"])
                client.send(f"{os.getpid()} {child.pid}")

            def on_stop(self):
                while True:
                    time.sleep(60)
        """,
    )
    with hub.connect("/deaf") as client:
        first = set(map(int, client.recv(WAIT).split()))
    hub.wait_for_log("/deaf: finishes")
    began = time.monotonic()
    with hub.connect("/deaf") as client:
        second = set(map(int, client.recv(WAIT).split()))
        assert 1.2 < time.monotonic() - began < 4
        assert not first & second
        assert not first & set(processes_in(hub.folder))
        assert not zombies_of(hub.process.pid)
    hub.wait_for_log(r"\[service /deaf#warn\] still running: KILL")


def test_service_that_breaks_the_wire(hub: HubProcess) -> None:
    """A service that writes rubbish to the hub's pipe, or closes it, is killed, and its clients get 1011."""
    for name, act in (("babbles", 'os.write(4, b"\\xff" * 100)'), ("hangs_up", "os.close(4)")):
        hub.save(
            f"{name}.py",
            f"""
            import os
            import wshub

            class Service(wshub.Service):
                def on_message(self, client, data):
                    {act}
                    while True:
                        os.read(3, 1)
            """,
        )
        with hub.connect(f"/{name}") as client:
            pid = hub.pid_of(f"/{name}")
            client.send("go")
            assert closed_with(client)[0] == 1011
        eventually(lambda pid=pid: not os.path.exists(f"/proc/{pid}"), "the process gone")


@pytest.mark.parametrize("base", ["wshub.Service", "wshub.AsyncService"])
@pytest.mark.parametrize("hook", ["on_open", "on_message"])
def test_hook_that_raises(hub: HubProcess, base: str, hook: str) -> None:
    """That client gets 1011 and its traceback is in the log; the service lives on for the others."""
    name = f"raises_{hook}_{base.partition('.')[2]}"
    hub.may_fail.add(f"/{name}")
    define = "async def" if "Async" in base else "def"
    hub.save(
        f"{name}.py",
        f"""
        import wshub

        class Service({base}):
            {define} on_open(self, client):
                if client.query == "on_open":
                    raise RuntimeError("as asked")

            {define} on_message(self, client, data):
                if data == "on_message":
                    raise RuntimeError("as asked")
                client.send(data)
        """,
    )
    with hub.connect(f"/{name}") as bystander, hub.connect(f"/{name}?{hook}") as client:
        if hook == "on_message":
            client.send(hook)
        assert closed_with(client)[0] == 1011
        bystander.send("well")
        assert bystander.recv(WAIT) == "well"
    hub.wait_for_log(rf"\[service /{name}#\w+\] RuntimeError: as asked")
    assert len(hub.search(rf"\] /{name}: started")) == 1


def test_output_is_in_the_log(hub: HubProcess) -> None:
    """What a service prints is in the log by line, with its name, and cannot forge a line or reach the terminal."""
    hub.save(
        "prints.py",
        r"""
        import os
        import subprocess
        import sys
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                print("one\ntwo")
                print("to stderr", file=sys.stderr)
                print("\x1b[31mred\x1b[0m and \x9b32m\x07")
                print("over\rwritten and \u2028 separated {braces} %s")
                os.write(1, b"bytes \xff\xfe\n")
                print("žluť 🐎")
                print("x" * 20000)
                subprocess.run(["echo", "from a child"], check=True)
                sys.stdout.write("without an end")
                client.close(4000)
        """,
    )
    with hub.connect("/prints") as client:
        assert closed_with(client)[0] == 4000
    own = r"\[service /prints#\w+\] "
    for line in (
        "one$",
        "two$",
        "to stderr$",
        r"\\x1b\[31mred\\x1b\[0m and \\x9b32m\\x07$",
        r"over\\rwritten and \\u2028 separated \{braces\} %s$",
        r"bytes \\xff\\xfe$",
        "žluť 🐎$",
        "x{1000}",
        "from a child$",
    ):
        hub.wait_for_log(own + line)
    assert not hub.search("\x1b|\r")
    assert sum(line.count("x") for line in hub.lines) >= 20000
    os.kill(hub.pid_of("/prints"), signal.SIGKILL)
    hub.wait_for_log(r"/prints: died")


def test_stdout_is_not_the_pipe(hub: HubProcess) -> None:
    """Output on descriptor 1 and input on 0 have nothing to do with the clients."""
    hub.save(
        "reads.py",
        """
        import sys
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                client.send(repr(sys.stdin.read()))
        """,
    )
    with hub.connect("/reads") as client:
        client.send("read")
        assert client.recv(WAIT) == "''"


def test_descriptors_of_a_service(hub: HubProcess) -> None:
    """A service has descriptors 0 to 4 and what it opens itself; none of the hub's, and none of other services'."""
    hub.save(
        "open_files.py",
        """
        import os
        import wshub

        FOUND = sorted(int(fd) for fd in os.listdir("/proc/self/fd") if os.path.exists("/proc/self/fd/" + fd))

        class Service(wshub.Service):
            def on_open(self, client):
                client.send(repr(FOUND))
        """,
    )
    with hub.connect("/open_files") as client:
        assert client.recv(WAIT) == "[0, 1, 2, 3, 4]"


def test_service_outlives_nobody(hub: HubProcess) -> None:
    """What a service has started and left behind is gone when the service is."""
    hub.save(
        "parent.py",
        """
        import os
        import subprocess
        import wshub

        class Service(wshub.Service):
            def on_start(self):
                self.child = subprocess.Popen(["sleep", "600"])

            def on_open(self, client):
                client.send(str(self.child.pid))

            def on_message(self, client, data):
                os._exit(0)
        """,
    )
    with hub.connect("/parent") as client:
        grandchild = int(client.recv(WAIT))
        assert grandchild in processes_in(hub.folder)
        client.send("exit")
        assert closed_with(client)[0] == 1011
    eventually(lambda: grandchild not in processes_in(hub.folder), "the grandchild gone")


def test_client_that_leaves_before_its_service_is_ready(hub: HubProcess) -> None:
    """Nobody minds, and the service sees nothing of it."""
    hub.save(
        "slow.py",
        """
        import time
        import wshub

        time.sleep(0.3)

        class Service(wshub.Service):
            def on_open(self, client):
                print("opened", client.query)
        """,
    )
    with hub.open_socket() as connection:
        connection.sendall(make_upgrade("/slow?early"))
        hub.wait_for_log(r"/slow: started")
    with hub.connect("/slow?late"):
        hub.wait_for_log(r"opened late")
    hub.wait_for_log(r"/slow: running")
