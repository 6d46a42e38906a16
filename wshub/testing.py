"""For tests that neither wait nor start anything: of one's own service, and of the hub.

`ServiceTester`, with its `FakeClient`s, is for authors of services: see docs/howto/test-a-service.md. The rest is for
the hub's own tests, fakes of what its shell stands on:

==============  =========================================================================================
`FakeReactor`   a clock that stands still, spawns `FakeProcess`es, and reads and writes real pipes by the turn
`FakeProcess`   a service process that does what the test says
`FakeShell`     the process of the hub's that serves nobody
`FakeSocket`    a client's connection as a `ServiceLink` sees it: keeps what is sent to it
==============  =========================================================================================

::

    reactor = FakeReactor()
    supervisor = ServiceSupervisor(reactor, settings, Poller(reactor))
    link = supervisor.link(("echo",))
    reactor.processes[0].get_ready()
    link.open(FakeSocket(), OPENING)
    reactor.turn()
    assert reactor.processes[0].read() == [(NEWSOCKET, 1, OPENING)]
"""

import os
import select
import signal
from collections.abc import Callable
from typing import Any

from twisted.internet.error import ProcessDone, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from wshub.arena import ARENA_FD, ArenaReader, halve, map_memory
from wshub.sockets.frames import split_frame
from wshub.tester.client import FakeClient as FakeClient  # noqa: PLC0414 - authors find them here
from wshub.tester.session import ServiceTester as ServiceTester  # noqa: PLC0414
from wshub.wire import BINARY, CLOSE, DATA, FAILED, FROM_HUB, NEWSOCKET, READY, REQUEST, TO_HUB
from wshub.wire.batches import BatchReader, encode_columns
from wshub.wire.payloads import Transaction, decode_batch, encode_gone, encode_opening, encode_ready

FIRST_PID = 1 << 30  # no process of this machine can have it: Linux goes up to 1 << 22

OPENING = ("127.0.0.1", 50000, "/echo", "", "host: localhost", None)
"""What a link tells a service of a new client."""


def encode_batch(*transactions: Transaction) -> bytes:
    """The bytes of a batch from the hub that `wshub.wire.payloads.decode_batch` gives as `transactions`."""
    raw: list[tuple[int, int, bytes]] = []
    for kind, socket_id, payload in transactions:
        if kind == NEWSOCKET:
            raw.append((kind, socket_id, encode_opening(*payload)))
        elif kind == REQUEST:
            raw.append((kind, socket_id, encode_opening(*(*payload[:5], ",".join(payload[5])))))
        elif kind == CLOSE:
            raw.append((kind, socket_id, encode_gone(*payload)))
        elif isinstance(payload, str):
            raw.append((kind, socket_id, payload.encode()))
        else:
            raw.append((BINARY if kind == DATA else kind, socket_id, payload or b""))
    return b"".join(encode_columns(raw))


class FakeReactor(Clock):
    """A reactor whose time passes by `advance` and whose descriptors are served by `turn`."""

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[FakeProcess] = []
        """All that were spawned, the first one first."""
        self.cannot_spawn: OSError | None = None
        """What `spawnProcess` raises."""
        self.warden: FakeShell | None = None
        """The one process that serves nobody."""
        self._readers: set[Any] = set()
        self._writers: set[Any] = set()

    def spawnProcess(self, protocol: Any, program: str, arguments: list[str], **options: Any) -> Any:
        """Start nothing, and keep all of it for the test."""
        if self.cannot_spawn:
            raise self.cannot_spawn
        if FROM_HUB not in options["childFDs"]:
            self.warden = FakeShell()
            protocol.makeConnection(self.warden)
            return self.warden
        process = FakeProcess(FIRST_PID + len(self.processes), protocol, [program, *arguments], options)
        self.processes.append(process)
        protocol.makeConnection(process)
        return process

    def signal(self, pid: int, number: int) -> None:
        """In the place of `os.kill` and `os.killpg`: note the signal. Nobody dies of it."""
        process = self.processes[pid - FIRST_PID]
        if process.has_exited and not process.leaves_somebody_behind:
            raise ProcessLookupError
        process.signals.append(signal.Signals(number))

    def turn(self) -> None:
        """Serve every descriptor that is ready, and every call that is due, until there is none."""
        while True:
            self.advance(0)
            ready = self._poll()
            if not ready:
                return
            for descriptor, method, events in ready:
                if events & select.POLLNVAL:
                    raise AssertionError(f"{descriptor} is closed, and still watched")
                if why := getattr(descriptor, method)():
                    self._readers.discard(descriptor)
                    self._writers.discard(descriptor)
                    descriptor.connectionLost(Failure(why))  # type: ignore[no-untyped-call]

    def _poll(self) -> list[tuple[Any, str, int]]:
        ready = []
        for descriptors, mask, method in (
            (self._readers, select.POLLIN, "doRead"),
            (self._writers, select.POLLOUT, "doWrite"),
        ):
            for descriptor in list(descriptors):
                poll = select.poll()
                poll.register(descriptor.fileno(), mask)
                ready += [(descriptor, method, events) for _, events in poll.poll(0)]
        return ready

    def addReader(self, descriptor: Any) -> None:
        """Watch for what can be read."""
        self._readers.add(descriptor)

    def removeReader(self, descriptor: Any) -> None:
        """Do not."""
        self._readers.discard(descriptor)

    def addWriter(self, descriptor: Any) -> None:
        """Watch for room to write."""
        self._writers.add(descriptor)

    def removeWriter(self, descriptor: Any) -> None:
        """Do not."""
        self._writers.discard(descriptor)

    def close(self) -> None:
        """Close what the processes have open."""
        for process in self.processes:
            process.close_pipes()


