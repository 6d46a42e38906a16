"""Services that fail, die, and are started anew; and what they print."""

import asyncio
import os
import signal
import time

import pytest
from websockets.exceptions import ConnectionClosed

from .harness import WAIT, HubProcess, closed_with, eventually, make_upgrade, processes_in

ECHO_WITH_PID = """
    import os
    import wshub

    class Service(wshub.Service):
        def on_open(self, client):
            client.send(str(os.getpid()))

        def on_message(self, client, data):
            client.send(data)
"""


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


def test_crash_loop(hub: HubProcess) -> None:
    """A service that dies at every client is given up after five times: 503, with the time when to come again."""
    hub.save(
        "crashes.py", "import os, wshub\nclass Service(wshub.Service):\n    def on_open(self, client): os._exit(1)"
    )
    for _ in range(5):
        with hub.connect("/crashes") as client:
            assert closed_with(client)[0] == 1011
    for _ in range(3):
        response = hub.upgrade("/crashes")
        assert response.status == 503
        assert 25 <= int(response.headers["retry-after"]) <= 30
    assert len(hub.search(r"\] /crashes: started")) == 5
    assert hub.list_services()["/crashes"]["state"] == "crashing"


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
