"""The names of the admin interface and of the ports, as browsers use them."""

import pytest

from wshub.monitoring.authority import PublicPort, console_origins, is_this_machine, parse_host, public_urls


@pytest.mark.parametrize(
    "header",
    ["localhost", "localhost:9187", "LOCALHOST:1", "127.0.0.1:9187", "127.1.2.3", "[::1]:9187", "[::1]"],
)
def test_names_of_this_machine(header):
    """A loopback address or localhost, at any port: a tunnel may have another."""
    assert is_this_machine(header)


@pytest.mark.parametrize(
    "header",
    [
        *("evil.example", "evil.example:9187", "localhost.evil.example", "127.0.0.1.evil.example", "10.0.0.1:9187"),
        *("", " ", "localhost:", "localhost:x", "localhost:123456", "localhost@evil", "[::1", "::1", "[::2]"),
        *("localhost evil", "a" * 300, "[::ffff:10.0.0.1]", "localhost;script-src *", "lo\u0131calhost"),
    ],
)
def test_names_of_others(header):
    """Whatever else a name server may have given this machine's address, and whatever is no name at all."""
    assert not is_this_machine(header)


@pytest.mark.parametrize(
    ("host", "origins"),
    [
        ("127.0.0.1", ("http://127.0.0.1:9187", "http://localhost:9187")),
        ("::1", ("http://[::1]:9187", "http://localhost:9187")),
        ("0.0.0.0", ()),
        ("10.0.0.1", ()),
        ("::", ()),
    ],
)
def test_origins_of_the_console(host, origins):
    """Those of a port that only this machine reaches; of others nobody knows the names."""
    assert console_origins(host, 9187) == origins
    assert console_origins(host, 9187, is_secure=True) == tuple(each.replace("http:", "https:") for each in origins)


def test_where_the_services_are():
    """A port of every interface has the name that the browser came by; another one has its own address."""
    ports = [PublicPort("0.0.0.0", 80, False), PublicPort("10.0.0.1", 81, True), PublicPort("::", 82, False)]
    assert public_urls(ports, "Example.org:9187") == ["ws://example.org:80", "wss://10.0.0.1:81", "ws://example.org:82"]
    assert public_urls([PublicPort("::1", 83, False)], "localhost") == ["ws://[::1]:83"]
    assert public_urls(ports[:1], "[::1]:9187") == ["ws://[::1]:80"]


def test_a_header_that_is_no_host_gets_into_no_policy():
    """What would be another directive is no name."""
    assert public_urls([PublicPort("0.0.0.0", 80, False)], "x; script-src *") == ["ws://localhost:80"]
    assert parse_host("x; script-src *") is None
