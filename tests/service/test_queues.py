"""Classic services: the two queues on real pipes, and whole services in processes of their own."""

import queue
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.service import queues as queues_module
from wshub.service.channel import Channel
from wshub.service.classic import Services, WebSockets
from wshub.service.queues import (
    ClassicService,
    ReceiveQueue,
    SendQueue,
    ShutDown,
    ShutdownFlag,
    WebSocketTransaction,
)
from wshub.wire import BINARY, CLOSE, DATA, MAX_MESSAGE, NEWSOCKET, SLOW
from wshub.wire.payloads import decode_close

from .conftest import DEADLINE, HubSide, Inbox, in_thread, opening, start_thread

Transaction = WebSocketTransaction


class Queues(HubSide):
    """Both queues and the flag of a service, and the hub's side of their pipes."""

    def __init__(self):
        super().__init__()
        self.start_reading()
        self.channel = Channel(self.child_reads, self.child_writes)
        self.flag = ShutdownFlag()
        self.receive_queue = ReceiveQueue(self.channel, self.flag)
        self.send_queue = SendQueue(self.channel, self.receive_queue)


@pytest.fixture(scope="module")
def kept():
    """Queues are kept to the end of the module: their threads live as long as the process. The first is for all."""
    return [Queues()]


@pytest.fixture
def queues(kept):
    """Both queues, and the hub's side."""
    queues = Queues()
    kept.append(queues)
    yield queues
    queues.hang_up()


def get_items(queues, count):
    """The next transactions, as tuples."""
    items = [queues.receive_queue.get(timeout=DEADLINE) for _ in range(count)]
    return [(item.transactionType, item.socketId, item.data) for item in items]


# What goes through the queues.


def test_names_of_the_seed():
    """The modules that classic services import have the original's names, in both sets of constants."""
    assert Services.Service is ClassicService
    assert WebSockets.WebSocketTransaction is WebSocketTransaction
    assert (Transaction.NEWSOCKET, Transaction.DATA, Transaction.CLOSE) == (0, 1, 2)
    assert (Transaction.TRANSACTION_NEWSOCKET, Transaction.TRANSACTION_DATA, Transaction.TRANSACTION_CLOSE) == (0, 1, 2)


def test_transaction_has_what_it_was_made_of():
    """Type, socket id and data, by position or by the original's names."""
    for transaction in (Transaction(1, 7, "x"), Transaction(transactionType=1, socketId=7, data="x")):
        assert (transaction.transactionType, transaction.socketId, transaction.data) == (1, 7, "x")
    assert repr(Transaction(1, 7, "x")) == "WebSocketTransaction(1, 7, 'x')"
    assert Transaction(2, 7).data is None


# Receiving.


def test_get_what_came(queues):
    """NEWSOCKET carries the address as host and port, DATA the message, CLOSE the code and the reason."""
    queues.post((NEWSOCKET, 1, opening(host="192.0.2.9", port=1234)))
    queues.post((DATA, 1, "text"), (DATA, 1, b"bytes"), (CLOSE, 1, (1001, "bye")))
    assert get_items(queues, 4) == [
        (NEWSOCKET, 1, ("192.0.2.9", 1234)),
        (DATA, 1, "text"),
        (DATA, 1, b"bytes"),
        (CLOSE, 1, (1001, "bye")),
    ]


def test_get_waits(queues):
    """A blocking get waits until something comes."""
    got = Inbox()
    thread = start_thread(lambda: got.put(queues.receive_queue.get()))
    queues.post((DATA, 1, "late"))
    assert got.get().data == "late"
    thread.join(DEADLINE)


@pytest.mark.parametrize("timeout", [0.02, 0, -1])
def test_get_in_time(queues, timeout):
    """With a timeout, what has come is taken, and queue.Empty is raised once nothing has in time."""
    queues.post((DATA, 1, "here"))
    assert queues.receive_queue.get(True, DEADLINE).data == "here"
    begun = monotonic()
    with pytest.raises(queue.Empty) as caught:
        queues.receive_queue.get(timeout=timeout)
    assert max(0, timeout) - 0.002 <= monotonic() - begun < 5
    assert not isinstance(caught.value, ShutDown)


