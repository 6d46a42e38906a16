"""Services written with handlers: one thread, one loop, plain methods."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

from wshub.service.base import LOST, HookedService
from wshub.service.client import Client
from wshub.service.timers import Timer, Timers
from wshub.wire import CLOSE, DATA, NEWSOCKET, REQUEST, SLOW, SYNC
from wshub.wire.payloads import Transaction

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any, Self

    from wshub.service.request import Accept, Request


class Service(HookedService):
    """Base class of a service whose hooks are plain methods, called one at a time.

    A hook that takes long keeps every client waiting: use `wshub.AsyncService`, or a thread and `call_from_thread`.
    """

    def on_start(self) -> None:
        """Called once, before the first client. What it raises keeps the service from starting."""

    def on_request(self, request: Request) -> Accept | None:
        """Called before a client is let in, if the class has it. Return None or a `wshub.Accept` to let it in, raise a
        `wshub.Refuse` to refuse it. Whatever else is returned or raised is a mistake: the client gets a 500.
        """

    def on_open(self, client: Client) -> None:
        """Called when a client has connected: it may be sent to."""

    def on_message(self, client: Client, data: Any) -> None:
        """Called for each message of a client: `data` is `str` for a text message, `bytes` for a binary one.

        What it raises closes that client with 1011, and is logged.
        """

    def on_drain(self, client: Client) -> None:
        """Called when nothing waits in the hub any more for a client that was slow."""

    def on_close(self, client: Client, code: int, reason: str) -> None:
        """Called exactly once for each `on_open`; `code` is 1005 if there was none, 1006 if the connection broke."""

    def on_stop(self) -> None:
        """Called once, at the end: the process exits when it returns.

        All clients have gone by then, unless the hub was killed: then their `on_close` comes after it, with 1006.
        """

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer:
        """Call ``call(*args)`` once, after `seconds`. Return a timer whose `cancel` takes it back."""
        return self._timers.add(self._monotonic() + seconds, None, call, args)

    def call_every(self, seconds: float, call: Callable[..., Any], *args: Any) -> Timer:
        """Call ``call(*args)`` every `seconds`, the first time after `seconds`.

        Calls that are late are not made up for. Return a timer whose `cancel` ends it. Raise `ValueError` unless
        `seconds` is more than 0.
        """
        if seconds <= 0:
            raise ValueError(f"call_every needs more than 0 seconds, not {seconds}")
        return self._timers.add(self._monotonic() + seconds, seconds, call, args)

    def call_from_thread(self, call: Callable[..., Any], *args: Any) -> None:
        """Call ``call(*args)`` in the service's own thread, soon. The only method for use in other threads."""
        self._from_threads.append((call, args))
        if self._is_serving:
            self._channel.wake()

    # The loop.

    _is_serving = False
    _monotonic: Callable[[], float] = staticmethod(time.monotonic)
    """What timers go by, in seconds; a test has its own."""
    _timers: Timers
    _from_threads: deque[tuple[Callable[..., Any], tuple[Any, ...]]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        self = super().__new__(cls)
        self._timers = Timers()
        self._from_threads = deque()
        return self

    def _serve(self, on_ready: Callable[[], None]) -> None:
        self._channel.enable_wake()
        self._is_serving = True
        self.on_start()
        on_ready()
        self._call_what_is_due()  # what threads have asked for before
        self._channel.flush()
        receive, dispatch, flush = self._channel.receive, self._dispatch, self._channel.flush
        while (transactions := receive(self._time_to_wait())) is not None:
            dispatch(transactions)
            if self._timers or self._from_threads:
                self._call_what_is_due()
            flush()
        self._guarded(None, self.on_stop)
        for client in self._take_those_left():
            self._guarded(client, self.on_close, client, *LOST)
        flush()

    def _dispatch(self, transactions: list[Transaction]) -> None:
        clients, on_message = self.clients, self.on_message
        for transaction in transactions:
            kind, socket_id, payload = transaction
            if kind == DATA:
                client = clients[socket_id]
                if client.is_open:
                    try:
                        on_message(client, payload)
                    except Exception:
                        self._hook_failed(client)
            elif kind == NEWSOCKET:
                client = self._client_of(transaction)
                self._guarded(client, self.on_open, client)
            elif kind == CLOSE and socket_id in clients:
                client = self._client_of(transaction)
                self._guarded(client, self.on_close, client, *payload)
            elif kind == SLOW:
                client = self._client_of(transaction)
                if not client.is_slow and client.is_open:
                    self._guarded(client, self.on_drain, client)
            elif kind == SYNC:
                self._channel.post(SYNC, socket_id, b"")
            elif kind == REQUEST:
                self._decide(self._request_of(transaction))
            elif kind == CLOSE:
                self._requests.pop(socket_id, None)  # its client went before it came

    def _wants_requests(self) -> bool:
        return getattr(self.on_request, "__func__", None) is not Service.on_request

    def _decide(self, request: Request) -> None:
        try:
            said = self.on_request(request)
        except Exception as error:
            self._answer(request, None, error)
        else:
            self._answer(request, said)

    def _time_to_wait(self) -> float | None:
        due = self._timers.next_due()
        return None if due is None else due - self._monotonic()

    def _call_what_is_due(self) -> None:
        for _ in range(len(self._from_threads)):  # and not those that these ask for
            call, args = self._from_threads.popleft()
            self._guarded(None, call, *args)
        for timer in self._timers.pop_due(self._monotonic()):
            if timer.call is not None:  # an earlier one may have cancelled it
                self._guarded(None, timer.call, *timer.args)

    def _guarded(self, client: Client | None, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception:
            self._hook_failed(client)
