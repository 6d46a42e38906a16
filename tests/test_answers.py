"""ACCEPT and REFUSE: what a service may answer to a request, what it may not, and who finds out."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.answers import (
    MAX_ANSWER,
    decode_accept,
    decode_refuse,
    encode_accept,
    encode_refuse,
    find_fault,
    is_refusal,
)
from wshub.errors import WireError

NAMES = st.sampled_from(["X-One", "Set-Cookie", "www-authenticate", "!#$%&'*+.^_`|~"])
VALUES = st.text("\t ~!aZ:;,=\"'", max_size=30)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(tuple)
FAULTS = [
    ("", "x"),
    ("a b", "x"),
    ("a:", "x"),
    ("a\r\nb", "x"),
    ("é", "x"),
    ("X", "a\r\nSet-Cookie: b"),
    ("X", "a\nb"),
    ("X", "a\rb"),
    ("X", "a\0"),
    ("X", "é"),
    ("X", "\x7f"),
    ("X", "\x85"),
    ("X", "\u2028"),
    ("Content-Length", "0"),
    ("Transfer-Encoding", "chunked"),
    ("UPGRADE", "h2c"),
    ("Connection", "keep-alive"),
    ("Sec-WebSocket-Accept", "x"),
    ("sec-websocket-extensions", "x"),
]


@given(st.none() | st.sampled_from(["chat", "v2.chat"]), HEADERS)
def test_accept_round_trip(subprotocol, headers):
    """What an ACCEPT says arrives, headers of one name included, in their order."""
    assert decode_accept(encode_accept(subprotocol, headers), ["v2.chat", "chat"]) == (subprotocol, headers)


@given(st.integers(400, 599), HEADERS, st.text(max_size=100))
def test_refuse_round_trip(status, headers, text):
    """What a REFUSE says arrives; its text may have any lines, empty ones too."""
    assert decode_refuse(encode_refuse(status, headers, text)) == (status, headers, text)


def test_an_accept_of_nothing():
    """The usual ACCEPT is empty."""
    assert encode_accept(None, ()) == b""
    assert decode_accept(b"", []) == (None, ())


@pytest.mark.parametrize(("name", "value"), FAULTS)
def test_headers_that_cannot_be_sent(name, value):
    """What would end a line, is no token, or is the hub's own to send, has a fault; both decoders refuse it."""
    assert find_fault(name, value)
    with pytest.raises(WireError):
        decode_accept(f"\n{name}: {value}".encode(), [])
    with pytest.raises(WireError):
        decode_refuse(f"403\n{name}: {value}\n\ntext".encode())


@pytest.mark.parametrize(("name", "value"), [("X", ""), ("x-y", "a: b\tc"), ("WWW-Authenticate", 'Basic realm="a"')])
def test_headers_that_can(name, value):
    """Anything else has none."""
    assert find_fault(name, value) == ""


@pytest.mark.parametrize(
    "payload",
    [
        b"other",
        b"chat, superchat",
        b"chat\r",
        b"chat\nno header",
        b"chat\n",
        b"\xff",
        b"\n" + b"a: b\n" * MAX_ANSWER,
    ],
)
def test_hostile_accept(payload):
    """A subprotocol that was not offered, a line that is no header, no UTF-8, or too much of it is an error."""
    with pytest.raises(WireError):
        decode_accept(payload, ["chat"])


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"403",
        b"403\n",
        b"\n\ntext",
        b"200\n\nfine",
        b"101\n\n",
        b"399\n\n",
        b"600\n\n",
        b"0403\n\n",
        b"4 3\n\n",
        b"403 Forbidden\n\n",
        b"403\r\n\r\n",
        "٤٠٣\n\n".encode(),
        b"403\nx\n\n",
        b"403\n\n\xff",
        b"403\n\n" + b"x" * MAX_ANSWER,
    ],
)
def test_hostile_refuse(payload):
    """Whatever is not a status that refuses, headers, an empty line and a text is an error."""
    with pytest.raises(WireError):
        decode_refuse(payload)


@given(st.binary(max_size=60))
def test_random_answers(payload):
    """Random bytes are an answer or a `WireError`, and never anything else."""
    for decode in (lambda: decode_accept(payload, ["chat"]), lambda: decode_refuse(b"403\n" + payload)):
        try:
            headers = decode()[1]
        except WireError:
            continue
        assert not any(find_fault(name, value) for name, value in headers)


def test_answers_that_are_too_long():
    """The author is told, not the hub's log."""
    headers = (("X", "x" * MAX_ANSWER),)
    with pytest.raises(ValueError, match="at most 16384"):
        encode_accept(None, headers)
    with pytest.raises(ValueError, match="at most 16384"):
        encode_refuse(403, headers, "")


@pytest.mark.parametrize(("status", "refuses"), [(399, False), (400, True), (401, True), (599, True), (600, False)])
def test_statuses(status, refuses):
    """400 to 599 say that a request has failed."""
    assert is_refusal(status) is refuses