@pytest.mark.parametrize("timeout", [30 * 86400, 1e10])
def test_get_with_a_timeout_of_many_days(queues, timeout):
    """A timeout that the system cannot express is a long wait and no error."""
    got = Inbox()

    def get():
        try:
            got.put(queues.receive_queue.get(timeout=timeout).data)
        except Exception as error:
            got.put(error)

    start_thread(get)
    queues.post((DATA, 1, "at once"))
    assert got.get() == "at once"


@pytest.mark.parametrize("arguments", [{"block": False}, {"block": False, "timeout": 5}])
def test_get_without_waiting(queues, arguments):
    """Without waiting: queue.Empty at once, or the transaction."""
    begun = monotonic()
    with pytest.raises(queue.Empty):
        queues.receive_queue.get(**arguments)
    with pytest.raises(queue.Empty):
        queues.receive_queue.get_nowait()
    assert monotonic() - begun < 2
    queues.post((DATA, 1, "a"), (DATA, 1, "b"))
    assert queues.receive_queue.get(**arguments).data == "a"
    assert queues.receive_queue.get_nowait().data == "b"


def test_empty_and_qsize(queues):
    """Both look at what has come, without taking it."""
    received = queues.receive_queue
    assert received.empty()
    assert received.qsize() == 0
    queues.post((DATA, 1, "a"), (DATA, 1, "b"))
    assert not received.empty()
    assert received.qsize() == 2
    assert get_items(queues, 2) == [(DATA, 1, "a"), (DATA, 1, "b")]
    assert received.empty()
    assert received.qsize() == 0
    assert not received.full()


def test_task_done_is_accepted(queues):
    """`task_done` may be called on both queues, as on a `queue.Queue`."""
    queues.post((DATA, 1, "a"))
    queues.receive_queue.get(timeout=DEADLINE)
    assert queues.receive_queue.task_done() is None
    assert queues.send_queue.task_done() is None


def test_end_after_what_came(queues):
    """When the hub hangs up, what came before is still there to get; then every get raises ShutDown at once."""
    queues.post((DATA, 1, "a"), (DATA, 1, "b"))
    queues.hang_up()
    assert get_items(queues, 2) == [(DATA, 1, "a"), (DATA, 1, "b")]
    for arguments in ({}, {"timeout": 5}, {"block": False}):
        begun = monotonic()
        with pytest.raises(ShutDown):
            in_thread(queues.receive_queue.get, **arguments)()
        assert monotonic() - begun < 2
    assert issubclass(ShutDown, queue.Empty)
    assert queues.flag.is_set()
    assert queues.receive_queue.empty()


def test_end_wakes_everybody_who_waits(queues):
    """All threads that wait in get, with a timeout or without, are told of the end."""
    results = Inbox()

    def get(timeout):
        try:
            queues.receive_queue.get(timeout=timeout)
        except queue.Empty as error:
            results.put(type(error))

    threads = [start_thread(get, timeout) for timeout in (None, None, DEADLINE, DEADLINE)]
    queues.hang_up()
    assert results.get_many(4) == [ShutDown] * 4
    for thread in threads:
        thread.join(DEADLINE)


def test_get_of_several_threads(queues):
    """Several threads get from one queue: each transaction is got once, and each thread gets its in order."""
    count = 3000
    results = {name: [] for name in "abcd"}

    def get(name):
        try:
            while True:
                results[name].append(int(queues.receive_queue.get(timeout=DEADLINE).data))
        except ShutDown:
            pass

    threads = [start_thread(get, name) for name in results]
    for start in range(0, count, 30):
        queues.post(*((DATA, 1, str(number)) for number in range(start, start + 30)))
    queues.hang_up()
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(number for mine in results.values() for number in mine) == list(range(count))
    assert all(mine == sorted(mine) for mine in results.values())


