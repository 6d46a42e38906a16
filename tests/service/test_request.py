"""`wshub.Request`, `Accept` and `Refuse`, and `on_request` in both kinds of service."""

import asyncio

import pytest

import wshub
from wshub.answers import MAX_TEXT, decode_accept, decode_refuse
from wshub.service.request import Accept, Refuse, Request
from wshub.wire import ACCEPT, CLOSE, DATA, NEWSOCKET, REFUSE, REQUEST

from .conftest import Inbox, opening

HEADERS = "host: localhost\norigin: https://example.org\ncookie: name=Ada; bad\x01=x"


def requested(query="", headers=HEADERS, offered=("chat", "v2.chat")):
    """What a REQUEST carries."""
    return "192.0.2.7", 40000, "/a%20b", query, headers, offered


def ask(hub, query="", socket_id=None, **details):
    """A client wants to connect. Return its id."""
    hub._last_id = socket_id = socket_id or hub._last_id + 1
    hub.post((REQUEST, socket_id, requested(query, **details)))
    return socket_id


def get_accept(hub):
    """The next transaction, which must be an ACCEPT: id, subprotocol and headers."""
    kind, socket_id, payload = hub.get()
    assert kind == ACCEPT, (kind, payload)
    return (socket_id, *decode_accept(payload, ("chat", "v2.chat")))


def get_refuse(hub):
    """The next transaction, which must be a REFUSE: id, status, headers and text."""
    kind, socket_id, payload = hub.get()
    assert kind == REFUSE, (kind, payload)
    return (socket_id, *decode_refuse(payload))


def act(request):
    """What the test services do: as the query says."""
    if request.query == "refuse":
        raise Refuse(401, "Who?", {"WWW-Authenticate": "Basic"})
    if request.query == "raise":
        raise RuntimeError("as asked")
    if request.query == "return":
        return False
    if request.query == "forget":
        return Refuse(403)
    if request.query == "other":
        return Accept(subprotocol="other")
    if request.query == "huge":
        return Accept(headers=[("X", "x" * 20000)])
    if request.query == "full":
        return Accept(subprotocol="v2.chat", headers={"X-One": "1"}, cookies={"name": "Ada"})
    request.state.name = request.cookies["name"]
    return None


class Plain(wshub.Service):
    """Decides in plain methods."""

    def on_request(self, request):
        return act(request)

    def on_open(self, client):
        client.send(getattr(client.state, "name", "nobody"))


class Async(wshub.AsyncService):
    """Decides in coroutines; with the query ``wait`` once `go` is set, or never."""

    def __init__(self):
        self.calls = Inbox()

    async def on_start(self):
        self.loop = asyncio.get_running_loop()
        self.go = asyncio.Event()

    async def on_request(self, request):
        if request.query == "wait":
            self.calls.put("waiting")
            try:
                await self.go.wait()
            except asyncio.CancelledError:
                self.calls.put("cancelled")
                raise
        if request.query == "cancelled":
            future = self.loop.create_future()
            future.cancel()
            await future
        return act(request)

    async def on_open(self, client):
        client.send(getattr(client.state, "name", "nobody"))


@pytest.fixture(params=[Plain, Async], ids=["Service", "AsyncService"])
def service(request):
    """A service of either kind."""
    return request.param()


# The three classes.


def test_public_names():
    """They are in `wshub`."""
    assert (wshub.Request, wshub.Accept, wshub.Refuse) == (Request, Accept, Refuse)


def test_what_the_request_says():
    """The attributes of a request are those of the client's upgrade request."""
    request = Request(5, requested("q=1"))
    assert (request.address, request.path, request.query) == (("192.0.2.7", 40000), "/a%20b", "q=1")
    assert request.headers["host"] == "localhost"
    assert request.cookies == {"name": "Ada"}
    assert request.origin == "https://example.org"
    assert request.subprotocols == ("chat", "v2.chat")
    assert repr(request) == "<Request 5 192.0.2.7:40000>"
    assert Request(5, requested(headers="host: x")).origin is None


def test_cookies_are_set_safely():
    """A cookie gets the attributes that keep it from scripts and from other sites."""
    accept = Accept(headers=[("Set-Cookie", "a=1; Max-Age=60")], cookies={"b": "2", "c": ""})
    rest = "Path=/; HttpOnly; SameSite=Lax"
    assert accept.headers == (
        ("Set-Cookie", "a=1; Max-Age=60"),
        ("Set-Cookie", f"b=2; {rest}"),
        ("Set-Cookie", f"c=; {rest}"),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("a", "1; Domain=x"), ("a", "1\r\nX: y"), ("a", "a b"), ("a", '"'), ("a", "é"), ("a", "1,2"), ("a", "\\"),
     ("", "x"), ("a=b", "x"), ("a;", "x"), ("a\n", "x")],
)  # fmt: skip
def test_what_no_cookie_can_be(name, value):
    """What would end the cookie, or the header, is a `ValueError`."""
    with pytest.raises(ValueError, match="cookie"):
        Accept(cookies={name: value})


@pytest.mark.parametrize(
    "headers", [{"X": "a\r\nSet-Cookie: b"}, {"X\n": "a"}, [("X", "a\nb")], {"Content-Length": "0"}, {"X": "\0"}]
)
def test_headers_that_cannot_be_sent(headers):
    """A line's end in a header, and one that the hub sends itself, are a `ValueError` in either answer."""
    for make in (lambda: Accept(headers=headers), lambda: Refuse(403, "No.", headers)):
        with pytest.raises(ValueError, match=r"header|value"):
            make()


