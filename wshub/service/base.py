"""What services written with hooks have in common, be the hooks methods or coroutines."""

from __future__ import annotations

import sys
from abc import abstractmethod
from collections.abc import Iterable

from wshub.service.channel import Channel, Message
from wshub.service.client import Client, Reached
from wshub.wire import ACCEPT, CLOSE, NEWSOCKET, REFUSE, SLOW
from wshub.wire.payloads import Transaction, address_count, encode_address

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any, Self

    from wshub.service.request import Request

LOST = (1006, "")  # code and reason of a connection that broke (RFC 6455, section 7.1.5)


class HookedService:
    """The clients of a service, by id, and what can be done with all of them."""

    subprotocols: tuple[str, ...] = ()
    """What the service speaks, in order of preference (RFC 6455, section 1.9). Each is a token of RFC 9110."""

    slow_clients = "close"
    """What happens when more than the hub's `max_backlog` waits for a client that does not read.

    ``close``: it is closed with 1013; ``drop-oldest``, ``drop-newest``: such messages are dropped; ``pause``: the whole
    service waits until there is room.
    """

    lifetime: str = "lazy"
    """``lazy``: its first client starts it; ``eager``: the hub does when it starts.

    The hub reads it from the source, so it has to be a plain assignment in the class itself.
    """

    restart: str = "transient"
    """What follows its death.

    ``permanent``: the hub starts it again, even if it has ended by itself; ``transient``: its next client does;
    ``temporary``: nobody does until its file changes.
    """

    hang_timeout: float | None = None
    """Seconds without a sign of life after which the process is killed; 0 for never, None for the hub's setting.

    A hook may take longer: a thread of its own gives the signs.
    """

    resumes: bool = False
    """Whether it takes over the clients of the process that it replaces: `on_open` gets them as ``client.resumed``."""

    idle_timeout: float | None = None
    """Seconds without clients after which the service is asked to finish; 0 for never, None for the hub's setting."""

    clients: dict[int, Client]
    """The clients that are connected, by `Client.id`."""

    _channel: Channel
    _slow: set[int]
    """The ids of clients that are slow."""
    _requests: dict[int, Request]
    """Those that no client has come of yet, by what will be `Client.id`."""

    def __new__(cls, *args: object, **kwargs: object) -> Self:
        """Prepare the attributes here, so that an ``__init__`` that forgets ``super()`` breaks nothing."""
        self = super().__new__(cls)
        self.clients = {}
        self._slow = set()
        self._requests = {}
        return self

    def broadcast(self, data: Message, exclude: Iterable[Client | int] = ()) -> Reached:
        """Send `data` to every client but those in `exclude`, clients or ids; it crosses to the hub once.

        Return the number of clients, with that of those who are slow as `waiting`. Raise as `Client.send` does.
        """
        channel = self._channel
        excluded = {client if isinstance(client, int) else client.id for client in exclude}
        if excluded or channel.everybody is None:
            socket_ids = [id_ for id_, client in self.clients.items() if client.is_open and id_ not in excluded]
            address = encode_address(socket_ids)
            if not excluded:
                channel.everybody = address
        else:
            address = channel.everybody
        reached = Reached(address_count(address))
        if reached:
            channel.multicast(address, data)
        if self._slow:
            reached.waiting = sum(self.clients[id_].is_open and id_ not in excluded for id_ in self._slow)
        return reached

    def _begin(self, channel: Channel) -> None:
        """Everything before READY; what it raises is why the service does not start."""
        self._channel = channel

    @abstractmethod
    def _serve(self, on_ready: Any) -> None:
        """Call `on_ready` once the first client may come, then serve until the hub closes the pipe."""

    def _client_of(self, transaction: Transaction) -> Client:
        """The client that a transaction is about, kept in `clients` from its NEWSOCKET to its CLOSE."""
        kind, socket_id, payload = transaction
        if kind in (NEWSOCKET, CLOSE):
            self._channel.everybody = None
        if kind == NEWSOCKET:
            request = self._requests.pop(socket_id, None)
            state = request.state if request else None
            client = self.clients[socket_id] = Client(socket_id, payload, self._channel, state)
        elif kind == CLOSE:
            client = self.clients.pop(socket_id)
            client.is_open = False
            self._slow.discard(socket_id)
        elif kind == SLOW:
            client = self.clients[socket_id]
            client.is_slow = payload
            (self._slow.add if payload else self._slow.discard)(socket_id)
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
        self._slow.clear()
        self._channel.everybody = None
        for client in left:
            client.is_open = False
        return left

    def _hook_failed(self, client: Client | None) -> None:
        """A hook raised: the traceback goes to the log, its client is closed, the service lives on."""
        import traceback  # noqa: PLC0415 - 2 ms that most processes never need

        traceback.print_exc(file=sys.stderr)
        if client is not None:
            client.close(1011, "The service failed.")
