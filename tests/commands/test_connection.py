"""What `call` and `bench` take: URLs, headers, numbers; and how a refusal is told."""

import argparse

import pytest
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.http11 import Response

from wshub.commands.connection import at_least, describe_refusal, more_than_0, parse_header, parse_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("/echo", "ws://localhost:12345/echo"),
        ("ws://h/x?y=z", "ws://h/x?y=z"),
        ("wss://h:1/", "wss://h:1/"),
        ("http://h:80/x", "ws://h:80/x"),
        ("https://h/x", "wss://h/x"),
        ("localhost:8080/echo", "ws://localhost:8080/echo"),
        ("ws://[::1]:9/", "ws://[::1]:9/"),
    ],
)
def test_urls(text, url):
    """What people write for a URL."""
    assert parse_url(text) == url


@pytest.mark.parametrize("text", ["", "ftp://h/", "ws://", "ws://h:x/", "ws://h:99999/", "ws://h:0/", "ws://[::1/"])
def test_no_urls(text):
    """What is none."""
    with pytest.raises(argparse.ArgumentTypeError, match="is no WebSocket URL"):
        parse_url(text)


def test_headers():
    """Name and value; nothing that could be a header of its own."""
    assert parse_header("X-Y: a: b ") == ("X-Y", "a: b")
    for text in ("x", ": y", "a b: c", "a: b\r\nc: d"):
        with pytest.raises(argparse.ArgumentTypeError, match="write NAME:VALUE"):
            parse_header(text)


def test_numbers():
    """Numbers in their bounds."""
    assert at_least(1)("7") == 7
    assert more_than_0("0.5") == 0.5
    for parse, text in ((at_least(1), "0"), (at_least(1), "-1"), (at_least(0), "x"), (more_than_0, "0"),
                        (more_than_0, "nan"), (more_than_0, "inf"), (more_than_0, "x")):  # fmt: skip
        with pytest.raises(argparse.ArgumentTypeError):
            parse(text)


def test_refusals():
    """Status, headers and text, escaped; or what the system says."""
    headers = Headers([("WWW-Authenticate", "Bearer")])
    url = "ws://user@example.org:81/x"
    lines = describe_refusal(InvalidStatus(Response(401, "Unauthorized", headers, b"Who\x1b are you?")), url)
    assert lines == ["refused: HTTP 401 Unauthorized", "WWW-Authenticate: Bearer", "", "Who\\x1b are you?"]
    refused = ConnectionRefusedError(111, "Connection refused")
    assert describe_refusal(refused, url) == ["cannot connect to example.org:81: Connection refused"]
    first, hint = describe_refusal(refused, "ws://localhost:12345/x")
    assert first == "cannot connect to localhost:12345: Connection refused"
    assert "wshub serve" in hint
    assert describe_refusal(OSError(113, "No route to host"), "ws://[::1]:1/") == [
        "cannot connect to [::1]:1: No route to host"
    ]
    assert describe_refusal(TimeoutError(), url) == ["no answer: the handshake took too long"]
