"""A service in its author's test: what the clients see, what time does, what goes wrong, in each style."""

import asyncio
import gc
import sys
import threading
from pathlib import Path
from textwrap import dedent

import pytest

import wshub
from wshub.testing import ServiceTester

HANDLERS = """
    import wshub

    class Service(wshub.Service):
        def on_start(self):
            self.call_every(10, lambda: self.broadcast(f"{len(self.clients)} are here"))

        def on_message(self, client, data):
            if data == "bye":
                client.close(4000, "as you like")
            elif data == "fail":
                raise ValueError("as you like")
            else:
                client.send(data)

        def on_close(self, client, code, reason):
            print("closed", client.id, code, reason)

        def on_stop(self):
            print("stopped")
"""
CLASSIC = """
    import queue
    import Services
    from WebSockets import WebSocketTransaction as T

    class Service(Services.Service):
        def run(self):
            clients = set()
            while not self.shutdownFlag.is_set():
                try:
                    transaction = self.recvQueue.get(timeout=10)
                except queue.Empty:
                    if self.shutdownFlag.is_set():
                        break
                    for each in clients:
                        self.sendQueue.put(T(T.DATA, each, f"{len(clients)} are here"))
                    continue
                client, data = transaction.socketId, transaction.data
                if transaction.transactionType == T.NEWSOCKET:
                    clients.add(client)
                elif transaction.transactionType == T.CLOSE:
                    clients.remove(client)
                    print("closed", client, *data)
                elif data == "bye":
                    self.sendQueue.put(T(T.CLOSE, client, (4000, "as you like")))
                elif data == "fail":
                    raise ValueError("as you like")
                else:
                    self.sendQueue.put(T(T.DATA, client, data))
            print("stopped")
"""
COROUTINES = HANDLERS.replace("wshub.Service)", "wshub.AsyncService)").replace("def on", "async def on")
STYLES = {"handlers": HANDLERS, "async": COROUTINES, "classic": CLASSIC}


@pytest.fixture(params=STYLES)
def file(request, tmp_path):
    """The same service in each style."""
    file = tmp_path / "it.py"
    file.write_text(dedent(STYLES[request.param]))
    return file


def make(cls, **options):
    """A tester for a class that is written in the test."""
    return ServiceTester(cls, **options)


def test_messages(file):
    """Messages go to the service and come back, text and binary, to the client that they are for."""
    with ServiceTester.load(file) as service:
        one, other = service.connect(), service.connect()
        one.send("hé", b"\0\xff")
        assert one.receive_all() == ["hé", b"\0\xff"]
        assert other.received == []
        with pytest.raises(AssertionError, match="nothing has come"):
            other.receive()


def test_a_service_closes(file, capsys):
    """A client that was closed knows code and reason, and the service hears of the end once."""
    with ServiceTester.load(file) as service:
        client = service.connect()
        client.send("bye")
        assert client.closed == (4000, "as you like")
        assert not client.is_open
        with pytest.raises(AssertionError, match="this client is closed"):
            client.send("?")
    assert capsys.readouterr().out.splitlines() == ["closed 1 4000 as you like", "stopped"]


def test_a_client_closes(file, capsys):
    """The service hears of each end, the hub's own at the end included."""
    with ServiceTester.load(file) as service:
        one, other, third = (service.connect() for _ in range(3))
        one.close(3000, "enough")
        other.lose()
        assert third.is_open
    assert third.closed == (1001, "The hub is stopping.")
    assert capsys.readouterr().out.splitlines() == [
        "closed 1 3000 enough",
        "closed 2 1006 ",
        "closed 3 1001 The hub is stopping.",
        "stopped",
    ]


def test_time_is_moved(file):
    """Nothing comes until it is due, and then everything that is, without any waiting."""
    with ServiceTester.load(file) as service:
        client = service.connect()
        service.advance(9.5)
        assert client.received == []
        service.advance(0.5)
        assert client.receive_all() == ["1 are here"]
        service.advance(3600)
        assert client.receive_all() == ["1 are here"] * 360
        assert service.now == 3610


def test_errors_come_out(file):
    """What the service raises comes out of the call that caused it."""
    with pytest.raises(ValueError, match="as you like"), ServiceTester.load(file) as service:  # noqa: PT012 - the two belong together
        client = service.connect()
        client.send("fail")
        pytest.fail("nothing was raised")


