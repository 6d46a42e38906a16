"""Services that misbehave on their pipes: each is killed or ends, its clients are told, and the hub is as before.

They write to descriptor 4 themselves, past the kit. Every test leaves the hub to the next one.
"""

import os
import pickle
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent

import pytest
from websockets.sync.client import ClientConnection

from wshub.arena import ARENA_SIZE, FROM_SIZE, IN_ARENA, REFERENCE
from wshub.wire import CLOSE, DATA, FAILED, HEARTBEAT, MAX_BATCH, NEWSOCKET, READY, REQUEST
from wshub.wire.batches import encode_columns
from wshub.wire.payloads import encode_close, encode_ready

from .harness import WAIT, HubProcess, closed_with, eventually

KiB, MiB = 1 << 10, 1 << 20
DIED = (1011, "The service died.")

WRITES = """
import os
import time
import wshub

class Service(wshub.{base}):
    {define} on_open(self, client):
        client.send(str(client.id))

    {define} on_message(self, client, data):
        if isinstance(data, bytes):
            os.write(4, data)
        else:
            exec(data)
"""
"""A service that writes what it gets as bytes to the pipe, and does what it gets as text."""


def save_writer(hub: HubProcess, name: str, base: str = "Service") -> str:
    """Save such a service. Return its route."""
    hub.save(f"{name}.py", WRITES.format(base=base, define="async def" if base == "AsyncService" else "def"))
    return f"/{name}"


def batch(*transactions: tuple[int, int, bytes]) -> bytes:
    """A batch that is well-formed."""
    return b"".join(encode_columns(list(transactions)))


def framed(body: bytes) -> bytes:
    """Any body, with its own size before it."""
    return struct.pack("<I", len(body)) + body


def memory_peak(hub: HubProcess) -> int:
    """The most memory, in bytes, that the hub has had resident since `forget_peak`."""
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * KiB


def forget_peak(hub: HubProcess) -> int:
    """Begin to measure anew. Return what it has now."""
    Path(f"/proc/{hub.process.pid}/clear_refs").write_text("5")  # proc_pid_clear_refs(5)
    return memory_peak(hub)


def check_killed(hub: HubProcess, client: ClientConnection, route: str, why: str) -> None:
    """Wait until the service has been killed for what it sent: 1011, one line, no process. The next one is served."""
    pid = hub.pid_of(route)
    assert closed_with(client) == DIED
    assert len(hub.wait_for_logs(rf"\[service {route}#error\] killed: it sent .*{why}", 1)) == 1
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the process gone")
    with hub.connect(route) as another:
        assert another.recv(WAIT) == "1"


@pytest.mark.parametrize("size", [0, MAX_BATCH + 1, 2**31, 2**32 - 1])
def test_sizes_that_cannot_be(hub: HubProcess, size: int) -> None:
    """Fault: a service announces a batch of 0, too many or 2**32-1 bytes. Seen: killed; no such memory is taken."""
    route = save_writer(hub, f"sizes_{size}")
    with hub.connect(route) as client:
        before = forget_peak(hub)
        client.send(struct.pack("<I", size) + bytes(100))
        check_killed(hub, client, route, f"a batch of {size} bytes")
        assert memory_peak(hub) - before < 2 * MiB


@pytest.mark.parametrize(
    ("position", "size", "why"),
    [
        (0, ARENA_SIZE + 1, "a reference to"),
        (ARENA_SIZE - 1, 2, "a reference to"),
        (0, FROM_SIZE, "a batch of 0 bytes"),
    ],
)
def test_references_that_cannot_be(hub: HubProcess, position: int, size: int, why: str) -> None:
    """Fault: a service refers to shared memory where there is none, or no batch. Seen: killed; the hub lives."""
    route = save_writer(hub, f"references_{position}_{size}")
    with hub.connect(route) as client:
        client.send(REFERENCE.pack(IN_ARENA, position, size))
        check_killed(hub, client, route, why)