def test_timeout_while_another_thread_waits(queues):
    """A get with a timeout ends in time, though another thread waits for the pipe without one."""
    got = Inbox()
    waiting = start_thread(lambda: got.put(queues.receive_queue.get()))
    with pytest.raises(queue.Empty):
        queues.receive_queue.get(timeout=0.03)
    with pytest.raises(queue.Empty):
        queues.receive_queue.get_nowait()
    assert queues.receive_queue.empty()
    queues.post((DATA, 1, "for the first"))
    assert got.get().data == "for the first"
    waiting.join(DEADLINE)


# Sending.


@pytest.mark.parametrize("method", ["put", "put_nowait"])
@pytest.mark.parametrize(
    ("data", "kind", "payload"),
    [
        ("grüß", DATA, "grüß".encode()),
        ("", DATA, b""),
        (b"\xff", BINARY, b"\xff"),
        (bytearray(b"a"), BINARY, b"a"),
        (memoryview(b"v"), BINARY, b"v"),
    ],
)
def test_put_data(queues, method, data, kind, payload):
    """`str` is a text message, everything made of bytes a binary one."""
    getattr(queues.send_queue, method)(Transaction(Transaction.DATA, 5, data))
    assert queues.get() == (kind, 5, payload)


def test_put_with_the_arguments_of_a_queue(queues):
    """`block` and `timeout` are accepted as `queue.Queue.put` takes them."""
    queues.send_queue.put(Transaction(1, 5, "a"), True, 1.0)
    queues.send_queue.put(Transaction(1, 5, "b"), block=False)
    assert [queues.get_text() for _ in range(2)] == [(5, "a"), (5, "b")]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (None, (1000, "")),
        ((1000, ""), (1000, "")),
        ((4001, "grüß"), (4001, "grüß")),
        ((3000, "x" * 200), (3000, "x" * 123)),
    ],
)
def test_put_close(queues, data, expected):
    """A CLOSE without data is a normal closure; a pair is its code and its reason."""
    queues.send_queue.put(Transaction(Transaction.CLOSE, 5, data))
    assert queues.get_close() == (5, *expected)


@pytest.mark.parametrize("received", [(1000, "bye"), (1001, ""), (1005, ""), (1006, "lost"), (4999, "")])
def test_put_a_close_that_was_received(queues, received):
    """A CLOSE that came may be sent back as it is: whatever it says, it is one that a close frame can carry."""
    queues.post((CLOSE, 5, received))
    queues.send_queue.put(queues.receive_queue.get(timeout=DEADLINE))
    _, code, reason = queues.get_close()
    assert code == (1000 if received[0] in (1005, 1006) else received[0])
    assert reason == received[1]


WRONG = {
    "NEWSOCKET": Transaction(Transaction.NEWSOCKET, 5, ("h", 1)),
    "unknown type": Transaction(9, 5, "x"),
    "no type": Transaction(None, 5, "x"),
    "DATA of None": Transaction(1, 5, None),
    "DATA of a dict": Transaction(1, 5, {"a": 1}),
    "DATA of a lone surrogate": Transaction(1, 5, "\ud800"),
    "DATA too large": Transaction(1, 5, bytes(MAX_MESSAGE + 1)),
    "CLOSE with a code of no frame": Transaction(2, 5, (999, "")),
    "CLOSE with a huge code": Transaction(2, 5, (70000, "")),
    "CLOSE with three": Transaction(2, 5, (1000, "", "")),
    "CLOSE with a lone surrogate": Transaction(2, 5, (1000, "\ud800")),
}


@pytest.mark.parametrize("name", WRONG)
def test_put_of_what_cannot_be_sent(queues, name):
    """TypeError or ValueError in the thread that puts it; nothing crosses, and what others have put does."""
    queues.post((DATA, 5, "something to get"), (DATA, 5, "and more"))
    queues.receive_queue.get(timeout=DEADLINE)  # one stays: so what is put may wait for company
    queues.send_queue.put(Transaction(1, 5, "before"))
    with pytest.raises((TypeError, ValueError)):
        queues.send_queue.put(WRONG[name])
    queues.send_queue.put(Transaction(1, 5, "after"))
    assert [queues.get_text() for _ in range(2)] == [(5, "before"), (5, "after")]


