"""Many clients, much to say, and services that do not listen: nothing is lost, nothing piles up."""

import asyncio
import hashlib
import os
import random
import resource
import selectors
import socket
import struct
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AsyncExitStack, ExitStack, suppress
from pathlib import Path

import pytest
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory
from websockets.frames import apply_mask

from .harness import WAIT, HubProcess, eventually, make_upgrade

StartHub = Callable[..., HubProcess]
KiB, MiB = 1 << 10, 1 << 20
CLOSE = 8
NOISE = random.Random(1).randbytes(3 * MiB)  # pieces of it are messages that no two clients have in common
PATIENCE = 60.0  # seconds for what takes a few


@pytest.fixture(autouse=True, scope="module")
def _many_descriptors() -> Iterator[None]:
    """Room for a thousand connections, here and, since it is inherited, in the hub."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 4096
    if soft != resource.RLIM_INFINITY and soft < wanted:
        if hard != resource.RLIM_INFINITY and hard < wanted:
            pytest.skip(f"needs {wanted} descriptors, and may have {hard}")
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class FastClient:
    """A WebSocket by hand that never blocks, so that one thread can play hundreds of them; see `play`."""

    def __init__(self, hub: HubProcess, path: str) -> None:
        self.connection = socket.socket()
        self.connection.setblocking(False)
        self.connection.connect_ex((hub.host, hub.port))
        self.received: list[bytes] = []
        """Opcode and a digest of each message, as `note` makes it."""
        self.is_open = False
        """Whether its upgrade request was accepted."""
        self.has_ended = False
        """Whether the stream has, in order."""
        self.close_code = 0
        """What the hub's close frame said, if there was one."""
        self._unsent: list[memoryview] = [memoryview(make_upgrade(path, host=f"{hub.host}:{hub.port}"))]
        self._to_come: Iterator[bytes] = iter(())
        self._data = bytearray()

    def say(self, messages: Iterable[bytes]) -> None:
        """Send binary messages, each made when its turn comes, once everything before has been sent."""
        self._to_come = (make_masked_frame(2, message) for message in messages)

    def say_goodbye(self) -> None:
        """Send a close frame, after whatever there is to say."""
        self._unsent += [memoryview(frame) for frame in self._to_come]
        self._unsent.append(memoryview(make_masked_frame(CLOSE, (1000).to_bytes(2, "big"))))

    def write(self) -> bool:
        """Send what the connection takes; return whether there is something left."""
        while True:
            if not self._unsent:
                frame = next(self._to_come, None) if self.is_open else None
                if frame is None:
                    return False
                self._unsent.append(memoryview(frame))
            try:
                sent = self.connection.send(self._unsent[0])
            except BlockingIOError:
                return True
            self._unsent[0] = self._unsent[0][sent:]
            if not self._unsent[0]:
                del self._unsent[0]

    def read(self) -> None:
        """Take in what has come."""
        try:
            data = self.connection.recv(256 * KiB)
        except BlockingIOError:
            return
        self.has_ended = not data
        self._data += data
        if not self.is_open:
            head, end, rest = bytes(self._data).partition(b"\r\n\r\n")
            if not end:
                return
            assert head.startswith(b"HTTP/1.1 101"), head
            self.is_open = True
            self._data = bytearray(rest)
        while self._take_frame():
            pass

    def _take_frame(self) -> bool:
        data = self._data
        if len(data) < 2:
            return False
        size, start = data[1], 2
        if size > 125:
            start = 4 if size == 126 else 10
            size = int.from_bytes(data[2:start], "big")
        if len(data) < start + size or (size > 125 and start > len(data)):
            return False
        with memoryview(data) as view:
            payload = bytes(view[start : start + size])
        if data[0] & 15 == CLOSE:
            self.close_code = int.from_bytes(payload[:2], "big")
        else:
            self.received.append(note(data[0], payload))
        del data[: start + size]
        return True