def test_a_size_that_never_comes(hub: HubProcess) -> None:
    """Fault: a service announces the largest batch and sends little of it. Seen: no memory taken for the rest."""
    route = save_writer(hub, "never_comes")
    with hub.connect(route) as client:
        before = forget_peak(hub)
        client.send(struct.pack("<I", MAX_BATCH) + bytes(64 * KiB))
        with hub.connect("/echo") as other:
            other.send("still there?")
            assert other.recv(WAIT) == "still there?"
        assert memory_peak(hub) - before < 2 * MiB


class Calls:
    """A pickle that runs a command where it is loaded."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (self.command,)


HOSTILE = {
    "os.system": b"",
    "os.system in a column": b"",
    "EXT1": b"\x80\x03\x82\x01.",
    "EXT4": b"\x80\x03\x84\x01\x00\x00\x00.",
    "LONG_BINPUT": b"\x80\x03Nr" + struct.pack("<I", 2**31) + b".",
    "deep nesting": b"\x80\x03" + b"(" * 100_000 + b".",
    "BINBYTES8": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "trailing bytes": pickle.dumps((bytes((DATA,)), struct.pack("<Q", 1), struct.pack("<I", 1)), 3) + b"xy",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_pickles(hub: HubProcess, name: str) -> None:
    """Fault: a service sends a pickle that calls, or takes gigabytes. Seen: killed; neither happens."""
    route = save_writer(hub, f"pickles_{name}".replace(" ", "_").replace(".", "_"))
    touched = hub.folder / f"touched by {name}"
    hostile = HOSTILE[name]
    if name.startswith("os.system"):
        call = Calls(f"touch '{touched}'")
        hostile = pickle.dumps((b"\1", bytes(8), call) if "column" in name else call, 3)
    with hub.connect(route) as client:
        before = forget_peak(hub)
        client.send(framed(struct.pack("<I", 1) + hostile))
        check_killed(hub, client, route, "a batch ")
        assert memory_peak(hub) - before < 2 * MiB
    assert not touched.exists()


@pytest.mark.parametrize(
    ("name", "transaction", "why"),
    [
        ("unknown", (14, 1, b""), "the unknown kind 14"),
        ("highest", (255, 1, b""), "the unknown kind 255"),
        ("from_the_hub", (NEWSOCKET, 1, b""), "the unknown kind 0"),
        ("asks", (REQUEST, 1, b""), "the unknown kind 11"),
        ("ready", (READY, 0, encode_ready({})), "a second READY"),
        ("close", (CLOSE, 1, b"\x03\xee"), "a CLOSE with code 1006"),
        ("nobody", (DATA, 0, b"x"), "which was never its own"),
        ("huge_id", (DATA, 2**64 - 1, b"x"), "which was never its own"),
    ],
)
def test_what_no_service_may_say(hub: HubProcess, name: str, transaction: tuple[int, int, bytes], why: str) -> None:
    """Fault: a service sends an unknown kind, a wrong code, or a second READY. Seen: killed."""
    route = save_writer(hub, f"says_{name}")
    with hub.connect(route) as client:
        client.send(batch(transaction))
        check_killed(hub, client, route, why)


def test_sockets_of_another_service(hub: HubProcess) -> None:
    """Fault: a service writes to a socket of another service. Seen: killed; the other's clients get nothing of it."""
    mine, others = save_writer(hub, "writes_to_others"), save_writer(hub, "is_written_to")
    with hub.connect(mine) as client, hub.connect(others) as one, hub.connect(others) as two:
        assert [one.recv(WAIT), two.recv(WAIT)] == ["1", "2"]
        client.send(batch((DATA, 2, b"forged")))
        check_killed(hub, client, mine, "a transaction for socket 2, which was never its own")
        for other, number in ((one, 1), (two, 2)):
            other.send(f"client.send('{number} is served')")
            assert other.recv(WAIT) == f"{number} is served"