@pytest.mark.parametrize("source", [HANDLERS, COROUTINES], ids=["handlers", "async"])
def test_errors_as_the_hub_has_them(tmp_path, source):
    """With raise_errors=False they are kept, the client gets 1011, and the service lives on."""
    (tmp_path / "it.py").write_text(dedent(source))
    with ServiceTester.load(tmp_path / "it.py", raise_errors=False) as service:
        client, other = service.connect(), service.connect()
        client.send("fail")
        assert client.closed == (1011, "The service failed.")
        assert [str(error) for error in service.errors] == ["as you like"]
        other.send("hello")
        assert other.receive() == "hello"


def test_broadcasts():
    """A broadcast is seen once as what it is, and by each client that it is for."""

    class Service(wshub.Service):
        def on_message(self, client, data):
            self.broadcast(data, exclude=[client])

    with make(Service) as service:
        one, other, third = (service.connect() for _ in range(3))
        one.send("hello", b"1")
        assert service.broadcasts == ["hello", b"1"]
        assert (one.received, other.received, third.received) == ([], ["hello", b"1"], ["hello", b"1"])


@pytest.mark.parametrize("base", [wshub.Service, wshub.AsyncService])
def test_what_a_client_asks_for(base):
    """Path, query, headers, cookies, address and subprotocol are what the test says."""

    class Service(base):
        subprotocols = ("v2", "v1")

    with make(Service) as service:
        client = service.connect(
            "/a", "b=c", {"X-Y": "z"}, {"name": "ada"}, subprotocols=["v1", "v0", "v2"], address=("192.0.2.1", 7)
        )
        seen = service.service.clients[client.id]
        assert (seen.path, seen.query, seen.address, seen.subprotocol) == ("/a", "b=c", ("192.0.2.1", 7), "v2")
        assert seen.headers["x-y"] == "z"
        assert seen.cookies == {"name": "ada"}
        assert client.subprotocol == "v2"
        assert service.connect().subprotocol is None


def test_on_request():
    """A refusal is raised with status, text and headers; what an `Accept` sends is seen."""

    class Service(wshub.Service):
        def on_request(self, request):
            if "token" not in request.query:
                raise wshub.Refuse(401, "Who are you?", {"WWW-Authenticate": "Bearer"})
            return wshub.Accept(subprotocol="b", headers={"X-Hello": "you"})

    with make(Service) as service:
        with pytest.raises(wshub.Refuse) as refused:
            service.connect()
        assert (refused.value.status, refused.value.text) == (401, "Who are you?")
        assert refused.value.headers == (("WWW-Authenticate", "Bearer"),)
        assert service.clients == []
        client = service.connect(query="token", subprotocols=["a", "b"])
        assert client.subprotocol == "b"
        assert client.response_headers == (("X-Hello", "you"),)


def test_on_request_that_takes_time():
    """A coroutine that waits before it answers gets the time that it waits for, and no more."""

    class Service(wshub.AsyncService):
        async def on_request(self, request):
            await asyncio.sleep(2)

    with make(Service) as service:
        assert service.connect().is_open
        assert service.now == pytest.approx(2)


def test_slow_client():
    """A client that does not read is slow in the eyes of the service, until it reads on."""

    class Service(wshub.Service):
        drained = 0

        def on_message(self, client, data):
            assert client.send(data) is wshub.Sent.WAITING

        def on_drain(self, client):
            self.drained += 1

    with make(Service) as service:
        client = service.connect()
        client.stop_reading()
        client.send("1")
        client.read_on()
        assert service.service.drained == 1


@pytest.mark.parametrize("base", [wshub.Service, wshub.AsyncService])
def test_threads(base):
    """What a thread brings is waited for in real time, with a limit."""
    may_go = threading.Event()

    class Handlers(wshub.Service):
        def on_message(self, client, data):
            threading.Thread(target=lambda: (may_go.wait(5), self.call_from_thread(client.send, data))).start()

    class Coroutines(wshub.AsyncService):
        async def on_message(self, client, data):
            await asyncio.to_thread(may_go.wait, 5)
            client.send(data)

    with make(Handlers if base is wshub.Service else Coroutines) as service:
        client = service.connect()
        client.send("1")
        assert client.received == []
        with pytest.raises(AssertionError, match=r"not within 0\.05 seconds"):
            service.wait(lambda: client.received, timeout=0.05)
        may_go.set()
        service.wait(lambda: client.received)
        assert client.receive() == "1"


def test_timers_in_init():
    """A timer that is made in __init__ goes by the test's time too."""

    class Service(wshub.Service):
        def __init__(self):
            self.call_later(5, self.broadcast, "now")

    with make(Service) as service:
        client = service.connect()
        service.advance(5)
        assert client.receive() == "now"


