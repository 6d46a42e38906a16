"""Trusted proxies: whom a request comes from."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.door.proxies import FORWARDED, X_FORWARDED, Networks, Source, find_source, parse_node

TRUSTED = Networks(["10.0.0.0/8", "192.0.2.1", "2001:db8::/32", "unix"])
PROXY = Source("10.0.0.1", 1000)


def find(headers, peer=PROXY, family=X_FORWARDED):
    """Whom a request comes from, with the usual trust."""
    return find_source(peer, headers, TRUSTED, family)


@pytest.mark.parametrize("family", [X_FORWARDED, FORWARDED])
def test_strangers_are_not_believed(family):
    """Whatever a peer says that is not trusted, it is the client."""
    stranger = Source("198.51.100.1", 1)
    headers = {
        "x-forwarded-for": "10.0.0.1",
        "x-forwarded-proto": "https",
        "x-forwarded-host": "evil.example",
        "forwarded": "for=10.0.0.1;proto=https;host=evil.example",
    }
    assert find(headers, stranger, family) is stranger


@pytest.mark.parametrize(
    ("value", "host", "port"),
    [
        ("203.0.113.5", "203.0.113.5", 0),
        ("203.0.113.5:4711", "203.0.113.5", 4711),
        ("[2001:db9::1]:4711", "2001:db9::1", 4711),
        ("2001:db9::1", "2001:db9::1", 0),
        ("1.1.1.1, 203.0.113.5", "203.0.113.5", 0),
        ("1.1.1.1, 203.0.113.5, 10.0.0.2", "203.0.113.5", 0),
        ("1.1.1.1,203.0.113.5,2001:db8::1 , 10.0.0.2", "203.0.113.5", 0),
        ("10.0.0.3, 10.0.0.2", "10.0.0.3", 0),
        ("203.0.113.5, unknown, 10.0.0.2", "10.0.0.2", 0),
        ("203.0.113.5, , 10.0.0.2", "10.0.0.2", 0),
        ("::ffff:203.0.113.5", "203.0.113.5", 0),
        ("evil\x1b", "10.0.0.1", 1000),
        ("", "10.0.0.1", 1000),
    ],
)
def test_x_forwarded_for(value, host, port):
    """From the right past those that are trusted; what is no address ends the walk."""
    assert find({"x-forwarded-for": value}) == Source(host, port)


def test_scheme_and_host():
    """The nearest proxy's word counts on what the client has asked for; nonsense is as nothing."""
    said = find({"x-forwarded-for": "203.0.113.5", "x-forwarded-proto": "http, HTTPS", "x-forwarded-host": "a, b:1"})
    assert said == Source("203.0.113.5", 0, "https", "b:1")
    assert find({"x-forwarded-proto": "gopher"}) == PROXY


@pytest.mark.parametrize(
    ("value", "source"),
    [
        ("for=203.0.113.5", Source("203.0.113.5", 0)),
        ('For="203.0.113.5:80";Proto=HTTPS;Host="a:1"', Source("203.0.113.5", 80, "https", "a:1")),
        ('for="[2001:db9::1]:4711"', Source("2001:db9::1", 4711)),
        ("for=1.1.1.1;host=evil, for=203.0.113.5;proto=https, for=10.0.0.2", Source("203.0.113.5", 0, "https")),
        ('for=1.1.1.1, for=203.0.113.5;x=",for=2.2.2.2"', Source("203.0.113.5", 0)),
        ('for=203.0.113.5;x="\\",for=2.2.2.2"', Source("203.0.113.5", 0)),
        ("for=203.0.113.5, for=unknown", PROXY),
        ("for=_hidden", PROXY),
        ("proto=https", PROXY),
        ("", PROXY),
        ('for="', PROXY),
    ],
)
def test_forwarded(value, source):
    """The same by RFC 7239: scheme and host are those of the element that has the client."""
    assert find({"forwarded": value}, family=FORWARDED) == source


def test_only_one_family_is_read():
    """A proxy that writes one family passes the other on as the client sent it, so that one says nothing."""
    headers = {"x-forwarded-for": "203.0.113.5", "forwarded": "for=203.0.113.6;proto=https"}
    assert find(headers) == Source("203.0.113.5", 0)
    assert find(headers, family=FORWARDED) == Source("203.0.113.6", 0, "https")


def test_unix_socket():
    """A proxy at a Unix socket is trusted if the list has that word, and not otherwise."""
    assert find({"x-forwarded-for": "203.0.113.5"}, Source("", 0)) == Source("203.0.113.5", 0)
    assert find_source(Source("", 0), {"x-forwarded-for": "1.1.1.1"}, Networks(["0.0.0.0/0"]), X_FORWARDED).host == ""


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("1.2.3.4:", ("1.2.3.4", 0)),
        ("1.2.3.4:999999", ("1.2.3.4", 0)),
        ("1.2.3.4:x", ("1.2.3.4", 0)),
        ("[::1]", ("::1", 0)),
        ("[::1", None),
        ("[::1]80", None),
        ("localhost", None),
        ("1.2.3", None),
    ],
)
def test_nodes(text, node):
    """An address with or without a port; names are none."""
    assert parse_node(text) == node


def test_dual_stack():
    """An IPv4 client of an IPv6 socket is in the IPv4 network that the list has."""
    assert "::ffff:10.1.2.3" in TRUSTED
    assert "11.0.0.1" not in TRUSTED
    assert "nonsense" not in TRUSTED
    assert not Networks([])


@pytest.mark.parametrize("text", ["", "localhost", "10.0.0.1/8", "10.0.0.0/33", "10.0.0.*", "UNIX"])
def test_no_networks(text):
    """Anything else is a mistake, host bits in a network included, which is told with what to write."""
    with pytest.raises(ValueError, match=r"no network: write"):
        Networks([text])


@given(st.text(st.sampled_from('for=;,"\\ 1.2:[]0a'), max_size=60))
def test_whatever_it_says(text):
    """No value of a header is an error."""
    for family, name in ((X_FORWARDED, "x-forwarded-for"), (FORWARDED, "forwarded")):
        assert isinstance(find({name: text}, family=family), Source)


@pytest.mark.parametrize("filler", ['"\\', ",", '"', "for=10.0.0.1,", "10.0.0.1,"])
def test_long_headers_take_no_time(filler):
    """A header of 16 KiB is dealt with in a few milliseconds, whatever is in it."""
    value = filler * ((16 << 10) // len(filler))
    began = time.perf_counter()
    for family, name in ((X_FORWARDED, "x-forwarded-for"), (FORWARDED, "forwarded")):
        find({name: value}, family=family)
    assert time.perf_counter() - began < 0.25
