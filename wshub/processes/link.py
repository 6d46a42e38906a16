"""One service process as the hub sees it: where it is in its life, its sockets, the transactions that go to and fro.

Nothing here reads, writes, waits or knows the time. A :class:`ServiceLink` is told what happens and tells its sockets;
what it has for the process waits in it until somebody calls :meth:`~ServiceLink.take_batch`.

Where a link is in its life, and what moves it on, is in :mod:`wshub.processes.life`; what the process says to its
clients goes through :mod:`wshub.processes.delivery`.
"""

from collections.abc import Callable
from typing import Any

from wshub.accounting import Counts
from wshub.errors import HubStopping, ServiceDied, ServiceFailed, ServiceReplaced, ServiceUnavailable, WireError
from wshub.processes.declared import Declared, parse_declared
from wshub.processes.delivery import Delivery
from wshub.processes.life import TABLE, Event, State
from wshub.processes.pending import ENDED, LEFT, REFUSED, PendingRequests, Told
from wshub.processes.socket import ABNORMAL_CLOSURE, RELOADED, SERVICE_DIED, Socket
from wshub.wire import (
    ACCEPT,
    CLOSE,
    FAILED,
    HEARTBEAT,
    MAX_TRACEBACK,
    NEWSOCKET,
    READY,
    REFUSE,
    REQUEST,
    RESUMED,
    SLOW,
    SYNC,
)
from wshub.wire.batches import encode_columns
from wshub.wire.payloads import decode_ready, encode_gone, encode_opening


