"""How a hub ends: in order when it is asked to, and without orphans when it is not."""

import os
import signal
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from .harness import (
    WAIT,
    HubProcess,
    closed_with,
    eventually,
    find_free_port,
    make_upgrade,
    processes_in,
    read_response,
)

StartHub = Callable[..., HubProcess]
MiB = 1 << 20

LAST_WORDS = {
    "handlers": """
        import wshub

        class Service(wshub.Service):
            def on_close(self, client, code, reason):
                print("closed", code)

            def on_stop(self):
                print("last words of handlers,", len(self.clients), "clients")
        """,
    "coroutines": """
        import asyncio
        import wshub

        class Service(wshub.AsyncService):
            async def on_close(self, client, code, reason):
                await asyncio.sleep(0.05)
                print("closed", code)

            async def on_stop(self):
                print("last words of coroutines,", len(self.clients), "clients")
        """,
    "classic": """
        import queue
        import Services

        class Service(Services.Service):
            def run(self):
                clients = set()
                while not self.shutdownFlag.is_set():
                    try:
                        transaction = self.recvQueue.get()
                    except queue.Empty:
                        continue
                    if transaction.transactionType == transaction.NEWSOCKET:
                        clients.add(transaction.socketId)
                    elif transaction.transactionType == transaction.CLOSE:
                        clients.remove(transaction.socketId)
                        print("closed", transaction.data[0])
                print("last words of classic,", len(clients), "clients")
        """,
}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["TERM", "INT"])
def test_orderly_stop(start_hub: StartHub, number: int) -> None:
    """All clients get 1001, all services their on_close and on_stop, and the exit code is 0."""
    hub = start_hub()
    for name, source in LAST_WORDS.items():
        hub.save(f"{name}.py", source)
    with ExitStack() as stack:
        clients = [stack.enter_context(hub.connect(f"/{name}")) for name in LAST_WORDS for _ in range(4)]
        began = time.monotonic()
        hub.process.send_signal(number)
        assert [closed_with(client)[0] for client in clients] == [1001] * 12
        code = hub.wait()
        assert time.monotonic() - began < 5
    for name in ("handlers", "coroutines", "classic"):
        assert len(hub.search(rf"\[service /{name}#info\] closed 1001")) == 4
        hub.wait_for_log(f"last words of {name}, 0 clients")
    hub.wait_for_log(r"\[wshub#info\] stopped")
    assert code == 0


def test_idle_stop(start_hub: StartHub) -> None:
    """A hub with nothing to do stops at once."""
    hub = start_hub()
    began = time.monotonic()
    code = hub.stop()
    assert time.monotonic() - began < 2
    assert code == 0


STUBBORN = """
    import signal
    import time
    import wshub

    class Service(wshub.Service):
        def on_start(self):
            signal.signal(signal.SIGTERM, {handler})

        def on_stop(self):
            while True:
                time.sleep(60)
"""