def test_sockets_that_have_closed(hub: HubProcess) -> None:
    """Fault: a service writes to a socket that has closed already. Seen: dropped; the service goes on."""
    route = save_writer(hub, "writes_late")
    with hub.connect(route) as gone:
        assert gone.recv(WAIT) == "1"
    with hub.connect(route) as client:
        assert client.recv(WAIT) == "2"
        client.send(batch((DATA, 1, b"late"), (CLOSE, 1, encode_close(1000, "")), (DATA, 2, b"in time")))
        assert client.recv(WAIT) == "in time"
    assert not hub.search(rf"\[service {route}#error\]")


def test_output_that_looks_like_the_wire(hub: HubProcess) -> None:
    """Fault: a service prints, and writes a whole batch to stdout. Seen: lines of the log, and nothing else."""
    route = save_writer(hub, "prints_batches")
    with hub.connect(route) as client:
        assert client.recv(WAIT) == "1"
        client.send(f"print('as a line'); os.write(1, {batch((DATA, 1, b'forged'))!r} + b'end of it\\n')")
        hub.wait_for_log(rf"\[service {route}#info\] as a line$")
        hub.wait_for_log(rf"\[service {route}#info\] .*\\x80\\x03C\\x01.*forgedend of it$")
        client.send("client.send('the only message')")
        assert client.recv(WAIT) == "the only message"


@pytest.mark.parametrize("base", ["Service", "AsyncService"])
@pytest.mark.parametrize("fd", [3, 4])
def test_pipes_that_are_closed(hub: HubProcess, base: str, fd: int) -> None:
    """Fault: a service closes one of its pipes and goes on. Seen: a crash like any other, for all of its clients."""
    route = save_writer(hub, f"closes_{fd}_{base}", base)
    hub.may_fail.add(route)
    with hub.connect(route) as client, hub.connect(route) as bystander:
        pid = hub.pid_of(route)
        assert client.recv(WAIT) == "1"
        client.send(f"os.close({fd}); client.send('it is closed')")
        if fd == 3 and base == "AsyncService":
            assert client.recv(WAIT) == "it is closed"
            bystander.send("print('whoever reads this')")  # until there is something to read, it does not notice
        assert closed_with(client) == closed_with(bystander) == DIED
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), "the process gone")
    assert len(hub.wait_for_logs(rf"\] {route}: (died|finished): ", 1)) == 1
    with hub.connect(route) as another:
        assert another.recv(WAIT) == "1"


@pytest.mark.parametrize("part", [1, 4, 10, -1])
def test_end_within_a_batch(hub: HubProcess, part: int) -> None:
    """Fault: the stream ends in the middle of a batch. Seen: a crash; what came before the batch has been sent."""
    route = save_writer(hub, f"ends_{part % 100}")
    hub.may_fail.add(route)
    with hub.connect(route) as client:
        assert client.recv(WAIT) == "1"
        cut = batch((DATA, 1, b"never whole"))[:part]
        client.send(f"os.write(4, {batch((DATA, 1, b'whole'))!r} + {cut!r}); os.close(4); time.sleep(600)")
        assert client.recv(WAIT) == "whole"
        assert closed_with(client) == DIED
    hub.wait_for_log(rf"\] {route}: died: ")


@pytest.mark.parametrize("fd", [3, 4])
def test_pipes_that_are_closed_before_it_is_ready(hub: HubProcess, fd: int) -> None:
    """Fault: a service closes one of its pipes while it starts. Seen: 500, not a hang; it counts as not starting."""
    name = f"closes_{fd}_at_first"
    hub.may_fail.add(f"/{name}")
    hub.save(f"{name}.py", f"import os, wshub\nos.close({fd})\nService = wshub.Service\n")
    began = time.monotonic()
    assert hub.upgrade(f"/{name}").status == 500
    assert time.monotonic() - began < 5
    hub.wait_for_log(rf"\] /{name}: does not start until its file changes")
    hub.wait_for_log(f"the module has closed descriptor {fd}, a pipe to the hub")