def make_masked_frame(opcode: int, payload: bytes) -> bytes:
    """A client's frame with a whole message, masked."""
    size, mask = len(payload), b"\x1f\xe2\x35\xc4"
    if size < 126:
        head = bytes((0x80 | opcode, 0x80 | size))
    elif size < 65536:
        head = bytes((0x80 | opcode, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((0x80 | opcode, 0xFF)) + size.to_bytes(8, "big")
    return b"".join((head, mask, apply_mask(payload, mask)))


def note(first: int, payload: bytes) -> bytes:
    """A short form of a message: its first byte and a digest."""
    return bytes((first,)) + hashlib.sha256(payload).digest()


def notes(messages: Iterable[bytes]) -> list[bytes]:
    """The short forms of binary messages."""
    return [note(0x82, message) for message in messages]


def play(clients: list[FastClient], until: Callable[[], object], what: str, timeout: float = PATIENCE) -> None:
    """Let clients send and receive until `until()` is true, or fail after `timeout` seconds."""
    both, deadline = selectors.EVENT_READ | selectors.EVENT_WRITE, time.monotonic() + timeout
    with selectors.DefaultSelector() as selector:
        for client in clients:
            if not client.has_ended:
                selector.register(client.connection, both, client)
        while not until():
            assert time.monotonic() < deadline, f"not within {timeout} seconds: {what}"
            for key, events in selector.select(0.05):
                client = key.data
                if events & selectors.EVENT_READ:
                    was_open = client.is_open
                    client.read()
                    if client.has_ended:
                        selector.unregister(client.connection)
                        continue
                    if client.is_open and not was_open:
                        selector.modify(client.connection, both, client)
                if events & selectors.EVENT_WRITE and not client.write():
                    selector.modify(client.connection, selectors.EVENT_READ, client)


class Crowd:
    """Clients that come at the same moment, and go when the `with` ends."""

    def __init__(self, hub: HubProcess, path: str, count: int) -> None:
        self.clients: list[FastClient] = []
        self._hub, self._path, self._count = hub, path, count

    def __enter__(self) -> list[FastClient]:
        for _ in range(self._count):
            self.clients.append(FastClient(self._hub, self._path))
        return self.clients

    def __exit__(self, *_: object) -> None:
        for client in self.clients:
            client.connection.close()


def resident(hub: HubProcess) -> int:
    """The hub's resident memory, in bytes."""
    return read_memory(hub.process.pid, "Rss")


def read_memory(pid: int, name: str) -> int:
    """A line of a process's smaps_rollup, in bytes."""
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1]) * KiB
    raise LookupError(name)


def test_both_sides_have_a_megabyte_to_say(hub: HubProcess) -> None:
    """20 clients send 20 messages of the greatest size without waiting; all come back, in order, with no deadlock."""
    hub.save(
        "patient.py",
        """
        import wshub

        class Service(wshub.Service):
            slow_clients = "pause"  # who sends that much before it reads is slow, and on a busy machine too slow

            def on_message(self, client, data):
                client.send(data)
        """,
    )

    def messages(number: int) -> Iterator[bytes]:
        starts = range(number * 20, number * 20 + 20)
        return (NOISE[start * 4099 : start * 4099 + MiB] for start in starts)

    with Crowd(hub, "/patient", 20) as clients:
        for number, client in enumerate(clients):
            client.say(messages(number))
        play(clients, lambda: all(len(client.received) == 20 for client in clients), "everything echoed")
        for number, client in enumerate(clients):
            assert client.received == notes(messages(number))


def test_both_sides_talk_and_neither_asks(hub: HubProcess) -> None:
    """A service that talks for megabytes to everybody who comes, and only then listens, is no deadlock either."""
    hub.save(
        "talks.py",
        """
        import wshub

        class Service(wshub.Service):
            slow_clients = "pause"

            def on_open(self, client):
                for number in range(8):
                    client.send(bytes((number,)) * (1 << 20))

            def on_message(self, client, data):
                client.send(data)
        """,
    )

    def own(number: int) -> Iterator[bytes]:
        return (NOISE[each * 1000 + number : each * 1000 + number + MiB] for each in range(8))

    with Crowd(hub, "/talks", 10) as clients:
        for number, client in enumerate(clients):
            client.say(own(number))
        play(clients, lambda: all(len(client.received) == 16 for client in clients), "16 megabytes for each")
        for number, client in enumerate(clients):
            from_service = notes(bytes((each,)) * MiB for each in range(8))
            assert client.received == from_service + notes(own(number))


def test_a_thousand_at_once(start_hub: StartHub) -> None:
    """A thousand clients that connect at the same moment are all served, and each gets its own echo."""
    hub = start_hub()
    with Crowd(hub, "/echo", 1000) as clients:
        for number, client in enumerate(clients):
            client.say([b"I am client %d" % number])
        play(clients, lambda: all(client.received for client in clients), "an echo for each")
        for number, client in enumerate(clients):
            assert client.received == notes([b"I am client %d" % number])
        assert hub.count_clients() == 1000
    hub.check_nothing_leaked()


