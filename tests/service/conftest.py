"""The hub's side of a service's pipes, with the service in a thread of this process or in a process of its own."""

import fcntl
import os
import select
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from textwrap import dedent
from time import monotonic

import pytest

from wshub.service.channel import Channel
from wshub.testing import encode_batch
from wshub.wire import CLOSE, DATA, FAILED, FROM_HUB, NEWSOCKET, READY, TO_HUB
from wshub.wire.batches import BatchReader, decode_columns
from wshub.wire.payloads import decode_close, decode_ready

DEADLINE = 10.0  # seconds until a test gives up; on an idle machine nothing here takes more than one
CHECKOUT = Path(__file__).parents[2]
GONE = (1001, "bye")


def opening(host="192.0.2.7", port=40000, path="/test", query="", headers="host: localhost", subprotocol=None):
    """What a NEWSOCKET carries."""
    return host, port, path, query, headers, subprotocol


def encode_transactions(*transactions):
    """The bytes of a batch from the hub."""
    return encode_batch(*transactions)


class Inbox:
    """What arrived from somewhere, in order; whoever wants something of it waits for it, but not for ever."""

    def __init__(self):
        self.items = []
        self.is_over = False
        self._taken = 0
        self._changed = threading.Condition()

    def put(self, *items):
        """Something has arrived."""
        with self._changed:
            self.items += items
            self._changed.notify_all()

    def end(self):
        """Nothing more will arrive."""
        with self._changed:
            self.is_over = True
            self._changed.notify_all()

    def wait(self, holds: Callable[[], object], timeout=DEADLINE):
        """The first true value of ``holds()``, which is asked whenever something arrives."""
        with self._changed:
            deadline = monotonic() + timeout
            while not (value := holds()):
                left = deadline - monotonic()
                assert left > 0, f"not in time; there is {self._short()}"
                assert not self.is_over, f"the stream has ended; there is {self._short()}"
                self._changed.wait(left)
            return value

    def get(self):
        """The next item."""
        self.wait(lambda: len(self.items) > self._taken)
        self._taken += 1
        return self.items[self._taken - 1]

    def get_many(self, count):
        """The next `count` items."""
        return [self.get() for _ in range(count)]

    def rest(self):
        """What comes until the end."""
        self.wait(lambda: self.is_over)
        self._taken, first = len(self.items), self._taken
        return self.items[first:]

    def _short(self):
        return [repr(item)[:200] for item in self.items[-20:]]


def start_thread(call, *args):
    """A thread that keeps nobody from exiting."""
    thread = threading.Thread(target=call, args=args, daemon=True)
    thread.start()
    return thread


def in_thread(call, *args, **options):
    """Start `call` in a thread. Return a function that waits for its result, or raises what it raised."""
    results = Inbox()

    def run():
        try:
            results.put((call(*args, **options), None))
        except BaseException as error:
            results.put((None, error))

    start_thread(run)

    def result():
        value, error = results.get()
        if error is not None:
            raise error
        return value

    return result


class HubSide:
    """The hub's ends of the two pipes."""

    def __init__(self):
        self.child_reads, self._write_fd = os.pipe2(os.O_CLOEXEC)
        self._read_fd, self.child_writes = os.pipe2(os.O_CLOEXEC)
        self.transactions = Inbox()
        self.batches = []
        """How many transactions each batch had."""
        self._last_id = 0
        self._reader = None

    def start_reading(self):
        """From now on the service can write as much as it likes."""
        self._reader = start_thread(self._read)

    def _read(self):
        reader = BatchReader()
        try:
            while data := os.read(self._read_fd, 1 << 18):
                for body in reader.feed(data):
                    batch = [(kind, socket_id, bytes(payload)) for kind, socket_id, payload in decode_columns(body)]
                    self.batches.append(len(batch))
                    self.transactions.put(*batch)
        finally:
            self.transactions.end()

    def post(self, *transactions):
        """Send transactions in one batch."""
        self.write(encode_transactions(*transactions))

    def write(self, data):
        """Send bytes as they are."""
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._write_fd, rest) :]

    def connect(self, **details):
        """A client connects. Return its id."""
        self._last_id += 1
        self.post((NEWSOCKET, self._last_id, opening(**details)))
        return self._last_id

    def message(self, client, *messages):
        """A client sends messages, in one batch."""
        self.post(*((DATA, client, message) for message in messages))

    def gone(self, client, code=GONE[0], reason=GONE[1]):
        """A client has gone."""
        self.post((CLOSE, client, (code, reason)))

    def hang_up(self):
        """Ask the service to finish."""
        if self._write_fd is not None:
            os.close(self._write_fd)
            self._write_fd = None

    def get(self):
        """The next transaction from the service."""
        return self.transactions.get()

    def get_many(self, count):
        """The next `count` transactions from the service."""
        return [self.get() for _ in range(count)]

    def get_text(self):
        """The next transaction, which must be a text message: its client and itself."""
        kind, client, payload = self.get()
        assert kind == DATA, (kind, client, payload)
        return client, payload.decode()

    def get_close(self):
        """The next transaction, which must be a CLOSE: its client, the code and the reason."""
        kind, client, payload = self.get()
        assert kind == CLOSE, (kind, client, payload)
        code, reason = decode_close(payload)
        return client, code, reason.decode()

    def get_ready(self):
        """The next transaction, which must be READY: what it declares."""
        kind, socket_id, payload = self.get()
        assert (kind, socket_id) == (READY, 0), payload.decode(errors="replace")
        return decode_ready(payload)

    def get_failed(self):
        """The next transaction, which must be FAILED: the traceback."""
        kind, socket_id, payload = self.get()
        assert (kind, socket_id) == (FAILED, 0), payload
        return payload.decode()

    def close(self):
        """Close what is ours; the service must have finished."""
        self.hang_up()
        if self._reader:
            self._reader.join(DEADLINE)
        os.close(self._read_fd)