class ServiceLink:
    """One service process as the hub sees it. `on_change` is told of every change of state, and whether to kill."""

    def __init__(self, on_change: Callable[["ServiceLink", Event, bool], None], counts: Counts | None = None) -> None:
        self.state = State.STARTING
        self.name = ""
        """The route, as the log has it."""
        self.counts = counts or Counts()
        self.declared = Declared()
        """What its class wishes, once it is ready."""
        self.failure: ServiceUnavailable = ServiceFailed()
        """What whoever waits for it is told if it does not start."""
        self.sockets: dict[int, Socket] = {}
        self.traceback = ""
        """Why it does not start, in its own words."""
        self.on_batch_begun: Callable[[], object] = lambda: None
        """Called when there is something to send where there was nothing."""
        self.on_hold: Callable[[bool], object] = lambda is_held: None
        """Called when nothing is to be read from the process, because of its slow clients, and when it is again."""
        self._held_by: set[int] = set()
        self.on_empty: Callable[[], object] = lambda: None
        """Called when the last socket has gone."""
        self.on_open: Callable[[Socket], object] | None = None
        """Called with each socket that is opened, if anybody wants to know."""
        self._openings: dict[int, bytes] = {}
        """What the service was told of its clients, where another process may have to be told that again."""
        self._on_change = on_change
        self._waiting: list[Callable[[ServiceUnavailable | None], None]] = []
        self._pending = PendingRequests()
        self._last_id = 0
        self.is_paused = False
        self._outbox: list[tuple[int, int, bytes | bytearray]] = []
        delivery = Delivery(self.sockets, self.counts, self._socket, self._hear)
        self.share = delivery.share
        self.receive = delivery.receive
        self.forget_group = delivery.forget_group

    # Its life.

    @property
    def subprotocols(self) -> tuple[str, ...]:
        """What it speaks, in order of preference."""
        return self.declared.subprotocols

    @property
    def asks_first(self) -> bool:
        """Whether the service wants to be asked about each client, once it is READY: see `ask`."""
        return self.declared.on_request

    @property
    def client_count(self) -> int:
        """How many clients it has, those included that it has yet to decide about."""
        return len(self.sockets) + len(self._pending)

    def happen(self, event: Event) -> None:
        """Something happened: go where the table says, and let those know whom it concerns."""
        before = self.state
        self.state, kill = TABLE.get((before, event), (before, False))
        if self.state is before:
            return
        if self.state is not State.READY:
            self._end_requests(HubStopping() if self.state is State.STOPPING else ServiceDied())
        if self.state is State.DEAD:
            if self.is_paused:
                self.resume()  # to hear the answers to what follows
            for socket in list(self.sockets.values()):
                socket.wshub_close(*SERVICE_DIED)
        self._on_change(self, event, kill)
        if self.state is State.READY:
            self._tell_waiting(None)
        elif self.state is State.STOPPING:
            self._tell_waiting(HubStopping())
        else:
            self._tell_waiting(ServiceDied() if self.state is State.DEAD else self.failure)

    def when_ready(self, told: Callable[[ServiceUnavailable | None], None]) -> None:
        """Call `told` with None once the service is ready, at once if it is; or with why it never will be.

        Who comes while it does not keep up waits as its clients do: else what is posted about them had no bound.
        """
        if self.state is State.STARTING or (self.state is State.READY and self.is_paused):
            self._waiting.append(told)
        elif self.state is State.READY:
            told(None)
        else:
            told(HubStopping() if self.state is State.STOPPING else self.failure)

    def _tell_waiting(self, why_not: ServiceUnavailable | None) -> None:
        waiting, self._waiting = self._waiting, []
        for told in waiting:
            told(why_not)

    def pass_on(self, why_not: ServiceUnavailable) -> None:
        """Whoever waits for it is to do without it, or to wait for another."""
        self._tell_waiting(why_not)

    def pass_on_requests(self, why_not: ServiceUnavailable) -> None:
        """The same for those whom the service has not decided about, which is not waited for any more."""
        for socket_id in self._pending.end(why_not):
            if not isinstance(why_not, ServiceReplaced):
                self.counts.refused[ENDED] += 1
            self.post(CLOSE, socket_id, encode_gone(ABNORMAL_CLOSURE, ""))

    # To the process.

    def ask(self, opening: tuple[str, int, str, str, str], offered: tuple[str, ...], told: Told) -> int:
        """A client wants to connect: let the service decide. Return the id that the client has, or will have.

        `told` is called with what the service says, or with why it never will say anything, unless `abandon` is.
        """
        self._last_id = socket_id = self._last_id + 1
        self._pending.add(socket_id, offered, told)
        self.post(REQUEST, socket_id, encode_opening(*opening, ",".join(offered)))
        return socket_id

    def abandon(self, socket_id: int, why: str) -> None:
        """Nothing comes of a request, whatever the service may still say: tell it, and count why."""
        if self._pending.remove(socket_id):
            self.counts.refused[why] += 1
            self.post(CLOSE, socket_id, encode_gone(ABNORMAL_CLOSURE, ""))
            if not self.client_count:
                self.on_empty()

    def _end_requests(self, why: ServiceUnavailable) -> None:
        for socket_id in self._pending.end(why):
            self.counts.refused[ENDED] += 1
            self.post(CLOSE, socket_id, encode_gone(ABNORMAL_CLOSURE, ""))

    def open(self, socket: Socket, opening: tuple[Any, ...], socket_id: int = 0) -> int:
        """A client has connected: tell the service. It gets an id, unless it has one, because the service was asked."""
        if socket_id:
            self._pending.remove(socket_id)
        else:
            self._last_id = socket_id = self._last_id + 1
        self.counts.opened += 1
        self._add(NEWSOCKET, socket_id, socket, encode_opening(*opening))
        if self.is_paused:
            socket.wshub_pause()
        if self.on_open:
            self.on_open(socket)
        return socket_id

    def _add(self, kind: int, socket_id: int, socket: Socket, opening: bytes) -> None:
        self.sockets[socket_id] = socket
        if self.declared.resumes:
            self._openings[socket_id] = opening
        self.forget_group()
        self.post(kind, socket_id, opening)

    def close(self, socket_id: int, code: int, reason: str) -> None:
        """A client has gone: tell the service."""
        if socket_id in self.sockets:
            self.counts.closed[code] += 1
            self._remove(socket_id, code, reason)
        else:
            self.abandon(socket_id, LEFT)

    def _remove(self, socket_id: int, code: int, reason: str) -> None:
        del self.sockets[socket_id]
        self._openings.pop(socket_id, None)
        self.forget_group()
        self.release(socket_id)
        self.post(CLOSE, socket_id, encode_gone(code, reason))
        if not self.client_count:
            self.on_empty()

    # From one process to the next, past a socket's beginning and end.

    def can_give_up(self, socket_id: int) -> bool:
        """Whether a client is here that another process could be told of."""
        return socket_id in self._openings

    def give_up(self, socket_id: int) -> bytes:
        """A client goes on with another process: to this one it has gone. Return what that one is to be told of it."""
        opening = self._openings[socket_id]
        self._remove(socket_id, RELOADED[0], RELOADED[1].decode())
        return opening

    def take_over(self, socket: Socket, opening: bytes) -> int:
        """A client comes from another process. It gets a new id; `opening` is what `give_up` has returned."""
        self._last_id = socket_id = self._last_id + 1
        self.counts.handed_over += 1
        self._add(RESUMED, socket_id, socket, opening)
        return socket_id

    def sync(self, socket_id: int) -> None:
        """Ask the service to say when it has dealt with everything about this socket so far."""
        self.post(SYNC, socket_id, b"")

    def message(self, kind: int, socket_id: int, payload: bytes | bytearray) -> None:
        """A message from a client, for the service: DATA, and `payload` UTF-8, or BINARY."""
        self.counts.messages_in += 1
        self._outbox.append((kind, socket_id, payload))
        if len(self._outbox) == 1:
            self.on_batch_begun()

    def post(self, kind: int, socket_id: int, payload: bytes) -> None:
        """Queue any other transaction for the service."""
        self._outbox.append((kind, socket_id, payload))
        if len(self._outbox) == 1:
            self.on_batch_begun()

    def take_batch(self) -> tuple[bytes | bytearray, ...]:
        """Everything that is queued, as the bytes of a batch, in one piece or more; none if nothing is."""
        if not self._outbox:
            return ()
        outbox, self._outbox = self._outbox, []
        return encode_columns(outbox)

    def pause(self) -> None:
        """The process does not keep up: let its sockets' clients wait."""
        self.is_paused = True
        for socket in self.sockets.values():
            socket.wshub_pause()

    def resume(self) -> None:
        """It has caught up."""
        self.is_paused = False
        for socket in self.sockets.values():
            socket.wshub_resume()
        if self.state is State.READY:
            self._tell_waiting(None)

    def tell_slow(self, socket_id: int, is_slow: bool) -> None:
        """Messages for a client begin to wait for it, or none wait any more: the service may want to know."""
        if socket_id in self.sockets:
            self.post(SLOW, socket_id, b"\1" if is_slow else b"\0")

    def hold(self, socket_id: int) -> None:
        """Too much waits for this client: let the service wait."""
        if not self._held_by:
            self.on_hold(True)
        self._held_by.add(socket_id)

    @property
    def is_held(self) -> bool:
        """Whether nothing is read from the process at the moment."""
        return bool(self._held_by)

    def release(self, socket_id: int) -> None:
        """There is room again for this client."""
        if socket_id in self._held_by:
            self._held_by.discard(socket_id)
            if not self._held_by:
                self.on_hold(False)

    # From the process, besides what `delivery` takes to the clients.

    def _hear(self, kind: int, socket_id: int, payload: bytes) -> None:
        """What the process says that is not for its clients."""
        if kind in (ACCEPT, REFUSE):
            self._hear_answer(kind, socket_id, payload)
        elif kind == READY:
            self._become_ready(decode_ready(payload))
        elif kind == FAILED:
            self.traceback = payload[-MAX_TRACEBACK:].decode(errors="replace")
            self.happen(Event.FAILED)
        elif kind != HEARTBEAT:  # which is heard as any other byte is
            raise WireError(f"a transaction of the unknown kind {kind}")

    def end_of_stream(self) -> None:
        """The process has closed its pipe."""
        self.happen(Event.HUNG_UP)

    def _hear_answer(self, kind: int, socket_id: int, payload: bytes) -> None:
        if self._socket(socket_id):
            raise WireError("an answer to a client that is connected")
        if kind == ACCEPT:
            self._pending.accept(socket_id, payload)
        elif self._pending.refuse(socket_id, payload):
            self.counts.refused[REFUSED] += 1
            if not self.client_count:
                self.on_empty()

    def _become_ready(self, declared: dict[str, str]) -> None:
        if self.state is State.READY:
            raise WireError("a second READY")
        self.declared = parse_declared(declared)
        self.happen(Event.READY)

    def _socket(self, socket_id: int) -> Socket | None:
        """The socket, None if it has closed meanwhile; raise `WireError` if it never was this service's."""
        if not 0 < socket_id <= self._last_id:
            raise WireError(f"a transaction for socket {socket_id}, which was never its own")
        return self.sockets.get(socket_id)