@pytest.mark.parametrize("arguments", ["1, None, 'x'", "1, '5', 'x'", "1, -1, 'x'", "1, 1 << 64, 'x'", "2, None"])
def test_put_for_what_is_no_socket_id(start_service, arguments):
    """TypeError or ValueError in the thread that puts it; what others have put before and after crosses."""
    service = start_service(
        f"""
        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                self.recvQueue.get()  # one stays: so what is put may wait for company
                self.sendQueue.put(T(1, 5, "before"))
                try:
                    self.sendQueue.put(T({arguments}))
                except (TypeError, ValueError) as error:
                    print("refused")
                self.sendQueue.put(T(1, 5, "after"))
                while True:
                    self.recvQueue.get()
        """
    )
    service.post((DATA, 5, "something to get"), (DATA, 5, "and more"))
    assert [service.get_text() for _ in range(2)] == [(5, "before"), (5, "after")]
    assert service.stop() == 0
    assert service.stdout.items == ["refused"]
    assert service.stderr.items == []


def test_put_of_no_transaction(queues):
    """What is no transaction at all is an error in the thread that puts it."""
    with pytest.raises((AttributeError, TypeError)):
        queues.send_queue.put("text")


def test_send_queue_looks_empty(queues):
    """What is put is on its way: the queue is always empty and never full."""
    queues.send_queue.put(Transaction(1, 5, "x"))
    assert queues.send_queue.empty()
    assert queues.send_queue.qsize() == 0
    assert not queues.send_queue.full()


def test_put_while_nothing_is_to_get_is_flushed_at_once(queues):
    """With an empty receive queue a put is on the pipe when it returns."""
    queues.send_queue.put(Transaction(1, 5, "x"))
    assert queues.channel._outbox == []
    assert queues.get_text() == (5, "x")


def test_put_while_the_service_is_busy(queues):
    """With more to get a put waits for company, but not until the service comes back: it goes out by itself, soon."""
    queues.post((DATA, 1, "a"), (DATA, 1, "b"))
    queues.receive_queue.get(timeout=DEADLINE)
    for number in range(3):
        begun = monotonic()
        queues.send_queue.put(Transaction(1, 5, str(number)))
        assert queues.get_text() == (5, str(number))
        assert monotonic() - begun < 1


def test_put_is_flushed_before_the_service_waits(queues, monkeypatch):
    """When there is nothing more to get, what was put does not wait for company any longer."""
    monkeypatch.setattr(queues_module, "LINGER", 2 * DEADLINE)
    queues.post((DATA, 1, "a"), (DATA, 1, "b"))
    queues.receive_queue.get(timeout=DEADLINE)
    queues.send_queue.put(Transaction(1, 5, "answer"))
    queues.receive_queue.get(timeout=DEADLINE)
    with pytest.raises(queue.Empty):
        queues.receive_queue.get_nowait()
    assert queues.get_text() == (5, "answer")


def test_company_crosses_together(queues):
    """A loop that gets and puts pays for a few batches, not for one a message."""
    count = 200
    queues.post(*((DATA, 1, str(number)) for number in range(count)))
    for _ in range(count):
        queues.send_queue.put(Transaction(1, 1, queues.receive_queue.get(timeout=DEADLINE).data))
    assert [queues.get_text()[1] for _ in range(count)] == list(map(str, range(count)))
    assert len(queues.batches) < count / 2


def test_put_of_several_threads(queues):
    """Several threads put: nothing is lost or doubled, and each one's order is kept."""
    count = 1000

    def put(socket_id):
        for number in range(count):
            queues.send_queue.put(Transaction(1, socket_id, str(number)))

    threads = [start_thread(put, socket_id) for socket_id in (1, 2, 3, 4)]
    got = [queues.get_text() for _ in range(4 * count)]
    for thread in threads:
        thread.join(DEADLINE)
    for socket_id in (1, 2, 3, 4):
        assert [text for its, text in got if its == socket_id] == list(map(str, range(count)))


