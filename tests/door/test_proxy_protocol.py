"""The PROXY protocol's header: what a proxy says before the client's first byte."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.door.proxy_protocol import MAX_V1, SIGNATURE, read_proxy_header
from wshub.errors import HandshakeError


def make_v2(family, addresses, command=0x21, more=b""):
    """A header of version 2, TCP over `family`."""
    body = addresses + more
    return SIGNATURE + bytes((command, family << 4 | 1)) + len(body).to_bytes(2, "big") + body


V4 = socket.inet_aton("203.0.113.5") + socket.inet_aton("192.0.2.1") + (4711).to_bytes(2, "big") + b"\0\x50"
V6 = socket.inet_pton(socket.AF_INET6, "2001:db8::5") + bytes(16) + (4711).to_bytes(2, "big") + b"\0\x50"

HEADERS = {
    "v1, IPv4": (b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80\r\n", ("203.0.113.5", 4711)),
    "v1, IPv6": (b"PROXY TCP6 2001:db8::5 ::1 4711 80\r\n", ("2001:db8::5", 4711)),
    "v1, unknown": (b"PROXY UNKNOWN\r\n", None),
    "v1, unknown with more": (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", None),
    "v2, IPv4": (make_v2(1, V4), ("203.0.113.5", 4711)),
    "v2, IPv6": (make_v2(2, V6), ("2001:db8::5", 4711)),
    "v2, with more": (make_v2(1, V4, more=b"\x04\x00\x02hi"), ("203.0.113.5", 4711)),
    "v2, by itself": (make_v2(0, b"", command=0x20), None),
    "v2, by itself with an address": (make_v2(1, V4, command=0x20), None),
    "v2, Unix socket": (make_v2(3, bytes(216)), None),
}


@pytest.mark.parametrize(("data", "address"), HEADERS.values(), ids=HEADERS)
def test_headers(data, address):
    """Each form is read, with and without something after it, and is not complete before its last byte."""
    assert read_proxy_header(data) == (len(data), address)
    assert read_proxy_header(data + b"GET / HTTP/1.1\r\n\r\n") == (len(data), address)
    for end in range(len(data)):
        assert read_proxy_header(data[:end]) == (0, None)


NONE = {
    "no header": b"GET / HTTP/1.1\r\n\r\n",
    "another case": b"proxy TCP4 203.0.113.5 192.0.2.1 4711 80\r\n",
    "another family": b"PROXY UDP4 203.0.113.5 192.0.2.1 4711 80\r\n",
    "the wrong family": b"PROXY TCP4 ::1 ::2 4711 80\r\n",
    "two families": b"PROXY TCP4 203.0.113.5 ::2 4711 80\r\n",
    "no address": b"PROXY TCP4 localhost 192.0.2.1 4711 80\r\n",
    "no port": b"PROXY TCP4 203.0.113.5 192.0.2.1 x 80\r\n",
    "a strange digit": "PROXY TCP4 203.0.113.5 192.0.2.1 ٣ 80\r\n".encode(),
    "too high a port": b"PROXY TCP4 203.0.113.5 192.0.2.1 65536 80\r\n",
    "too few words": b"PROXY TCP4 203.0.113.5\r\n",
    "too many words": b"PROXY TCP4 203.0.113.5 192.0.2.1 4711 80 1\r\n",
    "no words": b"PROXY \r\n",
    "no end": b"PROXY TCP4 " + b"1" * MAX_V1,
    "another version": make_v2(1, V4, command=0x11),
    "another command": make_v2(1, V4, command=0x22),
    "too short": make_v2(1, V4[:-1]),
    "too long": make_v2(1, V4, more=bytes(60000))[:100],
}


@pytest.mark.parametrize("data", NONE.values(), ids=NONE)
def test_no_headers(data):
    """Whatever else comes is 400: guessing would let a client pretend to be a proxy."""
    with pytest.raises(HandshakeError) as caught:
        read_proxy_header(data)
    assert caught.value.status == 400


@given(st.sampled_from([SIGNATURE, b"PROXY ", SIGNATURE + b"\x21\x11\0\x0c", b"PROXY TCP4 "]), st.binary(max_size=80))
def test_anything(start, rest):
    """Any bytes are a header, the beginning of one, or refused."""
    try:
        end, _ = read_proxy_header(start + rest)
    except HandshakeError:
        return
    assert 0 <= end <= len(start + rest)
