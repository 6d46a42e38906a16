"""The two queues of classic services, as the original WebSocketServer has them, on the pipes.

They have the methods of `multiprocessing.Queue` and `queue.Queue`. Any thread may use them. What is put is written at
once; while there is more to read, it may wait for `LINGER`, so that the answers to many messages are one write.
"""

from __future__ import annotations

import queue
import threading
import time
from collections import deque
from collections.abc import Callable

from wshub.service.channel import Channel
from wshub.wire import CLOSE, DATA, NEWSOCKET, SYNC
from wshub.wire.payloads import Transaction, encode_close

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

KINDS = (NEWSOCKET, DATA, CLOSE, SYNC)  # what such a service knows; the first three are the original's
NEVER_SENT = (1005, 1006)  # close codes that stand for the absence of one (RFC 6455, section 7.4.1)
LINGER = 0.002  # seconds that a transaction may wait for company; a frame at 60 Hz has 0.016


class WebSocketTransaction:
    """What goes through the queues: a type, the id of a socket, and data.

    ===================  ====================================================================================
    `NEWSOCKET` (0)      received: a client has connected; data is its address, a pair of host and port
    `DATA` (1)           received and sent: a message; `str` is text, `bytes` is binary
    `CLOSE` (2)          received: the client has gone; data is a pair of code and reason. Sent: close it;
                         data is None, or such a pair
    ===================  ====================================================================================
    """

    NEWSOCKET = TRANSACTION_NEWSOCKET = NEWSOCKET
    DATA = TRANSACTION_DATA = DATA
    CLOSE = TRANSACTION_CLOSE = CLOSE

    __slots__ = ("data", "socketId", "transactionType")

    def __init__(self, transactionType: int, socketId: int, data: Any = None) -> None:
        self.transactionType = transactionType
        self.socketId = socketId
        self.data = data

    def __repr__(self) -> str:
        return f"WebSocketTransaction({self.transactionType}, {self.socketId}, {self.data!r})"


class ShutDown(queue.Empty):
    """There is nothing in the queue and never will be: the hub has closed it. `shutdownFlag` is set."""


def let_threads_end_quietly() -> None:
    """Do not print a traceback for each of the author's threads that waits in `get` when the hub closes the queue."""
    before = threading.excepthook
    threading.excepthook = lambda args: None if issubclass(args.exc_type, ShutDown) else before(args)


class ReceiveQueue:
    """What comes from the hub."""

    _monotonic: Callable[[], float] = staticmethod(time.monotonic)  # a test has its own

    def __init__(self, channel: Channel, shutdown_flag: ShutdownFlag) -> None:
        self._channel = channel
        self._ready: deque[Transaction] = deque()
        self._reading = threading.Lock()
        self._shutdown_flag = shutdown_flag
        shutdown_flag.queue = self

    def get(self, block: bool = True, timeout: float | None = None) -> WebSocketTransaction:
        """Take the next transaction; wait for it at most `timeout` seconds, None for as long as it takes.

        Raise `queue.Empty` if none comes in time, `ShutDown` if none will come any more.
        """
        self._answer_syncs()
        try:
            kind, socket_id, payload = self._ready.popleft()
        except IndexError:
            if not block:
                timeout = 0
            kind, socket_id, payload = self._wait(None if timeout is None else max(0.0, timeout))
        if kind == NEWSOCKET:
            payload = payload[:2]
        return WebSocketTransaction(kind, socket_id, payload)

    def get_nowait(self) -> WebSocketTransaction:
        """Take the next transaction; raise `queue.Empty` if there is none yet."""
        return self.get(block=False)

    def empty(self) -> bool:
        """Whether `get` would have to wait."""
        self.pump()
        self._answer_syncs()
        return not self._ready

    def qsize(self) -> int:
        """How many transactions are here."""
        self.pump()
        self._answer_syncs()
        return sum(kind != SYNC for kind, _, _ in self._ready)

    def full(self) -> bool:
        """Never: what there is no room for waits in the hub."""
        return False

    def task_done(self) -> None:
        """Accepted for the sake of `queue.Queue`'s users; nobody joins this queue."""

    def pump(self, timeout: float | None = 0) -> None:
        """Take in what has come, if nothing is here; wait up to `timeout` seconds for it."""
        if self._ready or self._shutdown_flag.is_known:
            return
        self._channel.flush()  # nothing to do but wait: so nothing can be waiting for company either
        if not self._reading.acquire(
            blocking=timeout != 0, timeout=min(timeout, threading.TIMEOUT_MAX) if timeout else -1
        ):
            return  # another thread is reading, and took all the time there was
        try:
            if not self._ready and not self._shutdown_flag.is_known:
                transactions = self._channel.receive(timeout)
                if transactions is None:
                    self._shutdown_flag.set()
                else:
                    self._ready += [each for each in transactions if each[0] in KINDS]
        finally:
            self._reading.release()

    def _answer_syncs(self) -> None:
        """The service asks for what is next: so it has dealt with everything before a SYNC that is first."""
        while self._ready and self._ready[0][0] == SYNC:
            _, socket_id, _ = self._ready.popleft()
            self._channel.post(SYNC, socket_id, b"")
            self._channel.flush()

    def _wait(self, timeout: float | None) -> Transaction:
        deadline = None if timeout is None else self._monotonic() + timeout
        while True:
            self.pump(timeout)
            self._answer_syncs()
            try:
                return self._ready.popleft()
            except IndexError:
                pass
            if self._shutdown_flag.is_known:
                raise ShutDown
            if deadline is not None:
                timeout = max(0.0, deadline - self._monotonic())
                if timeout == 0:
                    raise queue.Empty