@given(
    st.lists(st.tuples(st.integers(1, 2**64 - 1), st.one_of(st.text(max_size=9), st.binary(max_size=9))), max_size=9)
)
def test_anything_put_arrives(kept, messages):
    """Whatever messages are put arrive as they were and in order."""
    queues = kept[0]
    for socket_id, data in messages:
        queues.send_queue.put(Transaction(1, socket_id, data))
    got = [
        (its, payload.decode() if kind == DATA else payload) for kind, its, payload in queues.get_many(len(messages))
    ]
    assert got == messages


# The flag.


def test_flag_is_not_set_at_first(queues):
    """Neither before nor after something has come."""
    assert not queues.flag.is_set()
    queues.post((DATA, 1, "x"))
    assert not queues.flag.is_set()
    assert not queues.flag.isSet()


def test_flag_is_set_at_the_end(queues):
    """It is set once the hub has hung up, without anybody getting anything."""
    queues.hang_up()
    assert queues.flag.is_set()
    assert queues.flag.isSet()
    assert queues.flag.wait(0)


def test_flag_is_set_after_what_came(queues):
    """What came before the end is to be served first."""
    queues.post((DATA, 1, "x"))
    queues.hang_up()
    assert not queues.flag.is_set()
    assert get_items(queues, 1) == [(DATA, 1, "x")]
    assert queues.flag.is_set()


def test_flag_wait_in_vain(queues):
    """`wait` returns False after its time, and not before it."""
    begun = monotonic()
    assert queues.flag.wait(0.03) is False
    assert 0.028 <= monotonic() - begun < 5


@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_flag_wait_for_the_end(queues, timeout):
    """`wait` ends when the hub hangs up, though nobody else looks at the pipe."""
    results = Inbox()
    thread = start_thread(lambda: results.put(queues.flag.wait(timeout)))
    queues.hang_up()
    assert results.get() is True
    thread.join(DEADLINE)


def test_flag_wait_for_the_end_with_something_to_get(queues):
    """`wait` ends when the hub hangs up, also in a service that never gets what has come."""
    results = Inbox()
    queues.post((NEWSOCKET, 1, opening()))
    start_thread(lambda: results.put(queues.flag.wait(1)))
    queues.hang_up()
    assert results.get() is True


def test_flag_set_by_the_service(queues):
    """A service may set it itself, to end its own threads: whoever waits in `wait` goes on."""
    results = Inbox()
    thread = start_thread(lambda: results.put(queues.flag.wait()))
    queues.flag.set()
    assert results.get() is True
    assert queues.flag.is_set()
    thread.join(DEADLINE)


def test_service_without_run(queues):
    """A service that has no run() says so."""

    class Service(ClassicService):
        pass

    with pytest.raises(NotImplementedError, match="Service has no run"):
        Service(queues.send_queue, queues.receive_queue).run()


def test_service_has_what_the_seed_gave_it(queues):
    """The constructor takes the two queues and leaves them, and the flag, where the original did."""
    service = ClassicService(queues.send_queue, queues.receive_queue)
    assert service.sendQueue is queues.send_queue
    assert service.recvQueue is queues.receive_queue
    assert service.shutdownFlag is queues.flag


# Whole services.


OLD = """
    import Services
    import WebSockets
    import queue
    import threading
    import time

    from WebSockets import WebSocketTransaction

    class Client:
        def __init__(self, addr, socketId, sendQueue):
            self.address = addr
            self.socketId = socketId
            self.sendQueue = sendQueue

        def injectReceived(self, received):
            if received.transactionType == WebSocketTransaction.{prefix}CLOSE:
                print("Client", self.socketId, "is gone")
                return
            answer = WebSocketTransaction(WebSocketTransaction.{prefix}DATA, self.socketId, received.data)
            self.sendQueue.put(answer)

    class Service(Services.Service):
        def __init__(self, sendQueue, recvQueue):
            Services.Service.__init__(self, sendQueue, recvQueue)
            self.clients = {{}}

        def run(self):
            print("Service started")
            try:
                while self.shutdownFlag.is_set() == False:
                    try:
                        transaction = self.recvQueue.get_nowait()
                        if transaction.transactionType == WebSocketTransaction.{prefix}NEWSOCKET:
                            print("Got client from", transaction.data)
                            client = Client(transaction.data, transaction.socketId, self.sendQueue)
                            self.clients[client.socketId] = client
                        else:
                            self.clients[transaction.socketId].injectReceived(transaction)
                        self.recvQueue.task_done()
                    except queue.Empty:
                        pass
                    except KeyError:
                        pass
                    time.sleep(0.005)
            except KeyboardInterrupt:
                pass
            print("Service shutting down")
"""