def test_stubborn_service(start_hub: StartHub, tmp_path: Path) -> None:
    """A service that does not finish gets TERM after its grace, KILL after that, and nobody can connect meanwhile."""
    (tmp_path / "wshub.toml").write_text("stop_timeout = 0.3\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save("slow.py", STUBBORN.format(handler="signal.SIG_DFL"))
    hub.save("deaf.py", STUBBORN.format(handler="signal.SIG_IGN"))
    with hub.connect("/slow") as slow, hub.connect("/deaf") as deaf:
        hub.process.send_signal(signal.SIGTERM)
        assert [closed_with(client)[0] for client in (slow, deaf)] == [1001] * 2
    hub.wait_for_log(r"\[service /deaf#warn\] still running: TERM")
    with pytest.raises(ConnectionRefusedError):
        hub.open_socket()
    hub.wait()
    hub.wait_for_log(r"\[service /slow#warn\] still running: TERM")
    hub.wait_for_log(r"\[service /deaf#warn\] still running: KILL")
    assert not hub.search(r"\[service /slow#warn\] still running: KILL")


def test_stop_with_clients_that_do_not_answer(start_hub: StartHub, tmp_path: Path) -> None:
    """A client that ignores the close frame holds nothing up for longer than it is given, and makes no error."""
    (tmp_path / "wshub.toml").write_text("stop_timeout = 0.3\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save("handlers.py", LAST_WORDS["handlers"])
    with hub.rude_client("/handlers") as rude, hub.connect("/handlers") as polite:
        began = time.monotonic()
        hub.process.send_signal(signal.SIGTERM)
        assert closed_with(polite)[0] == 1001
        assert rude.read_close()[0] == 1001
        hub.wait()
        assert time.monotonic() - began < 4
    hub.wait_for_log("last words of handlers")
    assert len(hub.search(r"\] closed \d+")) == 2, hub.lines


def test_stop_while_a_service_starts(start_hub: StartHub, tmp_path: Path) -> None:
    """Whoever waits for a service that is just starting is told 503, and the hub does not wait for it."""
    (tmp_path / "wshub.toml").write_text("stop_timeout = 0.3\n")
    hub = start_hub("-c", "wshub.toml")
    hub.save("slow.py", "import time\ntime.sleep(60)\n")
    with hub.open_socket() as connection:
        connection.sendall(make_upgrade("/slow"))
        hub.wait_for_log(r"/slow: started")
        hub.process.send_signal(signal.SIGTERM)
        assert read_response(connection).status == 503
    hub.wait()


def test_questions_are_answered_before_it_stops(start_hub: StartHub) -> None:
    """Fault: SIGTERM while a service has yet to read what clients have asked. Seen: every answer, then 1001."""
    hub = start_hub()
    hub.save(
        "slow.py",
        """
        import time
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                print("asked")
                time.sleep(0.02)
                client.send(data)
        """,
    )
    with ExitStack() as stack:
        clients = [stack.enter_context(hub.connect("/slow")) for _ in range(5)]
        questions = [str(number) for number in range(10)]
        for client in clients:
            for question in questions:
                client.send(question)
        hub.wait_for_logs("asked", 5)
        hub.process.send_signal(signal.SIGTERM)
        for client in clients:
            assert [client.recv(WAIT) for _ in questions] == questions
            assert closed_with(client)[0] == 1001
    assert hub.wait() == 0
    assert len(hub.search("asked")) == 50


def test_nothing_is_lost_when_it_stops(start_hub: StartHub, tmp_path: Path) -> None:
    """What a service had sent before the stop reaches a client that takes its time to read."""
    (tmp_path / "wshub.toml").write_text('max_backlog = "16MiB"')
    hub = start_hub("--config", "wshub.toml")
    hub.save(
        "sends_much.py",
        """
        import wshub

        class Service(wshub.Service):
            def on_open(self, client):
                for _ in range(8):
                    client.send(bytes(1 << 20))

            def on_message(self, client, data):
                client.send(data)
        """,
    )
    with hub.rude_client("/sends_much") as rude:
        assert rude.read_frame() == (0x82, bytes(MiB))
        with hub.connect("/sends_much") as witness:
            for _ in range(8):
                assert witness.recv(WAIT) == bytes(MiB)  # now the hub has all that the service sent to the first client
            hub.process.send_signal(signal.SIGTERM)
            assert closed_with(witness)[0] == 1001
        for _ in range(7):
            assert rude.read_frame() == (0x82, bytes(MiB))
        assert rude.read_close()[0] == 1001
        rude.finish(1001)
    hub.wait()


def test_killed_hub_leaves_nobody(tmp_path: Path) -> None:
    """After kill -9 of the hub all services end by themselves within two seconds, and a new one starts at once."""
    port = find_free_port()
    hub = HubProcess(tmp_path, port=f"tcp:{port}:interface=127.0.0.1")
    for name, source in LAST_WORDS.items():
        hub.save(f"{name}.py", source)
    with ExitStack() as stack:
        for name in (*LAST_WORDS, "echo", "clock", "demo_chatroom"):
            stack.enter_context(hub.connect(f"/{name}"))
        assert len(processes_in(hub.folder)) == 7
        os.kill(hub.process.pid, signal.SIGKILL)
        eventually(lambda: not processes_in(hub.folder), "all gone", 2)
    assert hub.wait() == -signal.SIGKILL
    again = HubProcess(tmp_path, port=f"tcp:{port}:interface=127.0.0.1")
    with again.connect("/echo") as client:
        client.send("again")
        assert client.recv(WAIT) == "again"
    again.check_end()


def test_killed_hub_leaves_no_stubborn_service(tmp_path: Path) -> None:
    """Nor does a service survive the hub that is busy, or deaf to the end of its input."""
    hub = HubProcess(tmp_path)
    try:
        hub.save("deaf.py", STUBBORN.format(handler="signal.SIG_IGN"))
        hub.save(
            "busy.py",
            """
            import wshub

            class Service(wshub.Service):
                def on_message(self, client, data):
                    client.close(4000)
                    self._channel.flush()
                    while True:
                        pass
            """,
        )
        with hub.connect("/deaf"), hub.connect("/busy") as busy:
            busy.send("go")
            assert closed_with(busy)[0] == 4000
            os.kill(hub.process.pid, signal.SIGKILL)
            eventually(lambda: not processes_in(hub.folder), "all gone", 2)
    finally:
        hub.kill()


HANGS = {"stopped": "os.kill(os.getpid(), signal.SIGSTOP)", "stuck": "re.match('(a+)+b', 'a' * 60)"}


def test_killed_hub_leaves_no_service_that_hangs(tmp_path: Path) -> None:
    """Fault: kill -9 of a hub, one service of which is stopped, and in another of which a regular expression keeps
    Python's lock; each has a child that ignores every signal but KILL. Seen: all are gone within two seconds.
    """
    hub = HubProcess(tmp_path)
    try:
        for name, act in HANGS.items():
            hub.save(
                f"{name}.py",
                f"""
                import os, re, signal, subprocess
                import wshub

                class Service(wshub.Service):
                    def on_message(self, client, data):
                        subprocess.Popen(["sh", "-c", "trap '' HUP INT TERM; while :; do sleep 1; done"])
                        client.close(4000)
                        self._channel.flush()
                        {act}
                """,
            )
            with hub.connect(f"/{name}") as client:
                client.send("go")
                assert closed_with(client)[0] == 4000
        assert len(processes_in(hub.folder)) >= 5
        os.kill(hub.process.pid, signal.SIGKILL)
        eventually(lambda: not processes_in(hub.folder), "all gone", 2)
    finally:
        hub.kill()
