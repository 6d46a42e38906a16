"""The counters of a hub."""

from wshub.accounting import Accounting


def test_each_service_has_counts_of_its_own():
    """One service's figures are not another's, nor the hub's."""
    accounting = Accounting()
    accounting.service("/a").messages_in += 2
    accounting.service("/b").closed[1000] += 1
    assert accounting.service("/a").messages_in == 2
    assert accounting.service("/b").messages_in == 0
    assert accounting.service("/a").closed.total() == 0
    assert accounting.hub.messages_in == 0
    assert list(accounting.services) == ["/a", "/b"]