@pytest.mark.parametrize("prefix", ["", "TRANSACTION_"])
def test_a_service_of_2012(start_service, prefix):
    """A service in the style of the original runs as it is, with either set of names."""
    service = start_service(OLD.format(prefix=prefix))
    client = service.connect(host="192.0.2.1", port=99)
    service.message(client, "hello", b"bytes")
    service.message(77, "of nobody")
    assert service.get_many(2) == [(DATA, client, b"hello"), (BINARY, client, b"bytes")]
    service.gone(client)
    assert service.stop() == 0
    assert service.stdout.items == [
        "Service started",
        "Got client from ('192.0.2.1', 99)",
        f"Client {client} is gone",
        "Service shutting down",
    ]
    assert service.stderr.items == []


def loop(body):
    """A service whose run() is a loop around `body`."""
    return f"""
    import queue
    import threading
    import time

    import Services
    from WebSockets import WebSocketTransaction as T

    class Service(Services.Service):
        subprotocols = ("old",)

        def run(self):
            while not self.shutdownFlag.is_set():
                {body}

        def echo(self, transaction):
            if transaction.transactionType == T.DATA:
                self.sendQueue.put(transaction)
    """


LOOPS = {
    "get": loop("self.echo(self.recvQueue.get())"),
    "get with a timeout": loop(
        """
                try:
                    self.echo(self.recvQueue.get(timeout=0.01))
                except queue.Empty:
                    pass"""
    ),
    "get True and a timeout": loop(
        """
                try:
                    self.echo(self.recvQueue.get(True, 0.01))
                except queue.Empty:
                    pass"""
    ),
    "empty": loop(
        """
                if self.recvQueue.empty():
                    time.sleep(0.002)
                else:
                    self.echo(self.recvQueue.get_nowait())"""
    ),
    "qsize": loop(
        """
                for _ in range(self.recvQueue.qsize()):
                    self.echo(self.recvQueue.get())
                time.sleep(0.002)"""
    ),
    "wait": loop(
        """
                while not self.recvQueue.empty():
                    self.echo(self.recvQueue.get())
                self.shutdownFlag.wait(0.002)"""
    ),
}


@pytest.mark.parametrize("name", LOOPS)
def test_every_way_to_loop(start_service, name):
    """Echo in order, end with status 0 and nothing on stderr, however run() waits for its transactions."""
    service = start_service(LOOPS[name])
    assert service.declared["subprotocols"] == "old"
    clients = [service.connect(), service.connect()]
    texts = [str(number) for number in range(60)]
    for client in clients:
        service.message(client, *texts)
    got = [service.get_text() for _ in range(120)]
    for client in clients:
        assert [text for its, text in got if its == client] == texts
    assert service.stop() == 0
    assert service.stderr.items == []


def test_blocking_get_ends_with_the_service(start_service):
    """A run() that waits in get() for ever is ended by the hub, with status 0 and without a traceback."""
    service = start_service(
        """
        import Services

        class Service(Services.Service):
            def run(self):
                print("begun")
                self.recvQueue.get()
                print("not reached")
        """
    )
    assert service.stdout.get() == "begun"
    assert service.stop() == 0
    assert service.stdout.items == ["begun"]
    assert service.stderr.items == []


def test_what_came_before_the_end_is_served(start_service):
    """Everything that the hub sent before it hung up is answered before the service ends."""
    service = start_service(LOOPS["get"])
    client = service.connect()
    texts = [str(number) for number in range(2000)]
    service.message(client, *texts)
    assert service.stop() == 0
    assert [payload.decode() for _, _, payload in service.transactions.rest()] == texts