@pytest.mark.parametrize("base", [wshub.Service, wshub.AsyncService])
def test_start_fails(base):
    """What on_start raises comes out of the with statement, and nothing is left open."""

    class Service(base):
        def on_start(self):
            raise OSError("no database")

    with pytest.raises(OSError, match="no database"), make(Service):
        pytest.fail("it started")


@pytest.mark.parametrize("base", [wshub.Service, wshub.AsyncService])
def test_a_failing_test_comes_first(base):
    """A failing assertion is what the test reports, not what stopping the service raises after it."""

    class Service(base):
        def on_stop(self):
            raise OSError("too late")

    with pytest.raises(AssertionError, match="mine"), make(Service):
        raise AssertionError("mine")
    with pytest.raises(OSError, match="too late"), make(Service):
        pass


def test_no_service(tmp_path):
    """A file without a Service, a class that is none, and a wrong declaration are said plainly."""
    (tmp_path / "it.py").write_text("")
    path = sys.path[:]
    with pytest.raises(TypeError, match=r"it\.py has no class Service"):
        ServiceTester.load(tmp_path / "it.py")
    with pytest.raises(TypeError, match="must be derived from"):
        ServiceTester(object)

    class Service(wshub.Service):
        restart = "always"

    with pytest.raises(ValueError, match="restart must be one of"):
        ServiceTester(Service)
    assert sys.path == path


def test_modules_beside_it(tmp_path):
    """What lies in the folder of services can be imported while the service is there, and not after."""
    (tmp_path / "lib_of_this_test.py").write_text("answer = '42'")
    (tmp_path / "foo").mkdir()
    file = tmp_path / "foo" / "bar.py"
    file.write_text(
        "import wshub\nclass Service(wshub.Service):\n"
        "    def on_open(self, client):\n        import lib_of_this_test as lib\n        client.send(lib.answer)\n"
    )
    with ServiceTester.load(file, root=tmp_path) as service:
        assert service.connect().receive() == "42"
    assert str(tmp_path) not in sys.path


def test_an_id_that_never_was(tmp_path):
    """A classic service that writes to a socket it never had is told, as a hub would kill it."""
    (tmp_path / "it.py").write_text(dedent(CLASSIC).replace("T(T.DATA, client, data)", "T(T.DATA, 77, data)"))
    with pytest.raises(LookupError, match="77 never was"), ServiceTester.load(tmp_path / "it.py") as service:
        service.connect().send("hello")


def test_classic_that_returns(tmp_path):
    """A run() that returns unasked is a death, and a test fails of it."""
    (tmp_path / "it.py").write_text("import Services\nclass Service(Services.Service):\n    def run(self): pass\n")
    with pytest.raises(AssertionError, match=r"run\(\) has returned"), ServiceTester.load(tmp_path / "it.py"):
        pytest.fail("it started")


def test_classic_that_polls(tmp_path):
    """A service that looks into its queue now and then, with a sleep of its own between, is waited for as well."""
    (tmp_path / "it.py").write_text(
        dedent("""
            import queue, time
            import Services
            class Service(Services.Service):
                def run(self):
                    while not self.shutdownFlag.is_set():
                        try:
                            transaction = self.recvQueue.get_nowait()
                        except queue.Empty:
                            time.sleep(0.001)
                            continue
                        if transaction.transactionType == 1:
                            self.sendQueue.put(transaction)
        """)
    )
    with ServiceTester.load(tmp_path / "it.py") as service:
        client = service.connect()
        client.send("1", "2", "3")
        assert client.receive_all() == ["1", "2", "3"]


def test_nothing_is_left_open(file):
    """A hundred testers leave as many descriptors as there were."""
    folder = Path("/proc/self/fd")
    with ServiceTester.load(file) as service:
        service.connect()
    gc.collect()  # what other tests have left is closed now, and not in the middle
    before = len(list(folder.iterdir()))
    for _ in range(100):
        with ServiceTester.load(file) as service:
            service.connect()
    assert len(list(folder.iterdir())) == before


def test_client_of_the_process_before() -> None:
    """A resumed client is one from the start, and is not asked about; others are as usual."""

    class Resumes(wshub.Service):
        resumes = True

        def on_request(self, request: wshub.Request) -> None:
            raise wshub.Refuse(403)

        def on_open(self, client: wshub.Client) -> None:
            client.send(f"{client.resumed} {client.query}")

    with ServiceTester(Resumes) as service:
        assert service.connect(query="a=b", resumed=True).receive() == "True a=b"
        with pytest.raises(wshub.Refuse):
            service.connect()
