"""Descriptors: how many are left, and for whom the last ones are kept."""

import os
import resource

import pytest

from wshub.door import descriptors


@pytest.fixture
def limit(monkeypatch):
    """Sets what the system's limit is said to be."""

    def set_limit(number):
        monkeypatch.setattr(resource, "getrlimit", lambda _: (number, number))

    return set_limit


@pytest.mark.parametrize(
    ("number", "for_connections", "for_services"),
    [(1024, 960, 1008), (256, 192, 240), (64, 48, 56), (resource.RLIM_INFINITY, 1 << 29, 1 << 29)],
)
def test_the_last_ones_are_kept(limit, number, for_connections, for_services):
    """Connections get all but 64 or a quarter, services all but 16 or an eighth."""
    limit(number)
    assert not descriptors.is_short_for_connections(for_connections - 1)
    assert not descriptors.is_short_for_services(for_services - 1)
    if number > 0:
        assert descriptors.is_short_for_connections(for_connections)
        assert descriptors.is_short_for_services(for_services)


def test_a_connection_without_a_descriptor():
    """What is no real connection is never one too many."""
    assert not descriptors.is_short_for_connections(-1)


def test_exhausted():
    """There are none left when the last have gone, and some again when there are."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert descriptors.find_room()
    probe = os.open(os.devnull, os.O_RDONLY)
    os.close(probe)
    try:
        for number, expected in ((probe, True), (probe + 2, True), (probe + 3, False)):
            resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
            assert (descriptors.find_room() == 0) is expected, number - probe
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    ("soft", "hard", "now"),
    [(1024, 4096, 2000), (1024, 1500, 1500), (4096, 4096, None), (1024, resource.RLIM_INFINITY, 2000)],
)
def test_the_limit_is_raised_as_far_as_it_may_be(monkeypatch, soft, hard, now):
    """A limit that is too low becomes what is wanted, or what there may be at most; one that is high enough stays."""
    limits = []
    monkeypatch.setattr(resource, "getrlimit", lambda _: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _, both: limits.append(both))
    descriptors.raise_limit(2000)
    assert limits == ([(now, hard)] if now else [])