def test_last_words_of_run(start_service):
    """What run() puts before it returns crosses, whatever is still to get."""
    service = start_service(
        """
        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                client = self.recvQueue.get().socketId
                self.sendQueue.put(T(T.DATA, client, "good"))
                self.sendQueue.put(T(T.DATA, client, "bye"))
                self.sendQueue.put(T(T.CLOSE, client, (4000, "done")))
        """
    )
    client = 1
    service.post((NEWSOCKET, client, opening()), (DATA, client, "never got"))
    assert [service.get_text() for _ in range(2)] == [(client, "good"), (client, "bye")]
    assert service.get_close() == (client, 4000, "done")
    assert service.exit_status() == 0


def test_busy_loop_does_not_hold_back_what_it_put(start_service):
    """A put is on its way while run() is busy with something else, though there is more to get."""
    service = start_service(
        """
        import sys
        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                client = self.recvQueue.get().socketId
                self.sendQueue.put(T(T.DATA, client, "before the work"))
                sys.stdin.read()
                while True:
                    pass
        """
    )
    service.post((NEWSOCKET, 1, opening()), (DATA, 1, "waits"))
    assert service.get_text() == (1, "before the work")


def test_processes_inside_run(start_service):
    """What a process puts that run() has forked crosses once, while there is more to get for the other one."""
    service = start_service(
        """
        import multiprocessing
        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                client = self.recvQueue.get().socketId
                self.sendQueue.put(T(T.DATA, client, "before"))
                put = self.sendQueue.put, (T(T.DATA, client, "in between"),)
                child = multiprocessing.get_context("fork").Process(target=put[0], args=put[1])
                child.start()
                child.join()
                self.sendQueue.put(T(T.DATA, client, "after"))
        """
    )
    service.post((NEWSOCKET, 1, opening()), (DATA, 1, "waits"))
    assert sorted(service.get_text()[1] for _ in range(3)) == ["after", "before", "in between"]
    assert service.exit_status() == 0
    assert service.transactions.rest() == []


def test_threads_inside_run(start_service):
    """Threads get and put side by side, and end with the flag: nothing is lost, each one's order is kept."""
    service = start_service(
        """
        import queue
        import threading

        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                self.lock = threading.Lock()
                workers = [threading.Thread(target=self.work, args=(name,)) for name in "abcd"]
                for worker in workers:
                    worker.start()
                for worker in workers:
                    worker.join()
                print("all done")

            def work(self, name):
                while not self.shutdownFlag.is_set():
                    try:
                        transaction = self.recvQueue.get(timeout=0.05)
                    except queue.Empty:
                        continue
                    if transaction.transactionType == T.DATA:
                        for part in range(3):
                            text = f"{name} {transaction.data} {part}"
                            self.sendQueue.put(T(T.DATA, transaction.socketId, text))
        """
    )
    client = service.connect()
    count = 400
    for start in range(0, count, 20):
        service.message(client, *map(str, range(start, start + 20)))
    got = [service.get_text()[1].split() for _ in range(3 * count)]
    assert sorted((int(number), int(part)) for _, number, part in got) == [
        (number, part) for number in range(count) for part in range(3)
    ]
    for name in "abcd":
        mine = [(int(number), int(part)) for its, number, part in got if its == name]
        assert mine == sorted(mine)
    assert service.stop() == 0
    assert service.stdout.items == ["all done"]
    assert service.stderr.items == []


def test_thread_that_only_sends(start_service):
    """A thread that puts by itself, while run() waits in get(), reaches the hub at once."""
    service = start_service(
        """
        import threading

        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                while not self.shutdownFlag.is_set():
                    transaction = self.recvQueue.get()
                    if transaction.transactionType == T.NEWSOCKET:
                        threading.Thread(target=self.tick, args=(transaction.socketId,), daemon=True).start()

            def tick(self, client):
                for number in range(5):
                    self.shutdownFlag.wait(0.003)
                    self.sendQueue.put(T(T.DATA, client, str(number)))
        """
    )
    client = service.connect()
    assert [service.get_text() for _ in range(5)] == [(client, str(number)) for number in range(5)]
    assert service.stop() == 0