class FakeShell:
    """A process that is told something on its standard input."""

    def __init__(self) -> None:
        self.told = b""

    def write(self, data: bytes) -> None:
        """What `ProcessProtocol`s call on their transport."""
        self.told += data


class FakeProcess:
    """A service process, from its own side; to the hub it is the transport of its `ProcessProtocol`."""

    def __init__(self, pid: int, protocol: Any, command: list[str], options: dict[str, Any]) -> None:
        self.pid = pid
        self.command = command
        self.options = options
        """The keywords of `spawnProcess`."""
        self.signals: list[signal.Signals] = []
        """What it was sent."""
        self.has_exited = False
        self.leaves_somebody_behind = False
        """Whether its group still has a process when it has exited."""
        self.input_is_closed = False
        """Whether `read` has seen the end of its input."""
        self.output_is_refused: set[int] = set()
        """The descriptors that the hub has stopped to listen to."""
        self._protocol = protocol
        descriptors = options["childFDs"]
        self._pipes = {fd: os.dup(descriptors[fd]) for fd in (FROM_HUB, TO_HUB)}
        os.set_blocking(self._pipes[FROM_HUB], False)
        self._memory = map_memory(descriptors[ARENA_FD]) if ARENA_FD in descriptors else None
        self._arena = ArenaReader(halve(self._memory)[0]) if self._memory else None
        self._reader = BatchReader(self._arena)

    # What it does.

    def read(self) -> list[Transaction]:
        """What the hub has sent since the last time."""
        transactions: list[Transaction] = []
        while FROM_HUB in self._pipes:
            try:
                data = os.read(self._pipes[FROM_HUB], 1 << 20)
            except BlockingIOError:
                break
            if not data:
                self.input_is_closed = True
                break
            for body in self._reader.feed(data):
                transactions += decode_batch(body)
        return transactions

    def send(self, *transactions: tuple[int, int, bytes]) -> None:
        """Send transactions to the hub, in one batch."""
        self.send_bytes(b"".join(encode_columns(list(transactions))))

    def send_bytes(self, data: bytes) -> None:
        """Send the hub whatever; it must fit into the pipe."""
        assert os.write(self._pipes[TO_HUB], data) == len(data)

    def get_ready(self, **declared: str) -> None:
        """Say READY, with what the class declares."""
        self.send((READY, 0, encode_ready(declared)))

    def fail(self, traceback: str) -> None:
        """Say FAILED."""
        self.send((FAILED, 0, traceback.encode()))

    def print(self, data: bytes, fd: int = 1) -> None:
        """Write to stdout or stderr."""
        self._protocol.childDataReceived(fd, data)

    def close_pipes(self) -> None:
        """Close its ends of both pipes."""
        for fd in list(self._pipes):
            os.close(self._pipes.pop(fd))

    def exit(self, status: int = 0, by_signal: int | None = None, *, output_ends: bool = True) -> None:
        """Exit. Unless `output_ends`, some stranger still holds its stdout and stderr."""
        self.close_pipes()
        if self._arena and self._memory:
            self._arena.close()
            self._memory.close()
        self.has_exited = True
        ended = ProcessTerminated(status, by_signal) if status or by_signal else ProcessDone(0)  # type: ignore[no-untyped-call]
        self._reason = Failure(ended)  # type: ignore[no-untyped-call]
        self._protocol.processExited(self._reason)
        if output_ends:
            self.end_output()

    def end_output(self) -> None:
        """Close stdout and stderr: now it has ended altogether."""
        for fd in (1, 2):
            self._protocol.childConnectionLost(fd)
        self._protocol.processEnded(self._reason)

    # What the hub does with it.

    def closeChildFD(self, fd: int) -> None:
        """The hub listens to one of its outputs no more."""
        self.output_is_refused.add(fd)


class FakeSocket:
    """A client's connection, as far as a `ServiceLink` is concerned."""

    def __init__(self) -> None:
        self.messages: list[tuple[int, bytes]] = []
        """Opcode and payload of each message that was sent to it."""
        self.closed: tuple[int, bytes] | None = None
        """Code and reason, once it was closed."""
        self.is_paused = False
        self.moves: list[tuple[Callable[[], Any], Callable[[bool], object]]] = []
        """What it was told of other processes to go to."""
        self.wshub_direct: Callable[[bytes], int] | None = None

    def wshub_send_rest(self, frames: list[bytes], sent: int) -> None:
        """See `wshub.processes.socket.Socket`."""

    def wshub_send(self, frames: list[bytes]) -> None:
        """See `wshub.processes.socket.Socket`."""
        self.messages += map(split_frame, frames)

    def wshub_synced(self) -> None:
        """See `wshub.processes.socket.Socket`."""

    def wshub_hand_over(self, find: Callable[[], Any], done: Callable[[bool], object]) -> None:
        """See `wshub.processes.socket.Socket`."""
        self.moves.append((find, done))

    def wshub_pause(self) -> None:
        """See `wshub.processes.socket.Socket`."""
        self.is_paused = True

    def wshub_resume(self) -> None:
        """See `wshub.processes.socket.Socket`."""
        self.is_paused = False

    def wshub_finish(self, code: int, reason: bytes) -> None:
        """See `wshub.processes.socket.Socket`; its service has nothing to answer."""
        self.wshub_close(code, reason)

    def wshub_close(self, code: int, reason: bytes) -> None:
        """See `wshub.processes.socket.Socket`."""
        if self.closed is None:
            self.closed = code, reason