def churn(hub: HubProcess, rounds: int = 6, count: int = 100) -> None:
    """Clients come, send, get their answers and go, half of them without a word, a few before they have an answer."""
    for _ in range(rounds):
        with Crowd(hub, "/echo", count) as clients:
            for number, client in enumerate(clients):
                client.say([b"%d" % number, bytes(number * 50)])
            answered = clients[: count * 9 // 10]
            play(clients, lambda: all(len(client.received) == 2 for client in answered), "answers")  # noqa: B023
            polite = clients[: count // 2]
            for client in polite:
                client.say_goodbye()
            play(clients, lambda: all(client.has_ended for client in polite), "an orderly end")  # noqa: B023
            assert {client.close_code for client in polite} == {1000}
    eventually(lambda: hub.count_clients() == 0, "all clients gone")


def test_churn(start_hub: StartHub) -> None:
    """When 600 clients have come and gone, the tables are empty and the descriptors back; 600 more cost no memory."""
    hub = start_hub()
    hub.check_nothing_leaked()  # from now on it has its service, and whatever the first client needs
    pid = hub.pid_of("/echo")
    baseline = hub.count_descriptors()
    memory = []
    for _ in range(2):
        churn(hub)
        services = hub.list_services()
        assert {path: each["clients"] for path, each in services.items()} == dict.fromkeys(services, 0)
        eventually(lambda: hub.count_descriptors() == baseline, f"{baseline} descriptors as before")
        memory.append((resident(hub), read_memory(pid, "Rss")))
    assert hub.pid_of("/echo") == pid
    for before, after in zip(*memory, strict=True):
        assert after - before < 4 * MiB, memory


def test_memory_of_a_service(start_hub: StartHub) -> None:
    """The process of a small service has at most 6 MiB of its own."""
    hub = start_hub()
    with hub.connect("/echo") as client:
        client.send("hello")
        assert client.recv(WAIT) == "hello"
        private = read_memory(hub.pid_of("/echo"), "Private_Dirty")
    assert private <= 6 * MiB, f"{private / MiB:.1f} MiB"


NOT_FOR_SERVICES = """
    asyncio autobahn concurrent ctypes http inspect json logging multiprocessing queue socket ssl subprocess threading
    traceback twisted websockets zope
    """


def test_imports_of_a_service(hub: HubProcess) -> None:
    """A small service has loaded nothing that it does not need, asyncio, threading and Twisted least of all."""
    hub.save(
        "lists_modules.py",
        """
        import sys
        import wshub

        class Service(wshub.Service):
            def on_message(self, client, data):
                client.send(" ".join(sys.modules))
        """,
    )
    with hub.connect("/lists_modules") as client:
        client.send("?")
        loaded = str(client.recv(WAIT)).split()
    assert {"wshub.service.handlers", "wshub.service.channel", "wshub.wire"} <= set(loaded)
    assert not {name.partition(".")[0] for name in loaded} & set(NOT_FOR_SERVICES.split())


BROADCASTS = """
    import wshub

    class Service(wshub.Service):
        def on_message(self, client, data):
            self.broadcast(data)
    """


def test_compressed_broadcast(start_hub: StartHub) -> None:
    """With compression, a broadcast to 50 clients with windows of three sizes, and to 5 with none, arrives intact."""
    hub = start_hub("--compression")
    hub.save("broadcasts.py", BROADCASTS)
    messages: list[str | bytes] = ["", "short", "grüße " * 20_000, b"", bytes(70_000), NOISE[:100_000]]
    messages += [
        NOISE[:size] * 3 for size in (400, 800, 20_000)
    ]  # what fits into one window repeats too late for another
    messages += [f"the same thing again and again, number {number}" for number in range(50)]

    def options(number: int) -> dict[str, object]:
        if number < 5:
            return {}
        bits = (None, 15, 10, 9)[number % 4]
        deflate = ClientPerMessageDeflateFactory(server_max_window_bits=bits, client_max_window_bits=True)
        return {"extensions": [deflate]}

    async def broadcast() -> None:
        async with AsyncExitStack() as stack:
            joining = [hub.connect_async("/broadcasts", **options(number)) for number in range(55)]
            clients = [await stack.enter_async_context(each) for each in joining]
            assert [len(client.protocol.extensions) for client in clients] == [0] * 5 + [1] * 50
            everybody_is_here = [clients[-1].recv()]
            await clients[0].send("here?")  # the service has heard of all of them before it hears this
            assert await asyncio.gather(*everybody_is_here) == ["here?"]
            for message in messages:
                await clients[-1].send(message)
            for client in clients[:-1]:
                assert await client.recv() == "here?"
            for message in messages:
                assert await asyncio.gather(*(client.recv() for client in clients)) == [message] * 55

    asyncio.run(asyncio.wait_for(broadcast(), PATIENCE))
    hub.check_nothing_leaked()


STOPS_READING = """
    import os
    import time
    import wshub

    class Service(wshub.Service):
        def on_message(self, client, data):
            if data == b"sleep":
                client.send(b"asleep")
                self._channel.flush()
                deadline = time.monotonic() + 60
                while not os.path.exists("wake up") and time.monotonic() < deadline:
                    time.sleep(0.01)
            else:
                client.send(data)
    """


def test_a_service_that_stops_reading(start_hub: StartHub) -> None:
    """20 clients flood a service that sleeps: the hub holds little of it, and all of it arrives when it wakes up."""
    hub = start_hub()
    hub.save("stops_reading.py", STOPS_READING)
    count, size = 300, 64 * KiB  # 19 MiB from each client, 375 MiB from all

    def messages(number: int) -> Iterator[bytes]:
        starts = range(number, number + 20 * count, 20)
        return (NOISE[start * 251 : start * 251 + size] for start in starts)

    sent = [0] * 20

    def counted(number: int) -> Iterator[bytes]:
        for message in messages(number):
            sent[number] += 1
            yield message

    with ExitStack() as stack:
        clients = stack.enter_context(Crowd(hub, "/stops_reading", 20))
        waker = stack.enter_context(hub.connect("/stops_reading"))
        play(clients, lambda: all(client.is_open for client in clients), "everybody here")
        waker.send(b"sleep")
        assert waker.recv(WAIT) == b"asleep"
        before = resident(hub)
        for number, client in enumerate(clients):
            client.say(counted(number))
        most, progress, still_since = 0, 0, time.monotonic()

        def stands_still() -> bool:
            nonlocal most, progress, still_since
            most = max(most, resident(hub))
            if sum(sent) != progress:
                progress, still_since = sum(sent), time.monotonic()
            return progress > 0 and time.monotonic() - still_since > 0.5

        play(clients, stands_still, "clients that have to wait")
        assert sum(sent) < 20 * count, "nobody had to wait"
        assert most - before < 60 * MiB, f"{(most - before) / MiB:.1f} MiB for {sum(sent) * size / MiB:.1f} MiB sent"
        assert not any(client.received for client in clients)
        (hub.services / "wake up").touch()
        play(clients, lambda: all(len(client.received) == count for client in clients), "everything echoed")
        for number, client in enumerate(clients):
            assert client.received == notes(messages(number))
    os.unlink(hub.services / "wake up")
    hub.check_nothing_leaked()


SLEEPS = """
    import os
    import time
    import wshub

    class Service(wshub.Service):
        seen = 0

        def on_open(self, client):
            self.seen += 1

        def on_message(self, client, data):
            if data == "sleep":
                while not os.path.exists("_wake"):
                    time.sleep(0.01)
            elif data == "seen":
                client.send(str(self.seen))
"""


def is_answered_soon(hub: HubProcess) -> bool:
    """Whether a client that wants to connect gets its 101."""
    with hub.open_socket() as newcomer:
        newcomer.sendall(make_upgrade("/sleeps"))
        newcomer.settimeout(0.5)
        try:
            return newcomer.recv(1024).startswith(b"HTTP/1.1 101")
        except TimeoutError:
            return False


def test_newcomers_of_a_service_that_sleeps(start_hub: StartHub, tmp_path: Path) -> None:
    """Fault: clients with large headers come and reset their connections, while their service sleeps and has more than
    enough to read. Seen: they wait, and so few that the limit of an address holds; others are served; when it wakes it
    has seen no more than those, and who has waited is served.
    """
    (tmp_path / "wshub.toml").write_text('max_connections_per_address = 40\nunlimited_addresses = "127.0.0.1"\n')
    hub = start_hub("--config", str(tmp_path / "wshub.toml"))
    hub.save("sleeps.py", SLEEPS)
    refused = 0
    with hub.connect("/sleeps") as sleeper, ExitStack() as stack:
        senders = [stack.enter_context(hub.connect("/sleeps")) for _ in range(6)]
        sleeper.send("sleep")
        for sender in senders:
            sender.send("x" * 1_000_000)
        eventually(lambda: not is_answered_soon(hub), "it has more than enough to read")
        for _ in range(200):
            with socket.create_connection((hub.host, hub.port), WAIT, source_address=("127.0.0.2", 0)) as rude:
                rude.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                rude.sendall(make_upgrade("/sleeps", f"X-Pad: {'y' * 15_000}\r\n"))
                rude.settimeout(0.02)
                with suppress(TimeoutError):
                    refused += rude.recv(1024).startswith(b"HTTP/1.1 429")
        assert refused >= 150
        with hub.connect("/echo") as other:
            other.send("hello")
            assert other.recv(WAIT) == "hello"
        newcomer = stack.enter_context(hub.open_socket())
        newcomer.sendall(make_upgrade("/sleeps"))
        hub.save("_wake", "")
        assert newcomer.recv(1024).startswith(b"HTTP/1.1 101")
        sleeper.send("seen")
        assert int(sleeper.recv(WAIT)) <= 60
    hub.check_nothing_leaked()