def test_threads_that_wait_in_get_at_the_end(start_service):
    """Threads that wait in get() when the hub hangs up end quietly: the end is no error of theirs."""
    service = start_service(
        """
        import threading

        import Services

        class Service(Services.Service):
            def run(self):
                workers = [threading.Thread(target=self.work) for _ in range(3)]
                for worker in workers:
                    worker.start()
                print("begun")
                for worker in workers:
                    worker.join()

            def work(self):
                while not self.shutdownFlag.is_set():
                    self.recvQueue.get()
        """
    )
    assert service.stdout.get() == "begun"
    assert service.stop() == 0
    assert service.stderr.items == []


@pytest.mark.parametrize(
    "error", ["KeyError('nobody')", "queue.Empty('of my own queue')", "BrokenPipeError('of my own pipe')"]
)
def test_run_that_raises(start_service, error):
    """An exception that nobody handles ends the service with a traceback and a status that is not 0."""
    service = start_service(
        f"""
        import queue
        import Services

        class Service(Services.Service):
            def run(self):
                self.recvQueue.get()
                raise {error}
        """
    )
    service.connect()
    assert service.exit_status() not in (0, None)
    assert "Traceback (most recent call last)" in service.errors
    assert error.split("(")[0] in service.errors
    assert "test.py" in service.errors


def test_unknown_client_is_a_key_error(start_service):
    """The classic mistake, a dictionary without the socket id, ends the process like that too."""
    service = start_service(
        """
        import Services

        class Service(Services.Service):
            def run(self):
                clients = {}
                while not self.shutdownFlag.is_set():
                    clients[self.recvQueue.get().socketId]
        """
    )
    client = service.connect()
    assert service.exit_status() > 0
    assert f"KeyError: {client}" in service.errors


def test_run_that_returns_early(start_service):
    """A run() that returns ends the process with status 0; the hub sees the end of the pipe."""
    service = start_service("import Services\nclass Service(Services.Service):\n    def run(self): pass\n")
    assert service.exit_status() == 0
    assert service.transactions.is_over


def test_constructor_with_its_own_names(start_service):
    """A constructor may call the queues what it likes: they come by position."""
    service = start_service(
        """
        import Services

        class Service(Services.Service):
            def __init__(self, out, into):
                super().__init__(out, into)
                self.out, self.into = out, into

            def run(self):
                while True:
                    transaction = self.into.get()
                    if transaction.transactionType == 1:
                        self.out.put_nowait(transaction)
        """
    )
    client = service.connect()
    service.message(client, "x")
    assert service.get_text() == (client, "x")
    assert service.stop() == 0


def test_close_from_the_service(start_service):
    """A CLOSE that the service puts follows what it has put before."""
    service = start_service(
        """
        import Services
        from WebSockets import WebSocketTransaction as T

        class Service(Services.Service):
            def run(self):
                while not self.shutdownFlag.is_set():
                    transaction = self.recvQueue.get()
                    if transaction.transactionType == T.TRANSACTION_NEWSOCKET:
                        self.sendQueue.put(T(T.TRANSACTION_DATA, transaction.socketId, "go away"))
                        self.sendQueue.put(T(T.TRANSACTION_CLOSE, transaction.socketId, None))
        """
    )
    client = service.connect()
    assert service.get_text() == (client, "go away")
    kind, its, payload = service.get()
    assert (kind, its, decode_close(payload)) == (CLOSE, client, (1000, b""))


def test_a_slow_client_is_nothing_of_theirs(queues):
    """What the hub says of slow clients, which these services know nothing of, does not get into the queue."""
    queues.post((NEWSOCKET, 1, opening()), (SLOW, 1, b"\1"), (DATA, 1, "x"), (SLOW, 1, b"\0"))
    assert [kind for kind, _, _ in get_items(queues, 2)] == [NEWSOCKET, DATA]
    assert queues.receive_queue.empty()
