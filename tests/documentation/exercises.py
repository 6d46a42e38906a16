"""What each service of the documentation does in a test, by the name of its block."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

import wshub
from wshub.testing import ServiceTester


def echo(module: Path) -> None:
    """It sends back what it gets, to the sender alone."""
    with ServiceTester.load(module) as service:
        one, other = service.connect(), service.connect()
        one.send("hello", b"\0")
        assert (one.receive_all(), other.receive_all()) == (["hello", b"\0"], [])


def everybody(module: Path) -> None:
    """What somebody sends, everybody gets."""
    with ServiceTester.load(module) as service:
        one, other = service.connect(), service.connect()
        one.send("hello")
        assert (one.receive_all(), other.receive_all()) == (["hello"], ["hello"])


def relay(module: Path) -> None:
    """Everybody else gets it, with the sender's number; every ten seconds, how many are here."""
    with ServiceTester.load(module) as service:
        one, other = service.connect(), service.connect()
        one.send("hello")
        assert (one.receive_all(), other.receive_all()) == ([], ["1: hello"])
        if not hasattr(service.service, "recvQueue"):
            service.advance(10)
            assert one.receive() == "2 are here"
        other.close()
        one.send("again")
        assert "1: again" not in other.receive_all()


def rooms(module: Path) -> None:
    """The chat of the tutorial; its own test is another block."""
    with ServiceTester.load(module) as service:
        ada = service.connect(query="name=Ada&room=garden")
        ada.send("hello")
        ada.close()
        assert ada.receive_all() == ["Ada is here.", "Ada: hello"]
        assert service.service.rooms == {}


def this_machine_only(module: Path) -> None:
    """Who comes from elsewhere is refused; who has a cookie has a name."""
    with ServiceTester.load(module) as service:
        assert service.connect(cookies={"name": "Ada"}).receive() == "Welcome, Ada."
        assert service.connect().receive() == "Welcome, anonymous."
        with pytest.raises(wshub.Refuse):
            service.connect(address=("192.0.2.7", 50000))


def session(module: Path) -> None:
    """Who has no session gets one."""
    with ServiceTester.load(module) as service:
        ((name, value),) = service.connect().response_headers
        assert (name, value.partition("=")[0]) == ("Set-Cookie", "session")
        assert service.connect(cookies={"session": "x"}).response_headers == ()


def state(module: Path) -> None:
    """Each client has a number of its own."""
    with ServiceTester.load(module) as service:
        ada, bob = service.connect(cookies={"name": "Ada"}), service.connect()
        ada.send("x", "y")
        bob.send("z")
        assert ada.receive_all() == ["Ada: 1", "Ada: 2"]
        assert bob.receive_all() == ["anonymous: 1"]


def thread(module: Path) -> None:
    """It comes back a second later, from a thread."""
    with ServiceTester.load(module) as service:
        client = service.connect()
        client.send("hello")
        assert client.received == []
        service.wait(lambda: client.received)
        assert client.receive() == "hello"


def logs(module: Path) -> None:
    """It takes a message; what it logs is looked at elsewhere."""
    with ServiceTester.load(module) as service:
        service.connect().send("12 eggs")


def greeter(module: Path) -> None:
    """It asks, and greets."""
    with ServiceTester.load(module) as service:
        client = service.connect()
        client.send("Ada")
        assert client.receive_all() == ["Who are you?", "Hello, Ada."]


def program(module: Path) -> None:
    """Lines go through a program and come back; when the client goes, it ends."""
    with ServiceTester.load(module) as service:
        client = service.connect()
        client.send("hello")
        service.wait(lambda: client.received)
        assert client.receive() == "hello"
        process = service.service.clients[client.id].state.process
        client.close()
        service.wait(lambda: process.returncode is not None)
        assert process.returncode == 0


def groups(module: Path) -> None:
    """Who is in the group of the sender gets it."""
    with ServiceTester.load(module) as service:
        one, other, stranger = (service.connect(query=query) for query in ("a", "a", "b"))
        other.close()
        one.send("hello")
        assert (one.receive_all(), other.receive_all(), stranger.receive_all()) == (["hello"], [], [])


def guests(module: Path) -> None:
    """Everybody gets what a guest says, with the guest's name."""
    with ServiceTester.load(module) as service:
        one, other = service.connect(), service.connect()
        one.send("hello")
        assert json.loads(other.receive()) == json.loads(one.receive()) == {"name": "guest 1", "text": "hello"}
        other.close()
        one.send("again")


def newcomers(module: Path) -> None:
    """Who comes is greeted, who comes from the process before is not; everybody gets what is said."""
    with ServiceTester.load(module) as service:
        one, other = service.connect(), service.connect(resumed=True)
        assert one.receive() == "Welcome!"
        one.send("hello")
        assert (one.receive_all(), other.receive_all()) == (["hello"], ["hello"])


EXERCISES: dict[str, Callable[[Path], None]] = {
    "README.md#a-service-in-five-lines": echo,
    "docs/coming-from/channels.md#the-same-program:3": everybody,
    "docs/coming-from/channels.md#groups": groups,
    "docs/coming-from/classic.md#the-same-program:2": guests,
    "docs/coming-from/classic.md#move-on-if-you-like": guests,
    "docs/coming-from/websocketd.md#the-same-program:2": greeter,
    "docs/coming-from/websocketd.md#a-program-in-another-language": program,
    "docs/howto/authenticate.md#the-hook": this_machine_only,
    "docs/howto/authenticate.md#cookies": session,
    "docs/howto/monitor.md#what-a-service-logs": logs,
    "docs/howto/reload.md#clients-that-stay-connected": newcomers,
    "docs/howto/write-a-service.md#handlers": relay,
    "docs/howto/write-a-service.md#coroutines": relay,
    "docs/howto/write-a-service.md#classic": relay,
    "docs/howto/write-a-service.md#state-of-one-client": state,
    "docs/howto/write-a-service.md#threads": thread,
    "docs/tutorial/2-first-service.md#2-the-first-service": everybody,
    "docs/tutorial/4-names-and-rooms.md#4-names-and-rooms": rooms,
}
