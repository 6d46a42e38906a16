"""What services written with hooks have in common, be the hooks methods or coroutines."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable

from wshub.service.channel import Channel, Message
from wshub.service.client import Client
from wshub.wire import ACCEPT, CLOSE, NEWSOCKET, REFUSE, Transaction

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any, Self

    from wshub.service.request import Request

LOST = (1006, "")  # code and reason of a connection that broke (RFC 6455, section 7.1.5)


class HookedService:
    """The clients of a service, by id, and what can be done with all of them."""

    subprotocols: tuple[str, ...] = ()
    """What the service speaks, in order of preference (RFC 6455, section 1.9)."""

    clients: dict[int, Client]
    """The clients that are connected, by `Client.id`."""

    _channel: Channel
    _requests: dict[int, Request]
    """Those that no client has come of yet, by what will be `Client.id`."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Prepare the attributes here, so that an ``__init__`` that forgets ``super()`` breaks nothing."""
        self = super().__new__(cls)
        self.clients = {}
        self._requests = {}
        return self

    def broadcast(self, data: Message, exclude: Iterable[Client | int] = ()) -> int:
        """Send `data` to every client but those in `exclude`, clients or ids; it crosses to the hub once.

        Return the number of clients. Raise as `Client.send` does.
        """
        excluded = {client if isinstance(client, int) else client.id for client in exclude}
        socket_ids = [id_ for id_, client in self.clients.items() if client.is_open and id_ not in excluded]
        if socket_ids:
            self._channel.multicast(socket_ids, data)
        return len(socket_ids)

    def _begin(self, channel: Channel) -> None:
        """Everything before READY; what it raises is why the service does not start."""
        self._channel = channel

    @abstractmethod
    def _serve(self, on_ready: Any) -> None:
        """Call `on_ready` once the first client may come, then serve until the hub closes the pipe."""

    def _client_of(self, transaction: Transaction) -> Client:
        """The client that a transaction is about, kept in `clients` from its NEWSOCKET to its CLOSE."""
        kind, socket_id, payload = transaction
        if kind == NEWSOCKET:
            request = self._requests.pop(socket_id, None)
            state = request.state if request else None
            client = self.clients[socket_id] = Client(socket_id, payload, self._channel, state)
        elif kind == CLOSE:
            client = self.clients.pop(socket_id)
            client.is_open = False
        else:
            client = self.clients[socket_id]
        return client

    @abstractmethod
    def _wants_requests(self) -> bool:
        """Whether the class has an `on_request` of its own: only then is it asked."""

    def _request_of(self, transaction: Transaction) -> Request:
        """The request that a REQUEST is about, kept in `_requests` until its client comes, or does not."""
        from wshub.service.request import Request  # noqa: PLC0415 - only for services that have an on_request

        _, socket_id, opening = transaction
        request = self._requests[socket_id] = Request(socket_id, opening)
        return request

    def _answer(self, request: Request, said: object, raised: BaseException | None = None) -> None:
        """Answer with what `on_request` returned or raised. What is no answer is logged, and refuses with 500."""
        from wshub.service.request import (  # noqa: PLC0415 - see above
            SERVICE_FAILED,
            Refuse,
            encode_accepting,
            encode_refusing,
        )

        try:
            if raised is None:
                self._channel.post(ACCEPT, request.id, encode_accepting(request, said))
                return
            if not isinstance(raised, Refuse):
                raise raised
            refusal = encode_refusing(raised)
        except Exception:
            self._hook_failed(None)
            refusal = SERVICE_FAILED
        self._requests.pop(request.id, None)
        self._channel.post(REFUSE, request.id, refusal)

    def _take_those_left(self) -> list[Client]:
        """The clients that are still here when the hub, which closes them first if it can, has closed the pipe."""
        left = list(self.clients.values())
        self.clients.clear()
        for client in left:
            client.is_open = False
        return left

    def _hook_failed(self, client: Client | None) -> None:
        """A hook raised: the traceback goes to the log, its client is closed, the service lives on."""
        import traceback  # noqa: PLC0415 - 2 ms that most processes never need

        traceback.print_exc(file=sys.stderr)
        if client is not None:
            client.close(1011, "The service failed.")


def declare(service: HookedService) -> dict[str, str]:
    """What a service's class declares, for READY. Raise `TypeError` at what it cannot mean."""
    declared = {"subprotocols": declared_subprotocols(service)}
    if service._wants_requests():
        declared["on_request"] = "yes"
    return declared


def declared_subprotocols(service: object) -> str:
    """What a service's `subprotocols` are, for READY. Raise `TypeError` at what is not a sequence of tokens."""
    names = getattr(service, "subprotocols", ())
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) and _is_token(name) for name in names):
        raise TypeError(f"subprotocols must be a tuple of names without spaces or commas, not {names!r}")
    return ",".join(names)


def _is_token(name: str) -> bool:
    return name.isascii() and name.isprintable() and not set(name) & set(' "(),/:;<=>?@[\\]{}') and bool(name)