class SendQueue:
    """What goes to the hub: at once if the service has nothing else to do, else with the next transactions."""

    def __init__(self, channel: Channel, receive_queue: ReceiveQueue) -> None:
        self._channel = channel
        self._receive_queue = receive_queue
        self._something_waits = threading.Event()
        threading.Thread(target=self._flush_what_lingers, daemon=True, name="wshub-flush").start()

    def put(self, item: WebSocketTransaction, block: bool = True, timeout: float | None = None) -> None:
        """Send a transaction. Raise `TypeError` or `ValueError` if it is none that can be sent.

        It does not wait for the client: `block` and `timeout` are there for the sake of `queue.Queue`'s users.
        """
        kind, data = item.transactionType, item.data
        if not isinstance(item.socketId, int) or not 0 < item.socketId < 1 << 64:
            raise ValueError(f"{item.socketId!r} is not the id of a socket")
        if kind == DATA:
            self._channel.send(item.socketId, data)
        elif kind == CLOSE:
            code, reason = data if isinstance(data, tuple | list) else (1000, "")
            if code in NEVER_SENT:  # what a CLOSE that was received may say, and some send back
                code = 1000
            self._channel.post(CLOSE, item.socketId, encode_close(code, reason))
        else:
            raise ValueError(f"a service sends DATA and CLOSE, not a transaction of type {kind}")
        if self._receive_queue._ready:  # the service will be back soon: wait for what it says then
            if not self._something_waits.is_set():
                self._something_waits.set()
        else:
            self._channel.flush()

    def put_nowait(self, item: WebSocketTransaction) -> None:
        """The same as `put`."""
        self.put(item)

    def empty(self) -> bool:
        """Always: what is put here is on its way."""
        return True

    def qsize(self) -> int:
        """0, for the same reason."""
        return 0

    def full(self) -> bool:
        """Never."""
        return False

    def task_done(self) -> None:
        """Accepted for the sake of `queue.Queue`'s users."""

    def _flush_what_lingers(self) -> None:
        while True:
            self._something_waits.wait()
            time.sleep(LINGER)
            self._something_waits.clear()
            self._channel.flush()


class ShutdownFlag:
    """Set once the service is to finish; has the methods of `threading.Event`."""

    def __init__(self) -> None:
        self._event = threading.Event()
        self.queue: ReceiveQueue | None = None

    @property
    def is_known(self) -> bool:
        """Whether it is set, without looking at the pipe."""
        return self._event.is_set()

    def is_set(self) -> bool:
        """Whether the service is to finish. What came before that is still in the queue, and is to be served first."""
        if self.queue is not None:
            self.queue.pump()
        return self._event.is_set()

    isSet = is_set

    def set(self) -> None:
        """Tell the service's own threads to finish."""
        self._event.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until it is set, at most `timeout` seconds; return whether it is."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while not self.is_set() and not (self.queue and self.queue._channel.is_hung_up()):
            left = 0.05 if deadline is None else min(0.05, deadline - time.monotonic())
            if left <= 0:
                return False
            self._event.wait(left)
        return True


class ClassicService:
    """Base class of a service in the original's style: ``run()`` loops until ``shutdownFlag`` is set.

    It is a process of its own, as in the original; `multiprocessing.Process` is not needed for that any more.
    """

    def __init__(self, sendQueue: Any, recvQueue: Any) -> None:
        self.sendQueue: SendQueue = sendQueue
        """Takes transactions for the hub: messages to clients, and clients to close."""
        self.recvQueue: ReceiveQueue = recvQueue
        """Gives transactions from the hub."""
        self.shutdownFlag: ShutdownFlag = recvQueue._shutdown_flag
        """Set once the service is to finish."""

    def run(self) -> None:
        """Serve until ``self.shutdownFlag.is_set()``."""
        raise NotImplementedError(f"{type(self).__name__} has no run()")
