"""A connection's first request: what is accepted, and how whatever is not is answered."""

import re
import time
from http import HTTPStatus

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshub.door.handshake import (
    MAX_HEAD,
    MAX_HEADERS,
    MAX_REQUEST_LINE,
    check_plain,
    choose_subprotocol,
    format_error,
    parse_head,
    parse_upgrade,
    read_head,
)
from wshub.errors import HandshakeError, HttpError, HubStopping, ServiceCrashing, ServiceFailed, ServiceNotFound

bounded = settings(deadline=None, max_examples=400)

GOOD = {
    "Host": "example.org:12345",
    "Upgrade": "websocket",
    "Connection": "keep-alive, Upgrade",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}


def make_request(line="GET /echo?x=1 HTTP/1.1", *more, **changes):
    """A good request for a WebSocket, with some headers changed, or left out if None, and `more` lines."""
    headers = {**GOOD, **{name.replace("_", "-"): value for name, value in changes.items()}}
    lines = [f"{name}: {value}" for name, value in headers.items() if value is not None]
    return "\r\n".join([line, *lines, *more, "", ""]).encode("latin-1")


def parse(data):
    """The head of a request, which must be all that there is."""
    assert read_head(data) == len(data)
    return parse_head(data)


def refusal(call, *args):
    """The `HandshakeError` that a call raises."""
    with pytest.raises(HandshakeError) as caught:
        call(*args)
    return caught.value


# Where the head ends.


def test_a_head_ends_with_a_blank_line():
    """The head is complete with its blank line, not before, and ends there whatever follows."""
    request = make_request()
    assert [read_head(request[:end]) for end in range(len(request))] == [0] * len(request)
    assert read_head(request) == len(request)
    assert read_head(request + b"\r\n\r\nmore") == len(request)


def test_largest_head():
    """A head of just 16 KiB is read; of one byte more, or without an end, it is 431."""
    line = "GET / HTTP/1.1\r\nX: "
    assert read_head((line + "a" * (MAX_HEAD - len(line) - 4) + "\r\n\r\n").encode()) == MAX_HEAD
    assert refusal(read_head, (line + "a" * (MAX_HEAD - len(line) - 3) + "\r\n\r\n").encode()).status == 431
    assert refusal(read_head, (line + "a" * (MAX_HEAD - len(line))).encode()).status == 431
    assert read_head((line + "a" * (MAX_HEAD - len(line) - 1)).encode()) == 0


@pytest.mark.parametrize("end", [b"", b"\r\n", b"\r\n\r\n"])
def test_request_line_of_9_kib(end):
    """A request line of 9 KiB is 414, whether or not it has ended."""
    assert refusal(read_head, b"GET /" + b"a" * 9211 + end).status == 414


def test_largest_request_line():
    """A request line of just 8 KiB is read, in whatever pieces it comes; one byte more is 414."""
    line = b"GET /" + b"a" * (MAX_REQUEST_LINE - 14) + b" HTTP/1.1"
    assert len(line) == MAX_REQUEST_LINE
    assert refusal(read_head, line.replace(b"/", b"/a") + b"\r\n\r\n").status == 414
    assert read_head(line + b"\r\n\r\n") == len(line) + 4
    assert read_head(line) == 0
    assert read_head(line + b"\r") == 0


def test_other_limits():
    """Each limit can be another: the head's size, the request line's, the number of headers."""
    request = make_request()
    assert read_head(request, 0, len(request)) == len(request)
    assert refusal(read_head, request, 0, len(request) - 1).status == 431
    assert read_head(request, 0, MAX_HEAD, len("GET /echo?x=1 HTTP/1.1")) == len(request)
    assert refusal(read_head, request, 0, MAX_HEAD, len("GET /echo?x=1 HTTP/1.1") - 1).status == 414
    assert parse_head(request, len(GOOD)).method == "GET"
    assert refusal(parse_head, request, len(GOOD) - 1).status == 431


@bounded
@given(st.binary(max_size=300))
def test_no_bytes_look_complete_without_a_blank_line(data):
    """The length of a head is that of its first blank line's end, or 0."""
    end = data.find(b"\r\n\r\n")
    assert read_head(data) == (end + 4 if end >= 0 else 0)


