"""Who gets in: what the settings decide at the door."""

from pathlib import Path

import pytest

from wshub.config import Settings
from wshub.door.admission import Admission, Entry
from wshub.door.handshake import Head
from wshub.door.proxies import Source
from wshub.errors import AddressFull, HandshakeError, HubFull, ServiceFull
from wshub.processes.link import ServiceLink

PROXY = "10.0.0.1"
CLIENT = "203.0.113.5"


def make_admission(**settings):
    """An admission by the default settings but for some."""
    return Admission(Settings(document_root=Path(__file__).parent, **settings))


def enter(admission, host=CLIENT, is_short=False):
    """A connection that has been made."""
    entry = Entry(Source(host, 1))
    admission.enter(entry, is_short)
    return entry


def make_head(**headers):
    """A head with some headers."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Head("GET", b"/", "HTTP/1.1", {"host": "hub.example", **named}, frozenset())


def test_connections_in_all():
    """One too many is refused, and none the less for having tried."""
    admission = make_admission(max_connections=1)
    first = enter(admission)
    for _ in range(2):
        with pytest.raises(HubFull) as caught:
            enter(admission)
        assert caught.value.counted_as == "too many connections"
    admission.leave(first)
    enter(admission)


def test_hardly_any_descriptors():
    """A connection for which there are too few descriptors is refused, and counted under that name."""
    with pytest.raises(HubFull) as caught:
        enter(make_admission(), is_short=True)
    assert (caught.value.status, caught.value.counted_as) == (503, "too few descriptors")


def test_whoever_was_refused_leaves_nothing():
    """Refused connections that go away free nobody's place."""
    admission = make_admission(max_connections=2, max_connections_per_address=1)
    enter(admission)
    refused = Entry(Source(CLIENT, 2))
    with pytest.raises(AddressFull):
        admission.enter(refused, False)
    admission.leave(refused)
    admission.leave(refused)
    enter(admission, "203.0.113.6")
    with pytest.raises(HubFull):
        enter(admission, "203.0.113.7")


def test_a_proxys_clients_are_counted_and_not_the_proxy():
    """What counts is the address in the header, from the moment it is known until the connection is gone."""
    admission = make_admission(max_connections_per_address=1, trusted_proxies=(PROXY,))
    entries = [enter(admission, PROXY) for _ in range(3)]
    admission.hear_head(entries[0], make_head(x_forwarded_for=CLIENT))
    assert entries[0].source.host == CLIENT
    with pytest.raises(AddressFull):
        admission.hear_head(entries[1], make_head(x_forwarded_for=CLIENT))
    with pytest.raises(AddressFull):
        enter(admission, CLIENT)
    admission.hear_head(entries[2], make_head())
    admission.leave(entries[0])
    enter(admission, CLIENT)


def test_strangers_headers_change_nothing():
    """The header of a peer that is not trusted neither renames nor counts anybody."""
    admission = make_admission(max_connections_per_address=1, trusted_proxies=(PROXY,))
    entry = enter(admission)
    admission.hear_head(entry, make_head(x_forwarded_for="203.0.113.6"))
    assert entry.source.host == CLIENT
    enter(admission, "203.0.113.6")


def test_the_proxy_protocol_is_for_trusted_peers():
    """Of them it is required, of others not looked for; then the client's own headers are not believed."""
    admission = make_admission(proxy_protocol=True, trusted_proxies=(PROXY,), max_connections_per_address=1)
    assert not enter(admission, "203.0.113.6").needs_proxy_header
    entry = enter(admission, PROXY)
    assert entry.needs_proxy_header
    admission.hear_proxy(entry, (CLIENT, 4711))
    assert not entry.needs_proxy_header
    admission.hear_head(entry, make_head(x_forwarded_for="1.1.1.1"))
    assert (entry.source.host, entry.source.port) == (CLIENT, 4711)
    second = enter(admission, PROXY)
    with pytest.raises(AddressFull):
        admission.hear_proxy(second, (CLIENT, 4712))


def test_a_proxy_that_speaks_for_itself():
    """A health check has the proxy's own address, and is not counted by it."""
    admission = make_admission(proxy_protocol=True, trusted_proxies=(PROXY,), max_connections_per_address=1)
    for _ in range(3):
        entry = enter(admission, PROXY)
        admission.hear_proxy(entry, None)
        assert entry.source.host == PROXY


def test_origin_behind_a_proxy():
    """The origin is compared with what the client has asked for, as the proxy says."""
    admission = make_admission(trusted_proxies=(PROXY,))
    entry = enter(admission, PROXY)
    head = make_head(x_forwarded_for=CLIENT, x_forwarded_proto="https", x_forwarded_host="www.example")
    admission.hear_head(entry, head)
    admission.check_origin(entry, {**head.headers, "origin": "https://www.example"})
    for origin in ("http://www.example", "https://hub.example"):
        with pytest.raises(HandshakeError):
            admission.check_origin(entry, {**head.headers, "origin": origin})


def test_clients_of_a_service():
    """A service that is full is 503, with a time to wait."""
    admission = make_admission(max_clients_per_service=2)
    link = ServiceLink(lambda *_: None)
    link.sockets.update({1: None})
    admission.check_service(link)
    link.sockets.update({2: None})
    with pytest.raises(ServiceFull) as caught:
        admission.check_service(link)
    assert caught.value.status == 503
    assert "Retry-After" in dict(caught.value.headers)
