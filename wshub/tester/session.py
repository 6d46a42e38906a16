"""A service and its clients in a test."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from wshub.answers import decode_accept, decode_refuse
from wshub.processes.socket import GOING_AWAY
from wshub.service.__main__ import import_file, put_on_path
from wshub.service.base import HookedService
from wshub.service.coroutines import AsyncService
from wshub.service.declare import declare
from wshub.service.handlers import Service
from wshub.service.queues import ClassicService
from wshub.service.request import Refuse
from wshub.tester.channel import NotingChannel
from wshub.tester.classic import ClassicDriver
from wshub.tester.client import FakeClient
from wshub.tester.drivers import CoroutinesDriver, Driver, HandlersDriver
from wshub.wire import ACCEPT, BINARY, CLOSE, DATA, MULTICAST, MULTICAST_BINARY, NEWSOCKET, REFUSE, REQUEST
from wshub.wire.payloads import Transaction, decode_close, decode_multicast

REQUEST_TIMEOUT = 10.0  # seconds of the test's time that on_request has: the hub's request_timeout


class ServiceTester:
    """Runs a service without a hub; a context manager.

    ::

        with ServiceTester.load("services/echo.py") as service:
            client = service.connect()
            client.send("hello")
            assert client.receive() == "hello"

    What a hook raises comes out of the call that made it run, `connect`, `send` and so on, unless `raise_errors` is
    false: then it is in `errors` only, and the client gets 1011 as it would from a hub.
    """

    def __init__(self, cls: type[Any], raise_errors: bool = True) -> None:
        """Make a service of a class: one derived from `wshub.Service`, `wshub.AsyncService` or `Services.Service`."""
        self.errors: list[BaseException] = []
        """What hooks have raised."""
        self.clients: list[FakeClient] = []
        """All that ever connected."""
        self.broadcasts: list[str | bytes] = []
        """What was sent by `broadcast`, besides to each client's `received`."""
        self._raise_errors = raise_errors
        self._raised = 0
        self._answers: dict[int, tuple[int, bytes]] = {}
        self._by_id: dict[int, FakeClient] = {}
        self._last_id = 0
        self._later: deque[Transaction] = deque()
        self._path_before: list[str] | None = None  # sys.path
        self._has_stopped = False
        self._channel = NotingChannel(self._note)
        try:
            self._driver = make_driver(cls, self._channel)
        except BaseException:
            self._channel.close()
            raise
        self.service = self._driver.service
        try:
            self._declared = declare(self.service, 0)
        except BaseException:
            self._clean_up()
            raise
        if isinstance(self.service, HookedService):
            self._watch_errors(self.service)

    @classmethod
    def load(cls, file: str | Path, root: str | Path | None = None, raise_errors: bool = True) -> Self:
        """Import a service's file as its process would, and make a service of its class.

        `root` is the folder of services, from which its modules can be imported; the file's own if None. Each call
        imports the file anew.
        """
        file = Path(file).resolve()
        folder = Path(root).resolve() if root else file.parent
        before = sys.path[:]
        put_on_path(str(folder))
        try:
            name = ".".join(("services", *file.relative_to(folder).with_suffix("").parts))
            module = import_file(str(file), name)
            if not hasattr(module, "Service"):
                raise TypeError(f"{file} has no class Service")
            self = cls(module.Service, raise_errors)
        except BaseException:
            sys.path[:] = before
            raise
        self._path_before = before
        return self

    def __enter__(self) -> Self:
        """Start the service: `on_start` runs."""
        try:
            self._driver.start()
            self._settle()
        except BaseException:
            self._clean_up()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Stop it, as `stop` does. What that raises gives way to what the test has raised."""
        try:
            self.stop()
        except BaseException:
            if error is None:
                raise

    def connect(
        self,
        path: str = "/",
        query: str = "",
        headers: Mapping[str, str] | None = None,
        cookies: Mapping[str, str] | None = None,
        subprotocols: Sequence[str] = (),
        address: tuple[str, int] = ("127.0.0.1", 50000),
        resumed: bool = False,
    ) -> FakeClient:
        """Connect a client; `subprotocols` are what it offers. Raise `wshub.Refuse` if `on_request` refuses it.

        One that is `resumed` comes from the process that this one replaces: it is connected, and not asked about.
        """
        self._last_id += 1
        client = FakeClient(self._last_id, self._post)
        lines = {"host": "localhost", **{name.lower(): value for name, value in (headers or {}).items()}}
        if cookies:
            lines["cookie"] = "; ".join(f"{name}={value}" for name, value in cookies.items())
        text = "\n".join(f"{name}: {value}" for name, value in lines.items())
        own = self._declared.get("subprotocols", "").split(",")
        chosen = next((name for name in own if name and name in subprotocols), None)
        if "on_request" in self._declared and not resumed:
            asked = self._ask(client.id, (*address, path, query, text, tuple(subprotocols)))
            if asked[0] == REFUSE:
                raise Refuse(*_refusal(asked[1]))
            said, client.response_headers = decode_accept(asked[1], subprotocols)
            chosen = said or chosen
        client.subprotocol = chosen
        self.clients.append(client)
        self._by_id[client.id] = client
        self._post((NEWSOCKET, client.id, (*address, path, query, text, chosen, *([True] if resumed else []))))
        return client

    def advance(self, seconds: float) -> None:
        """Let time pass: what `call_later` and `call_every`, `asyncio.sleep` or `recvQueue.get` wait for comes due."""
        self._driver.advance(seconds, lambda: False)
        self._settle()

    def wait(self, holds: Callable[[], object], timeout: float = 5.0) -> None:
        """Wait in real time until `holds()` is true, for what threads and other programs do. `AssertionError` if not.

        The service's own time stands still meanwhile.
        """
        deadline = time.monotonic() + timeout
        while not holds():
            assert time.monotonic() < deadline, f"not within {timeout:g} seconds"
            self._driver.look()
            self._settle()

    @property
    def now(self) -> float:
        """The service's time in seconds, 0 at its start."""
        return self._driver.now()

    def stop(self) -> None:
        """End as when the hub stops: clients are closed with 1001, then `on_stop` is called. Also by ``with``."""
        if self._has_stopped:
            return
        self._has_stopped = True
        try:
            for client in self.clients:
                if client.is_open:
                    client.closed = GOING_AWAY[0], GOING_AWAY[1].decode()
                    client.close(*client.closed)
        finally:
            try:
                self._driver.finish()
            finally:
                self._clean_up()
        self._raise()

    # What the hub does.

    def _post(self, transaction: Transaction) -> None:
        self._driver.deliver(transaction)
        self._settle()

    def _settle(self) -> None:
        """Deliver what follows from what the service has done."""
        while self._later:
            self._driver.deliver(self._later.popleft())
        self._raise()

    def _raise(self) -> None:
        if self._raise_errors and len(self.errors) > self._raised:
            error = self.errors[self._raised]
            self._raised = len(self.errors)
            raise error

    def _ask(self, socket_id: int, opening: tuple[Any, ...]) -> tuple[int, bytes]:
        def is_answered() -> bool:
            return socket_id in self._answers

        self._driver.deliver((REQUEST, socket_id, opening))
        self._driver.advance(REQUEST_TIMEOUT if not is_answered() else 0, is_answered)
        self._raise()
        if not is_answered():
            self.wait(is_answered)
        return self._answers.pop(socket_id)

    def _note(self, kind: int, socket_id: int, payload: bytes) -> None:
        """The service has sent something."""
        if kind in (DATA, BINARY):
            self._give(socket_id, payload.decode() if kind == DATA else payload)
        elif kind in (MULTICAST, MULTICAST_BINARY):
            socket_ids, data = decode_multicast(payload)
            message = data.decode() if kind == MULTICAST else data
            self.broadcasts.append(message)
            for each in socket_ids:
                self._give(each, message)
        elif kind == CLOSE:
            client = self._find(socket_id)
            if client and client.is_open:
                code, reason = decode_close(payload)
                client.closed = code, reason.decode()
                client.is_open = False
                self._later.append((CLOSE, socket_id, client.closed))  # a polite client answers
        elif kind in (ACCEPT, REFUSE):
            self._answers[socket_id] = kind, payload

    def _give(self, socket_id: int, message: str | bytes) -> None:
        client = self._find(socket_id)
        if client and client.is_open:
            client.received.append(message)

    def _find(self, socket_id: int) -> FakeClient | None:
        client = self._by_id.get(socket_id)
        if client is None:
            self.errors.append(LookupError(f"{socket_id} never was a client's id: a hub would kill the service"))
        return client

    def _watch_errors(self, service: HookedService) -> None:
        log = service._hook_failed

        def hook_failed(client: Any) -> None:
            error = sys.exception()
            assert error is not None
            self.errors.append(error)
            log(client)

        service._hook_failed = hook_failed  # type: ignore[method-assign]

    def _clean_up(self) -> None:
        self._driver.close()
        self._channel.close()
        if self._path_before is not None:
            sys.path[:] = self._path_before


def make_driver(cls: type[Any], channel: NotingChannel) -> Driver:
    """What makes a service of this class go. Raise `TypeError` if it is none."""
    if issubclass(cls, Service):
        return HandlersDriver(cls, channel)
    if issubclass(cls, AsyncService):
        return CoroutinesDriver(cls, channel)
    if issubclass(cls, ClassicService):
        return ClassicDriver(cls, channel)
    raise TypeError(f"{cls.__name__} must be derived from wshub.Service, wshub.AsyncService or Services.Service")


def _refusal(payload: bytes) -> tuple[int, str, tuple[tuple[str, str], ...]]:
    status, headers, text = decode_refuse(payload)
    return status, text, headers