class ServiceThread(HubSide):
    """A service that runs in a thread of this process."""

    def __init__(self, make_serve):
        super().__init__()
        self.channel = Channel(self.child_reads, self.child_writes)
        self.error = None
        self.start_reading()
        self._serve = make_serve(self.channel)
        self.thread = start_thread(self._run)

    def _run(self):
        try:
            self._serve(lambda: (self.channel.post(READY, 0, b""), self.channel.flush()))
        except BaseException as error:
            self.error = error
        finally:
            os.close(self.child_writes)

    def stop(self):
        """Ask the service to finish, and wait until it has. Return what it raised, if it did."""
        self.hang_up()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive(), "the service does not finish"
        return self.error

    def close(self):
        """Clean up; a service that does not finish, in a test that has failed, keeps what it has."""
        self.hang_up()
        self.thread.join(1)
        if self.thread.is_alive():
            return
        super().close()
        wake_fd = self.channel._wake_fd
        for fd in (self.child_reads, wake_fd):
            if fd is not None:
                os.close(fd)


def inherited_descriptors():
    """What a program would inherit of this process, which may have inherited it itself, beyond the usual three."""
    for fd in map(int, os.listdir("/proc/self/fd")):
        with suppress(OSError):  # the folder itself is closed by now
            if fd > 2 and os.get_inheritable(fd):
                yield fd


class ServiceProcess(HubSide):
    """A service in a process of its own, as the hub starts it."""

    def __init__(self, root, route, module, stdin=b"", limits=()):
        super().__init__()
        stdin_read, stdin_write = os.pipe2(os.O_CLOEXEC)
        out_read, out_write = os.pipe2(os.O_CLOEXEC)
        err_read, err_write = os.pipe2(os.O_CLOEXEC)
        os.write(stdin_write, stdin)
        os.close(stdin_write)
        places = {0: stdin_read, 1: out_write, 2: err_write, FROM_HUB: self.child_reads, TO_HUB: self.child_writes}
        # Out of the way first, so that no descriptor is overwritten before it is copied.
        high = {place: fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for place, fd in places.items()}
        self.pid = os.posix_spawn(
            sys.executable,
            [sys.executable, "-P", "-m", "wshub.service", str(root), route, str(module), *limits],
            {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
            file_actions=[
                *((os.POSIX_SPAWN_CLOSE, fd) for fd in inherited_descriptors()),
                *((os.POSIX_SPAWN_DUP2, fd, place) for place, fd in high.items()),
            ],
        )
        for fd in (*places.values(), *high.values()):
            os.close(fd)
        self.pidfd = os.pidfd_open(self.pid)
        self.status = None
        self.stdout, self.stderr = Inbox(), Inbox()
        self._outputs = [
            start_thread(self._read_lines, *pair) for pair in ((out_read, self.stdout), (err_read, self.stderr))
        ]
        self.start_reading()

    @staticmethod
    def _read_lines(fd, inbox):
        with os.fdopen(fd, "rb", buffering=0) as stream:
            rest = b""
            while data := stream.read(1 << 16):
                *lines, rest = (rest + data).split(b"\n")
                inbox.put(*(line.decode(errors="replace") for line in lines))
            if rest:
                inbox.put(rest.decode(errors="replace"))
        inbox.end()

    def wait_for_error(self, text):
        """Wait until a line of stderr has `text` in it."""
        return self.stderr.wait(lambda: next((line for line in self.stderr.items if text in line), None))

    @property
    def errors(self):
        """What has been written to stderr so far."""
        return "\n".join(self.stderr.items)

    def exit_status(self):
        """Wait until the process has exited: its status, negative if by a signal. All its output has come then."""
        if self.status is None:
            poll = select.poll()
            poll.register(self.pidfd, select.POLLIN)
            assert poll.poll(DEADLINE * 1000), f"it does not exit; its stderr: {self.errors}"
            self.status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
            for inbox in (self.stdout, self.stderr, self.transactions):
                inbox.wait(lambda inbox=inbox: inbox.is_over)
        return self.status

    def stop(self):
        """Ask the service to finish, and wait until it has. Return its exit status."""
        self.hang_up()
        return self.exit_status()

    def close(self):
        """Clean up, also after a test that failed half way."""
        self.hang_up()
        if self.status is None:
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        for thread in self._outputs:
            thread.join(DEADLINE)
        os.close(self.pidfd)
        super().close()


@pytest.fixture
def run_service():
    """Run an instance of a class derived from `wshub.Service` or `wshub.AsyncService` in a thread."""
    started = []

    def run_service(service, is_ready=True):
        def make_serve(channel):
            service._begin(channel)
            return service._serve

        running = ServiceThread(make_serve)
        started.append(running)
        if is_ready:
            running.get_ready()
        return running

    yield run_service
    for running in started:
        running.close()


@pytest.fixture
def service_root(tmp_path):
    """The folder that `start_service` writes modules to."""
    root = tmp_path / "root"
    root.mkdir()
    return root


@pytest.fixture
def start_service(service_root):
    """Start a process that runs the service with a given source, or one whose file is there already."""
    started = []

    def start_service(source=None, route="/test", is_ready=True, **options):
        module = service_root / f"{route[1:]}.py"
        if source is not None:
            module.parent.mkdir(parents=True, exist_ok=True)
            module.write_text(dedent(source))
        process = ServiceProcess(service_root, route, module, **options)
        started.append(process)
        if is_ready:
            process.declared = process.get_ready()
        return process

    yield start_service
    for process in started:
        process.close()
