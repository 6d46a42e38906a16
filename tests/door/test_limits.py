"""How many connections there may be."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.door.limits import ConnectionLimits, address_key
from wshub.door.proxies import Networks
from wshub.errors import AddressFull, HubFull


def make_limits(in_all=100, per_address=100, unlimited=()):
    """Limits, generous where nothing is said."""
    return ConnectionLimits(in_all, per_address, Networks(unlimited))


def test_in_all():
    """One too many is 503 and not counted; when one is gone there is room for one."""
    limits = make_limits(in_all=2)
    limits.enter()
    limits.enter()
    for _ in range(2):
        with pytest.raises(HubFull) as caught:
            limits.enter()
        assert caught.value.status == 503
        assert dict(caught.value.headers)["Retry-After"].isdecimal()
    limits.leave()
    limits.enter()
    assert limits.count == 2


def test_per_address():
    """One too many from an address is 429 and not counted; others come in; when one is gone there is room for one."""
    limits = make_limits(per_address=2)
    keys = [limits.enter_from("192.0.2.1") for _ in range(2)]
    with pytest.raises(AddressFull) as caught:
        limits.enter_from("192.0.2.1")
    assert caught.value.status == 429
    limits.enter_from("192.0.2.2")
    limits.leave_from(keys[0])
    limits.enter_from("192.0.2.1")
    with pytest.raises(AddressFull):
        limits.enter_from("192.0.2.1")


def test_ipv6_addresses_count_by_network():
    """All addresses of a /64 are one; the next /64 is another."""
    limits = make_limits(per_address=2)
    limits.enter_from("2001:db8:0:1::1")
    limits.enter_from("2001:db8:0:1:ffff:ffff:ffff:ffff")
    with pytest.raises(AddressFull):
        limits.enter_from("2001:db8:0:1:abcd::")
    limits.enter_from("2001:db8:0:2::1")


@pytest.mark.parametrize(
    ("host", "key"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8::1", "2001:db8::/64"),
        ("fe80::1%eth0", "fe80::/64"),
        ("no address", "no address"),
    ],
)
def test_keys(host, key):
    """An IPv4 address is counted as itself, be it dressed up as IPv6 or not."""
    assert address_key(host) == key


def test_some_are_not_counted():
    """Unix sockets have no address, and those of some networks are not limited."""
    limits = make_limits(per_address=1, unlimited=["127.0.0.0/8"])
    assert [limits.enter_from(host) for host in ("", "", "127.0.0.1", "127.0.0.1", "::ffff:127.0.0.1")] == [""] * 5
    limits.leave_from("")
    assert limits.by_address == {}


@given(st.lists(st.tuples(st.booleans(), st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2"]))))
def test_what_leaves_is_forgotten(steps):
    """Whatever comes and goes, nothing is left of those that have gone, and no limit is ever exceeded."""
    limits, inside = make_limits(per_address=2), []
    for comes, host in steps:
        if comes:
            try:
                inside.append(limits.enter_from(host))
            except AddressFull:
                pass
        elif inside:
            limits.leave_from(inside.pop())
        assert limits.by_address == {key: inside.count(key) for key in inside}
        assert max(limits.by_address.values(), default=0) <= 2