# What is in it.


def test_headers():
    """Names are in lower case, values stripped and joined with those of the same name, which is remembered."""
    head = parse(b"GET /x?y HTTP/1.1\r\nHost:\t a \t\r\nACCEPT: b\r\nEmpty:\r\naccept: \xe9\tc\r\n\r\n")
    assert (head.method, head.target, head.version) == ("GET", b"/x?y", "HTTP/1.1")
    assert head.headers == {"host": "a", "accept": "b, é\tc", "empty": ""}
    assert head.repeated == {"accept"}
    assert not head.wants_upgrade


def test_no_headers():
    """A head may be nothing but a request line."""
    assert parse(b"GET / HTTP/1.0\r\n\r\n").headers == {}


@pytest.mark.parametrize("value", ["websocket", "WebSocket", "h2c, websocket"])
def test_wants_upgrade(value):
    """A request with Upgrade: websocket, in any case and company, asks for a WebSocket."""
    assert parse(make_request(Upgrade=value)).wants_upgrade
    assert not parse(make_request(Upgrade="h2c")).wants_upgrade


def test_most_headers():
    """128 headers are read, 129 are 431."""
    lines = ["X: y"] * (MAX_HEADERS - len(GOOD))
    assert parse(make_request("GET / HTTP/1.1", *lines)).headers["host"] == GOOD["Host"]
    assert refusal(parse, make_request("GET / HTTP/1.1", *lines, "X: y")).status == 431


@pytest.mark.parametrize(
    "line",
    [
        "",
        "GET",
        "GET /",
        "GET  / HTTP/1.1",
        "GET / HTTP/1.1 ",
        " GET / HTTP/1.1",
        "GET / HTTP/2.0",
        "GET / HTTP/1.2",
        "GET / http/1.1",
        "GET /a b HTTP/1.1",
        "GET /\xe9 HTTP/1.1",
        "GET /\x00 HTTP/1.1",
        "G(T / HTTP/1.1",
        "GET\t/ HTTP/1.1",
        "GET /\n HTTP/1.1",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    ],
)
def test_malformed_request_lines(line):
    """A first line that is not to the letter HTTP/1.x, TLS for instance, is 400."""
    assert refusal(parse, make_request(line)).status == 400


SMUGGLED = [bytes((c,)).decode("latin-1") for c in (*range(9), *range(10, 32), 0x7F, 0x85)]


@pytest.mark.parametrize("byte", SMUGGLED, ids=ascii)
def test_bytes_that_some_parser_splits_at(byte):
    """A control character, or what some parser takes for a line's end, is 400 in a value, a name and around them."""
    for line in (f"X: a{byte}Upgrade: websocket", f"X{byte}Y: a", f"{byte}X: a", f"X: a{byte}", f"X:{byte}"):
        assert refusal(parse, make_request("GET / HTTP/1.1", line)).status == 400


@pytest.mark.parametrize("line", [" folded", "\tfolded", "X : a", "X\t: a", ": a", "X", "X\xe9: a", "X(: a", "X Y: a"])
def test_malformed_header_lines(line):
    """A folded line, a space before the colon, and a name that is no token are 400."""
    assert refusal(parse, make_request("GET / HTTP/1.1", "A: b", line)).status == 400


# What an upgrade request asks for.


def test_upgrade():
    """A good request is taken apart."""
    request = parse_upgrade(
        parse(
            make_request(
                "GET /echo/%C3%A9?a=1?b HTTP/1.1",
                "Sec-WebSocket-Protocol: chat",
                Sec_WebSocket_Protocol="superchat ,, v2",
                Sec_WebSocket_Extensions="permessage-deflate",
            )
        )
    )
    assert (request.path, request.query) == (b"/echo/%C3%A9", "a=1?b")
    assert request.key == GOOD["Sec-WebSocket-Key"]
    assert request.subprotocols == ["superchat", "v2", "chat"]
    assert request.extensions == "permessage-deflate"
    assert request.headers["host"] == GOOD["Host"]


def test_upgrade_with_nothing_more():
    """Query, subprotocols and extensions may be missing; tokens are read in any case."""
    request = parse_upgrade(parse(make_request("GET / HTTP/1.1", Upgrade="WEBSOCKET", Connection="UPGRADE")))
    assert (request.path, request.query, request.subprotocols, request.extensions) == (b"/", "", [], "")


