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


def test_what_is_recent_is_kept_where_it_is_wanted():
    """Without an admin interface nothing is kept; with one, each service has a past of its own."""
    Accounting().service("/a").note(1.0, "started")
    accounting = Accounting(keeps_recent=True)
    accounting.service("/a").note(1.0, "started")
    accounting.service("/b").note(2.0, "died")
    recent = [accounting.service(route).recent for route in ("/a", "/b")]
    assert [[event.text for event in each.events.after(0)] for each in recent if each] == [["started"], ["died"]]
    assert Accounting().service("/a").recent is None