@pytest.mark.parametrize("status", [0, 101, 200, 302, 399, 600, "403", None])
def test_statuses_that_do_not_refuse(status):
    """A refusal has a status that says so."""
    with pytest.raises(ValueError, match="use 400 to 599"):
        Refuse(status)


def test_texts_that_are_too_long():
    """A refusal is short, and a string."""
    assert Refuse(403, "x" * MAX_TEXT).text
    for text in ("x" * (MAX_TEXT + 1), "é" * MAX_TEXT, b"bytes", None):
        with pytest.raises(ValueError, match="the text of a refusal"):
            Refuse(403, text)


# In a service.


def test_accepted_and_opened(run_service, service):
    """None accepts; what on_request has put into `state` is in the client's."""
    hub = run_service(service)
    one = ask(hub)
    assert get_accept(hub) == (one, None, ())
    hub.post((NEWSOCKET, one, opening()))
    assert hub.get() == (DATA, one, b"Ada")
    assert service._requests == {}


def test_accepted_with_everything(run_service, service):
    """Subprotocol, headers and cookies go to the hub."""
    hub = run_service(service)
    one = ask(hub, "full")
    cookie = ("Set-Cookie", "name=Ada; Path=/; HttpOnly; SameSite=Lax")
    assert get_accept(hub) == (one, "v2.chat", (("X-One", "1"), cookie))


def test_refused(run_service, service):
    """`Refuse` is the answer, and nothing of the request is kept."""
    hub = run_service(service)
    one = ask(hub, "refuse")
    assert get_refuse(hub) == (one, 401, (("WWW-Authenticate", "Basic"),), "Who?")
    assert service._requests == {}


@pytest.mark.parametrize(
    ("query", "error"),
    [
        ("raise", "RuntimeError: as asked"),
        ("return", "it returned False"),
        ("forget", "raises wshub.Refuse"),
        ("other", "none of the subprotocols that the client offers"),
        ("huge", "at most 16384"),
    ],
)
def test_mistakes_refuse(run_service, service, capfd, query, error):
    """Whatever is no answer is a 500 and a traceback; nobody gets in by it, and the next one is asked as usual."""
    hub = run_service(service)
    one = ask(hub, query)
    assert get_refuse(hub) == (one, 500, (), "The service failed.")
    assert service._requests == {}
    two = ask(hub)
    assert get_accept(hub)[0] == two
    service_error = capfd.readouterr().err
    assert error in service_error
    assert "Traceback" in service_error


def test_a_client_that_goes_before_it_comes(run_service, service):
    """A CLOSE for a request ends it, accepted or refused; there is no on_close, and the id is free of it."""
    hub = run_service(service)
    one = ask(hub)
    get_accept(hub)
    hub.post((CLOSE, one, (1006, "")))
    two = ask(hub, "refuse")
    get_refuse(hub)
    hub.post((CLOSE, two, (1006, "")))
    three = ask(hub)
    assert get_accept(hub)[0] == three
    assert list(service._requests) == [three]
    assert service.clients == {}


def test_only_who_has_the_hook_is_asked(start_service):
    """READY says whether the class has an on_request."""
    for base, define, expected in (
        ("Service", "def", "yes"),
        ("AsyncService", "async def", "yes"),
        ("Service", "", None),
    ):
        hook = f"{define} on_request(self, request): pass" if define else "pass"
        route = f"/{base}{bool(define)}"
        process = start_service(f"import wshub\n\nclass Service(wshub.{base}):\n    {hook}\n", route)
        assert process.declared.get("on_request") == expected
        assert process.stop() == 0


# Coroutines.


def test_others_connect_meanwhile(run_service):
    """One request that waits keeps nobody else waiting."""
    service = Async()
    hub = run_service(service)
    one, two = ask(hub, "wait"), ask(hub)
    assert get_accept(hub)[0] == two
    service.loop.call_soon_threadsafe(service.go.set)
    assert get_accept(hub)[0] == one


def test_cancelled_when_the_client_goes(run_service):
    """An on_request that waits for what never comes is cancelled when its client goes."""
    service = Async()
    hub = run_service(service)
    one = ask(hub, "wait")
    assert service.calls.get() == "waiting"
    hub.post((CLOSE, one, (1006, "")))
    assert service.calls.get() == "cancelled"
    assert service._requests == {}
    assert service.calls.items == ["waiting", "cancelled"]


def test_cancelled_at_the_end(run_service):
    """One that waits does not keep the service from finishing."""
    service = Async()
    hub = run_service(service)
    ask(hub, "wait")
    assert service.calls.get() == "waiting"
    assert hub.stop() is None
    assert service.calls.get() == "cancelled"


def test_many_that_hang_do_not_stop_the_pipe(run_service):
    """However many requests wait, the CLOSE of each is read."""
    service = Async()
    hub = run_service(service)
    count = 3000
    ids = [ask(hub, "wait") for _ in range(count)]
    service.calls.wait(lambda: len(service.calls.items) == count)
    for socket_id in ids:
        hub.post((CLOSE, socket_id, (1006, "")))
    service.calls.wait(lambda: len(service.calls.items) == 2 * count)
    assert service._requests == {}


def test_what_it_waits_for_is_cancelled(run_service, capfd):
    """That is a failure of the service, and not the client's going."""
    hub = run_service(Async())
    one = ask(hub, "cancelled")
    assert get_refuse(hub) == (one, 500, (), "The service failed.")
    assert "what on_request waited for was cancelled" in capfd.readouterr().err


def test_a_plain_method_will_do(run_service):
    """An AsyncService's on_request may be a plain method."""

    class Mixed(wshub.AsyncService):
        def on_request(self, request):
            return act(request)

    hub = run_service(Mixed())
    one = ask(hub, "refuse")
    assert get_refuse(hub)[:2] == (one, 401)