REFUSED_UPGRADES = {
    "POST": (405, ("POST / HTTP/1.1",), {}),
    "HEAD": (405, ("HEAD / HTTP/1.1",), {}),
    "HTTP/1.0": (505, ("GET / HTTP/1.0",), {}),
    "no host": (400, (), {"Host": None}),
    "two hosts": (400, ("GET / HTTP/1.1", "Host: b"), {}),
    "no key": (400, (), {"Sec-WebSocket-Key": None}),
    "two keys": (400, ("GET / HTTP/1.1", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="), {}),
    "empty key": (400, (), {"Sec-WebSocket-Key": ""}),
    "short key": (400, (), {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j"}),
    "long key": (400, (), {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZXh4"}),
    "key that is not base64": (400, (), {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25j!Q=="}),
    "no version": (400, (), {"Sec-WebSocket-Version": None}),
    "two versions": (400, ("GET / HTTP/1.1", "Sec-WebSocket-Version: 13"), {}),
    "version 8": (426, (), {"Sec-WebSocket-Version": "8"}),
    "versions in a list": (426, (), {"Sec-WebSocket-Version": "13, 8"}),
    "no connection": (400, (), {"Connection": None}),
    "connection without upgrade": (400, (), {"Connection": "keep-alive"}),
    "connection that is nearly upgrade": (400, (), {"Connection": "upgrades"}),
    "body": (400, (), {"Content-Length": "5"}),
    "chunked body": (400, (), {"Transfer-Encoding": "chunked"}),
    "fragment": (400, ("GET /a#b HTTP/1.1",), {}),
    "fragment in the query": (400, ("GET /a?b#c HTTP/1.1",), {}),
    "target that is no path": (400, ("GET * HTTP/1.1",), {}),
    "one subprotocol twice": (400, (), {"Sec-WebSocket-Protocol": "a, b, a"}),
}


@pytest.mark.parametrize(("status", "lines", "changes"), REFUSED_UPGRADES.values(), ids=REFUSED_UPGRADES)
def test_refused_upgrades(status, lines, changes):
    """Whatever RFC 6455, section 4.2.1, forbids is refused with the status that says why."""
    head = parse(make_request(*lines, **changes))
    assert head.wants_upgrade
    assert refusal(parse_upgrade, head).status == status


@pytest.mark.parametrize("value", ["websockets", "notwebsocket", "web-socket, websocket2"])
def test_upgrade_to_something_else(value):
    """A request to upgrade to nearly a WebSocket opens none: it is refused, or it is a plain request."""
    head = parse(make_request(Upgrade=value))
    if head.wants_upgrade:
        assert refusal(parse_upgrade, head).status == 400
    else:
        assert check_plain(head) is None


def test_what_a_refusal_asks_for_instead():
    """A wrong version is told the right one, a wrong method the right one."""
    wrong_version = refusal(parse_upgrade, parse(make_request(Sec_WebSocket_Version="12")))
    assert ("Sec-WebSocket-Version", "13") in wrong_version.headers
    wrong_method = refusal(parse_upgrade, parse(make_request("PUT / HTTP/1.1")))
    assert ("Allow", "GET") in wrong_method.headers


def test_426_names_the_protocol():
    """A 426 has an Upgrade header: RFC 9110, section 15.5.22, says must."""
    error = refusal(parse_upgrade, parse(make_request(Sec_WebSocket_Version="12")))
    assert ("Upgrade", "websocket") in error.headers


@pytest.mark.parametrize(
    ("supported", "offered", "chosen"),
    [
        (("a", "b"), ["b", "a"], "a"),
        (("a", "b"), ["c", "b"], "b"),
        (("a",), ["A"], None),
        (("a",), [], None),
        ((), ["a"], None),
    ],
)
def test_subprotocol_choice(supported, offered, chosen):
    """The service's order decides; what they do not share is not chosen."""
    assert choose_subprotocol(supported, offered) == chosen


# What is no upgrade.


@pytest.mark.parametrize("request_line", ["GET / HTTP/1.1\r\nHost: a", "HEAD /x HTTP/1.0"])
def test_plain_requests(request_line):
    """GET and HEAD without a body are for pages."""
    assert check_plain(parse_head(f"{request_line}\r\nContent-Length: 0\r\n\r\n".encode())) is None


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        (b"POST / HTTP/1.1", 405),
        (b"OPTIONS * HTTP/1.1", 405),
        (b"CONNECT example.org:80 HTTP/1.1", 405),
        (b"GET / HTTP/1.1\r\nContent-Length: 1", 400),
        (b"GET / HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 5", 400),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked", 400),
        (b"GET / HTTP/1.1", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b", 400),
    ],
)
def test_refused_plain_requests(request_head, status):
    """Other methods and bodies are refused."""
    error = refusal(check_plain, parse_head(request_head + b"\r\n\r\n"))
    assert error.status == status
    assert (("Allow", "GET, HEAD") in error.headers) == (status == 405)


# What a client is told.

ERRORS = [
    HttpError("Something."),
    HandshakeError("Bad."),
    HandshakeError("Of another status.", 431),
    HandshakeError("With headers.", 426, (("Upgrade", "websocket"), ("Sec-WebSocket-Version", "13"))),
    ServiceNotFound(),
    ServiceNotFound("Nothing here: é."),
    ServiceFailed(),
    ServiceCrashing(7),
    HubStopping(),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_error_responses(error):
    """An error is a whole HTTP response, read by the book: status line, headers, as long a body as it says, closed."""
    head, _, body = format_error(error).partition(b"\r\n\r\n")
    status_line, *lines = head.decode("ascii").split("\r\n")
    headers = dict(re.fullmatch(r"([A-Za-z-]+): (.+)", line).groups() for line in lines)
    assert status_line == f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}"
    assert body.decode() == f"{error}\n"
    assert headers["Content-Length"] == str(len(body))
    assert headers["Connection"] == "close"
    assert headers["Content-Type"] == "text/plain; charset=utf-8"
    assert headers.items() >= dict(error.headers).items()


def test_statuses():
    """Each reason why there is no service has the status that the drawing says."""
    statuses = {type(error): error.status for error in ERRORS[4:]}
    assert statuses == {ServiceNotFound: 404, ServiceFailed: 500, ServiceCrashing: 503, HubStopping: 503}
    assert ServiceCrashing(7).headers == (("Retry-After", "7"),)


# Anything else.

PIECES = st.sampled_from(
    [b"GET", b" ", b"/", b"HTTP/1.1", b"\r\n", b"\r\n\r\n", b"\n", b":", b"Host", b"\x85", b"\xff"]
)
MUTATIONS = st.lists(st.tuples(st.integers(0, 250), st.integers(0, 5), PIECES | st.binary(max_size=3)), max_size=4)


@bounded
@given(MUTATIONS)
def test_mutated_requests(mutations):
    """A mutated request is served or refused with a status that can be told; nothing else is ever raised."""
    data = make_request(Origin="http://example.org:12345")
    for start, size, piece in mutations:
        data = data[:start] + piece + data[start + size :]
    try:
        head = parse_head(data[: read_head(data)])
        if head.wants_upgrade:
            parse_upgrade(head)
        else:
            check_plain(head)
    except HandshakeError as error:
        answer = format_error(error)
    else:
        answer = b"HTTP/1.1 101" if head.wants_upgrade else b"HTTP/1.1 200"
    assert re.match(rb"HTTP/1.1 (101|200|4\d\d|505)", answer)


@pytest.mark.parametrize("line", ["X: {}", "{}: x", "X:{} \x00", "X: {}\x00"])
@pytest.mark.parametrize("filler", [" ", "a", ",", ":", "\t ", "a, "])
def test_long_lines_take_linear_time(line, filler):
    """Twice as long a header takes about twice as long to parse or refuse, not four times and more."""

    def seconds(size):
        data = make_request("GET / HTTP/1.1", line.format(filler * (size // len(filler))))

        def once():
            began = time.perf_counter()
            try:
                parse_head(data)
            except HandshakeError:
                pass
            return time.perf_counter() - began

        return min(once() for _ in range(5))

    assert seconds(16 << 10) < 8 * seconds(8 << 10) + 1e-4
