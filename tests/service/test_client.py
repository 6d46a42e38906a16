"""One connected client, on a real pipe of which the test reads the other end."""

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.service.channel import Channel
from wshub.service.client import Client, Sent
from wshub.wire import BINARY, CLOSE, DATA, MAX_MESSAGE
from wshub.wire.batches import BatchReader, decode_columns
from wshub.wire.payloads import decode_close

from .conftest import opening

SENDABLE = [1000, 1001, 1002, 1003, *range(1007, 1015), 3000, 3999, 4000, 4999]
NOT_SENDABLE = [-1, 0, 1, 999, 1004, 1005, 1006, 1015, 1016, 2000, 2999, 5000, 65535, 65536, 1 << 40]


class Wire:
    """A channel, and what has been written to it."""

    def __init__(self):
        self.unused = os.pipe()
        self.read_fd, self.write_fd = os.pipe()
        self.channel = Channel(self.unused[0], self.write_fd)

    def sent(self):
        """What has been sent so far."""
        self.channel.flush()
        os.set_blocking(self.read_fd, False)
        reader, found = BatchReader(), []
        try:
            while data := os.read(self.read_fd, 1 << 20):
                for body in reader.feed(data):
                    found += [(kind, its, bytes(payload)) for kind, its, payload in decode_columns(body)]
        except BlockingIOError:
            pass
        return found

    def client(self, socket_id=5, **details):
        """A client whose messages go here."""
        return Client(socket_id, opening(**details), self.channel)

    def close(self):
        """Give the descriptors back."""
        for fd in (*self.unused, self.read_fd, self.write_fd):
            os.close(fd)


@pytest.fixture
def wire():
    """Both ends of a channel."""
    wire = Wire()
    yield wire
    wire.close()


def test_what_the_handshake_said(wire):
    """The attributes of a client are those of its opening."""
    client = wire.client(
        9,
        host="2001:db8::1",
        port=555,
        path="/foo/b%20r",
        query="a=1&b=%41",
        headers="host: example.org\nx-empty: \nx-colon: a: b",
        subprotocol="chat",
    )
    assert client.id == 9
    assert client.address == ("2001:db8::1", 555)
    assert client.path == "/foo/b%20r"
    assert client.query == "a=1&b=%41"
    assert client.headers == {"host": "example.org", "x-empty": "", "x-colon": "a: b"}
    assert client.subprotocol == "chat"
    assert client.is_open
    assert not client.is_closing


def test_no_subprotocol(wire):
    """None, not an empty name, if none was agreed upon."""
    assert wire.client().subprotocol is None


def test_repr_names_the_client(wire):
    """A client in a log is recognized by its id and its address."""
    assert repr(wire.client(3, host="192.0.2.1", port=8)) == "<Client 3 192.0.2.1:8>"


def test_state_is_the_clients_own(wire):
    """Any attribute may be set on `state`; it is there again later, and not on another client."""
    client, other = wire.client(1), wire.client(2)
    client.state.name = "Ann"
    assert client.state.name == "Ann"
    assert not hasattr(other.state, "name")


@pytest.mark.parametrize(
    ("header", "cookies"),
    [
        ("host: h\ncookie: a=1; b=two", {"a": "1", "b": "two"}),
        ('host: h\ncookie: a="q v"', {"a": "q v"}),
        ("host: h", {}),
        ("host: h\ncookie: ", {}),
        ("host: h\ncookie: a=1; =x; b=2", {"a": "1", "b": "2"}),
        ('host: h\ncookie: a=1; {"json"}; b=2', {"a": "1", "b": "2"}),
        ("host: h\ncookie: \x7f[]=1", {}),
    ],
)
def test_cookies(wire, header, cookies):
    """Cookies by name; malformed ones are left out, never an error."""
    assert wire.client(headers=header).cookies == cookies


@pytest.mark.parametrize(
    ("data", "kind", "payload"),
    [
        ("", DATA, b""),
        ("grüß €", DATA, "grüß €".encode()),
        ("\0", DATA, b"\0"),
        (b"", BINARY, b""),
        (b"\xff\x00", BINARY, b"\xff\x00"),
        (bytearray(b"array"), BINARY, b"array"),
        (memoryview(b"a view")[2:], BINARY, b"view"),
        (memoryview(b"abcdef")[::2], BINARY, b"ace"),
    ],
)
def test_send(wire, data, kind, payload):
    """`str` is a text message, everything made of bytes a binary one."""
    assert wire.client(5).send(data) is Sent.SENT
    assert wire.sent() == [(kind, 5, payload)]


def test_send_keeps_no_hold_of_a_bytearray(wire):
    """What is changed after `send` was not sent."""
    client, data = wire.client(5), bytearray(b"before")
    client.send(data)
    data[:] = b"later!"
    assert wire.sent() == [(BINARY, 5, b"before")]


