"""Services written with coroutines, on asyncio."""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from functools import partial

from wshub.service.base import LOST, HookedService
from wshub.service.channel import Channel
from wshub.service.client import Client
from wshub.wire import CLOSE, NEWSOCKET, REQUEST, SLOW, SYNC
from wshub.wire.batches import PipeBuffer
from wshub.wire.payloads import Transaction, decode_batch

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any, Self

    from wshub.service.request import Accept, Request

HIGH_MARK = 1024  # transactions that wait for their turn; above it the pipe is not read, and TCP tells the clients
LOW_MARK = 512


class AsyncService(HookedService):
    """Base class of a service whose hooks are coroutines.

    One client's hooks run one after the other, in the order of its messages; those of different clients side by side.
    """

    async def on_start(self) -> None:
        """Called once, before the first client. What it raises keeps the service from starting."""

    async def on_request(self, request: Request) -> Accept | None:
        """Called before a client is let in, if the class has it. Return None or a `wshub.Accept` to let it in, raise a
        `wshub.Refuse` to refuse it. Whatever else is returned or raised is a mistake: the client gets a 500.

        Others connect meanwhile. It is cancelled when the client goes, or when the hub has waited long enough.
        """

    async def on_open(self, client: Client) -> None:
        """Called when a client has connected: it may be sent to."""

    async def on_message(self, client: Client, data: Any) -> None:
        """Called for each message of a client: `data` is `str` for a text message, `bytes` for a binary one.

        What it raises closes that client with 1011, and is logged.
        """

    async def on_drain(self, client: Client) -> None:
        """Called when nothing waits in the hub any more for a client that was slow."""

    async def on_close(self, client: Client, code: int, reason: str) -> None:
        """Called exactly once for each `on_open`; `code` is 1005 if there was none, 1006 if the connection broke."""

    async def on_stop(self) -> None:
        """Called once, at the end, when no other hook runs any more: the process exits when it returns.

        All clients have gone by then, unless the hub was killed: then their `on_close` comes after it, with 1006.
        """

    def call_later(self, seconds: float, call: Callable[..., Any], *args: Any) -> asyncio.Task[None]:
        """Call ``call(*args)``, a function or a coroutine function, once, after `seconds`. Return a task to cancel.

        From `on_start` on; before there is no loop, which is a `RuntimeError`.
        """
        return self._spawn(self._call_after(seconds, call, args), self._timers)

    def call_every(self, seconds: float, call: Callable[..., Any], *args: Any) -> asyncio.Task[None]:
        """Call ``call(*args)`` every `seconds`, the first time after `seconds`, never while an earlier call still runs.

        Calls that are late are not made up for. Return a task to cancel. Raise `ValueError` unless `seconds` is more
        than 0, `RuntimeError` before `on_start`.
        """
        if seconds <= 0:
            raise ValueError(f"call_every needs more than 0 seconds, not {seconds}")
        return self._spawn(self._call_repeatedly(seconds, call, args), self._timers)

    # The loop.

    _source: _Source
    _waiting: int
    """Transactions whose hook has not returned."""
    _workers: set[asyncio.Task[None]]
    """Those that run hooks; asyncio itself holds tasks weakly."""
    _timers: set[asyncio.Task[None]]

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        self = super().__new__(cls)
        self._waiting = 0
        self._workers = set()
        self._timers = set()
        return self

    def _serve(self, on_ready: Callable[[], None]) -> None:
        asyncio.run(self._main(on_ready))

    async def _main(self, on_ready: Callable[[], None]) -> None:
        loop = asyncio.get_running_loop()
        await self.on_start()
        self._channel.on_first_post = partial(loop.call_soon, self._channel.flush)
        on_ready()
        self._source = _Source(self._channel, self._accept)
        await self._source.wait_for_end()
        for request in self._requests.values():
            request.task.cancel()
        if self._workers:
            await asyncio.wait(self._workers)
        for timer in self._timers:
            timer.cancel()
        await self._guarded(None, self.on_stop)
        for client in self._take_those_left():
            await self._guarded(client, self.on_close, client, *LOST)
        self._channel.flush()

    def _accept(self, transactions: list[Transaction]) -> None:
        """Let each transaction's hook run when it is its client's turn."""
        for transaction in transactions:
            kind, socket_id, _ = transaction
            if kind == REQUEST:
                request = self._request_of(transaction)
                request.task = self._spawn(self._decide(request), self._workers)
                continue
            if kind == CLOSE and socket_id not in self.clients:
                if gone := self._requests.pop(socket_id, None):
                    gone.task.cancel()
                continue
            self._waiting += 1  # and not requests: the CLOSE that ends one that hangs must always be read
            client = self._client_of(transaction)
            if client.inbox is None:
                client.inbox = deque([transaction])
                self._spawn(self._work(client), self._workers)
            else:
                client.inbox.append(transaction)
        if self._waiting > HIGH_MARK:
            self._source.pause()

    async def _work(self, client: Client) -> None:
        """Run a client's hooks until none waits: a task a burst, so that an idle client costs nothing."""
        inbox = client.inbox
        while inbox:
            kind, _, payload = inbox[0]
            if kind == NEWSOCKET:
                await self._guarded(client, self.on_open, client)
            elif kind == CLOSE:
                await self._guarded(client, self.on_close, client, *payload)
            elif kind == SLOW:
                if not (payload or client.is_slow or client.is_closing):
                    await self._guarded(client, self.on_drain, client)
            elif kind == SYNC:
                self._channel.post(SYNC, client.id, b"")
            elif not client.is_closing:
                await self._guarded(client, self.on_message, client, payload)
            inbox.popleft()
            self._waiting -= 1
            if self._waiting == LOW_MARK:
                self._source.resume()
        client.inbox = None

    def _wants_requests(self) -> bool:
        return getattr(self.on_request, "__func__", None) is not AsyncService.on_request

    async def _decide(self, request: Request) -> None:
        try:
            said: Any = self.on_request(request)
            if hasattr(said, "__await__"):
                said = await said
        except Exception as error:
            self._answer(request, None, error)
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise  # the client has gone
            failure = RuntimeError("what on_request waited for was cancelled")
            failure.__cause__ = error
            self._answer(request, None, failure)
        else:
            self._answer(request, said)

    async def _guarded(self, client: Client | None, hook: Callable[..., Any], *args: Any) -> None:
        try:
            result = hook(*args)
            if hasattr(result, "__await__"):
                await result
        except Exception:
            self._hook_failed(client)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task and task.cancelling():
                raise
            self._hook_failed(client)  # what it waited for was cancelled, not the hook itself

    async def _call_after(self, seconds: float, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        await asyncio.sleep(seconds)
        await self._guarded(None, call, *args)

    async def _call_repeatedly(self, seconds: float, call: Callable[..., Any], args: tuple[Any, ...]) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due += seconds * (1 + max(0, (loop.time() - due) // seconds))
            await asyncio.sleep(due - loop.time())
            await self._guarded(None, call, *args)

    def _spawn(self, coroutine: Any, tasks: set[asyncio.Task[None]]) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.get_running_loop().create_task(coroutine)
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        return task


class _Source:
    """The pipe from the hub as the loop sees it: transactions come until the end, unless it is paused."""

    def __init__(self, channel: Channel, accept: Callable[[list[Transaction]], None]) -> None:
        os.set_blocking(channel.read_fd, False)
        self._fd = channel.read_fd
        self._accept = accept
        self._buffer = PipeBuffer()
        self._reader = channel.reader
        self._loop = asyncio.get_running_loop()
        self._end: asyncio.Future[None] = self._loop.create_future()

    async def wait_for_end(self) -> None:
        """Read until the hub closes the pipe. Raise what reading raises: without its pipe a service is nothing."""
        self.resume()
        await self._end

    def pause(self) -> None:
        """Read no more for now."""
        self._loop.remove_reader(self._fd)

    def resume(self) -> None:
        """Read on."""
        if not self._end.done():
            self._loop.add_reader(self._fd, self._read)

    def _read(self) -> None:
        try:
            is_over = not self._take_in()
        except Exception as error:  # the loop would log it, and read on without what is lost now, or here for ever
            self.pause()
            self._end.set_exception(error)
            return
        if is_over:
            self.pause()
            self._end.set_result(None)

    def _take_in(self) -> bool:
        """Accept what has come. Return whether more may come."""
        try:
            data = self._buffer.read(self._fd)
        except BlockingIOError:
            return True
        for body in self._reader.feed(data):
            self._accept(decode_batch(body))
        return bool(data)