FORKS = """
import os
import signal
import sys
import time
import wshub

class Service(wshub.{base}):
    {define} on_message(self, client, data):
        hub = os.getppid()
        if data == "sends":
            client.send("queued")
            os.kill(hub, signal.SIGSTOP)
            while "\\nState:\\tT" not in open(f"/proc/{{hub}}/status").read():
                time.sleep(0.001)
        if (child := os.fork()) == 0:
            if data == "exits":
                sys.exit(0)
            client.send("c" * 100_000)
            os._exit(0)
        os.waitpid(child, 0)
        client.send("p" * 100_000)
        if data == "sends":
            os.kill(hub, signal.SIGCONT)
"""


@pytest.mark.parametrize("base", ["Service", "AsyncService"])
def test_service_that_forks_and_both_send(hub: HubProcess, base: str) -> None:
    """Fault: a service forks, and both processes send before the hub looks. Seen: each message, once and whole."""
    define = "async def" if base == "AsyncService" else "def"
    hub.save(f"forks_{base}.py", FORKS.format(base=base, define=define))
    with hub.connect(f"/forks_{base}") as client:
        client.send("sends")
        assert [client.recv(WAIT) for _ in range(3)] == ["c" * 100_000, "queued", "p" * 100_000]


def test_fork_that_exits(hub: HubProcess) -> None:
    """Fault: a process that a service has forked ends by `sys.exit`. Seen: it alone ends."""
    hub.save("forks_and_exits.py", FORKS.format(base="Service", define="def"))
    with hub.connect("/forks_and_exits") as client:
        for _ in range(2):
            client.send("exits")
            assert client.recv(WAIT) == "p" * 100_000


def test_stranger_who_writes_on(hub: HubProcess) -> None:
    """Fault: a process in a session of its own, which a service has left behind, writes to the service's pipe without
    end. Seen: the service's end is its end, 1011, and the others are served.
    """
    route = save_writer(hub, "leaves_a_writer")
    hub.may_fail.add(route)
    with hub.connect(route) as client, hub.connect("/echo") as other:
        assert client.recv(WAIT) == "1"
        client.send(
            dedent(
                f"""
                if (stranger := os.fork()) == 0:
                    os.setsid()
                    try:
                        while True:
                            os.write(4, {batch((HEARTBEAT, 0, b""))!r} * 2000)
                    finally:
                        os._exit(0)
                while os.getsid(stranger) != stranger:
                    time.sleep(0.001)
                os._exit(0)
                """
            )
        )
        assert closed_with(client) == DIED
        other.send("still there?")
        assert other.recv(WAIT) == "still there?"
    hub.wait_for_log(rf"\] {route}: finished: it ended with exit status 0")


def test_traceback_without_end(hub: HubProcess) -> None:
    """Fault: a service that does not start says why in 8 million lines. Seen: 500; the last of them are in the log,
    and others are served.
    """
    traceback = batch((FAILED, 0, b"\n" * (8 * MiB) + b"KeyError: 1"))
    (hub.folder / "traceback").write_bytes(traceback)
    hub.may_fail.add("/explains")
    hub.save(
        "explains.py",
        f"""
        import os
        rest = open({str(hub.folder / "traceback")!r}, "rb").read()
        while rest:
            rest = rest[os.write(4, rest):]
        os._exit(1)
        """,
    )
    before = len(hub.lines)
    began = time.monotonic()
    assert hub.upgrade("/explains").status == 500
    hub.wait_for_log(r"/explains: KeyError: 1$")
    assert hub.get("/").status == 200
    assert time.monotonic() - began < 10
    assert len(hub.lines) - before < 1100


WITH_LIMIT = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_no_shared_memory(start_hub: Callable[..., HubProcess]) -> None:
    """Fault: the system gives no shared memory: here no file, not even one of memory, may be larger than 1 MiB. Seen:
    large messages go through the pipe, both ways, and the log says so.
    """
    hub = start_hub(launcher=(sys.executable, "-c", WITH_LIMIT))
    with hub.connect("/echo") as client:
        for size in (100, 64 * KiB, MiB):
            client.send(b"x" * size)
            assert client.recv(WAIT) == b"x" * size
    (said,) = hub.search(r"\[service /echo#info\] no shared memory, large messages go through the pipe as well: (.*)")
    assert said[1] == "[Errno 27] File too large"