@pytest.mark.parametrize("data", [None, 1, 1.5, ["a"], {"a": 1}, object()])
def test_send_of_a_wrong_type(wire, data):
    """TypeError says what can be sent and what it got; nothing is sent, and the client stays."""
    client = wire.client()
    with pytest.raises(TypeError, match=type(data).__name__):
        client.send(data)
    assert client.send("still here")
    assert wire.sent() == [(DATA, 5, b"still here")]


@pytest.mark.parametrize("text", ["\ud800", "a\udfff", "\udc80" * 3])
def test_send_of_a_lone_surrogate(wire, text):
    """ValueError at text that has no UTF-8 form; nothing is sent, and the client stays."""
    client = wire.client()
    with pytest.raises(ValueError, match="surrogate"):
        client.send(text)
    assert client.send("still here")
    assert wire.sent() == [(DATA, 5, b"still here")]


@pytest.mark.parametrize("data", [bytes(MAX_MESSAGE + 1), "é" * (MAX_MESSAGE // 2) + "x"], ids=["bytes", "text"])
def test_send_of_too_much(wire, data):
    """ValueError says how much it was and how much it may be; the size of a text is that of its UTF-8."""
    client = wire.client()
    with pytest.raises(ValueError, match=f"{MAX_MESSAGE + 1} bytes.*{MAX_MESSAGE}"):
        client.send(data)
    assert wire.sent() == []


@pytest.mark.parametrize("code", SENDABLE)
def test_close_with_a_code(wire, code):
    """Every code that a close frame may carry crosses, with its reason."""
    client = wire.client(5)
    client.close(code, "why")
    assert wire.sent() == [(CLOSE, 5, code.to_bytes(2, "big") + b"why")]
    assert not client.is_open
    assert client.is_closing


@pytest.mark.parametrize("code", NOT_SENDABLE)
def test_close_with_a_code_that_cannot_be_sent(wire, code):
    """ValueError names the code and what to use; the client stays open."""
    client = wire.client(5)
    with pytest.raises(ValueError, match=rf"^{code} .*3000"):
        client.close(code)
    assert client.is_open
    assert wire.sent() == []


def test_close_without_arguments(wire):
    """A normal closure without a reason."""
    wire.client(5).close()
    assert wire.sent() == [(CLOSE, 5, b"\x03\xe8")]


@pytest.mark.parametrize(
    ("reason", "sent"),
    [
        ("x" * 123, b"x" * 123),
        ("x" * 124, b"x" * 123),
        ("x" * 122 + "é", b"x" * 122),
        ("€" * 50, "€".encode() * 41),
    ],
)
def test_long_reason_is_cut_between_characters(wire, reason, sent):
    """A close frame has room for 123 bytes of reason; half a character is none."""
    wire.client(5).close(1000, reason)
    ((_, _, payload),) = wire.sent()
    assert decode_close(payload) == (1000, sent)


@pytest.mark.parametrize(("code", "reason"), [(1000.5, ""), (3000.5, ""), ("1000", ""), (None, ""), (1000, b"bytes")])
def test_close_with_wrong_types(wire, code, reason):
    """A wrong type is a TypeError or a ValueError, and closes nothing by half: the client can still be used."""
    client = wire.client(5)
    with pytest.raises((TypeError, ValueError)):
        client.close(code, reason)
    assert client.is_open
    assert client.send("still here")
    assert wire.sent() == [(DATA, 5, b"still here")]


def test_close_with_a_lone_surrogate(wire):
    """ValueError at a reason that has no UTF-8 form, and the client stays open."""
    client = wire.client(5)
    with pytest.raises(ValueError, match="surrogate"):
        client.close(1000, "\ud800")
    assert client.is_open
    assert wire.sent() == []


def test_nothing_after_close(wire):
    """Whatever is sent to a closed client is dropped, and it is closed once."""
    client = wire.client(5)
    assert client.send("last")
    client.close(4001, "first")
    assert client.send("late") is Sent.DROPPED
    client.close(4002, "second")
    assert [kind for kind, _, _ in wire.sent()] == [DATA, CLOSE]


@given(st.lists(st.one_of(st.text(max_size=20), st.binary(max_size=20)), max_size=20))
def test_any_messages_arrive_as_they_were(messages):
    """Text stays text, binary stays binary, in order."""
    wire = Wire()
    try:
        client = wire.client(7)
        for message in messages:
            client.send(message)
        got = [payload.decode() if kind == DATA else payload for kind, _, payload in wire.sent()]
    finally:
        wire.close()
    assert got == messages


def test_what_became_of_a_message(wire):
    """SENT at first, WAITING while the client is slow, DROPPED once it is closed; only that is false."""
    client = wire.client()
    assert client.send("a") is Sent.SENT
    client.is_slow = True
    assert client.send("b") is Sent.WAITING
    client.close()
    assert client.send("c") is Sent.DROPPED
    assert [bool(each) for each in (Sent.SENT, Sent.WAITING, Sent.DROPPED)] == [True, True, False]
    assert [payload for kind, _, payload in wire.sent() if kind == DATA] == [b"a", b"b"]
