"""The original WebSocketServer's event system."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wshub
from wshub.service.classic import Services
from wshub.service.subscribable import Subscribable

Event = Subscribable.SubscriptionEvent


class Forgetful(Subscribable):
    """Its __init__ does not call its base's."""

    def __init__(self):
        self.name = "forgetful"


@pytest.fixture(params=[Subscribable, Forgetful])
def subject(request):
    """Something to subscribe to, also of a class that forgets to call its base's __init__."""
    return request.param()


def test_one_class_under_all_its_names():
    """`wshub.Subscribable`, `Services.Subscribable` and the module's own are the same class."""
    assert wshub.Subscribable is Subscribable
    assert Services.Subscribable is Subscribable


def test_event_carries_id_and_data():
    """A SubscriptionEvent has what it was made of."""
    event = Subscribable.SubscriptionEvent("joined", {"name": "Ann"})
    assert event.eventId == "joined"
    assert event.data == {"name": "Ann"}


def test_callback_gets_the_very_event(subject):
    """A subscriber's callback is called with the event that was sent, once."""
    got = []
    subject.subscribe("me", got.append)
    event = Event(1, "data")
    subject.sendEvent(event)
    assert len(got) == 1
    assert got[0] is event


def test_no_event_is_sent_by_subscribing(subject):
    """Subscribing and unsubscribing alone call nobody."""
    got = []
    subject.subscribe("first", got.append)
    subject.unsubscribe(subject.subscribeSilent("second", got.append))
    assert got == []


def test_ids_are_different(subject):
    """Every subscription has an id of its own, silent or not, also after others have ended."""
    ids = [subject.subscribe("a", print), subject.subscribeSilent("b", print)]
    subject.unsubscribe(ids[0])
    ids += [subject.subscribe("a", print), subject.subscribeSilent("b", print)]
    assert len(set(ids)) == 4


def test_unsubscribe_returns_the_object(subject):
    """What was subscribed comes back, from the silent ones too."""
    counted, silent = object(), object()
    first, second = subject.subscribe(counted, print), subject.subscribeSilent(silent, print)
    assert subject.unsubscribe(second) is silent
    assert subject.unsubscribe(first) is counted


@pytest.mark.parametrize("subscription", [0, 99, -1, None, "no id"])
def test_unsubscribe_of_nothing_returns_none(subject, subscription):
    """An id that no subscription has is no error."""
    assert subject.unsubscribe(subscription) is None


def test_unsubscribe_twice(subject):
    """The second time there is nothing to end."""
    subscription = subject.subscribe("me", print)
    assert subject.unsubscribe(subscription) == "me"
    assert subject.unsubscribe(subscription) is None


def test_unsubscribed_is_not_called(subject):
    """Events go to those who are still subscribed, and to nobody else."""
    got = []
    gone = subject.subscribe("gone", lambda event: got.append("gone"))
    subject.subscribe("stays", lambda event: got.append("stays"))
    subject.unsubscribe(gone)
    subject.sendEvent(Event(1, None))
    assert got == ["stays"]


def test_same_object_may_subscribe_twice(subject):
    """Each subscription of one object is called, and ends on its own."""
    got = []
    first = subject.subscribe("me", lambda event: got.append(1))
    subject.subscribe("me", lambda event: got.append(2))
    subject.sendEvent(Event(1, None))
    subject.unsubscribe(first)
    subject.sendEvent(Event(1, None))
    assert got == [1, 2, 2]


def test_silent_ones_do_not_count(subject):
    """getNumSubscribers counts the subscriptions that are not silent."""
    assert subject.getNumSubscribers() == 0
    counted = subject.subscribe("a", print)
    silent = subject.subscribeSilent("b", print)
    assert subject.getNumSubscribers() == 1
    subject.unsubscribe(silent)
    assert subject.getNumSubscribers() == 1
    subject.unsubscribe(counted)
    assert subject.getNumSubscribers() == 0


def test_silent_ones_are_called_too(subject):
    """An event reaches the counted subscribers in their order, then the silent ones in theirs."""
    got = []
    subject.subscribeSilent("s1", lambda event: got.append("s1"))
    subject.subscribe("c1", lambda event: got.append("c1"))
    subject.subscribeSilent("s2", lambda event: got.append("s2"))
    subject.subscribe("c2", lambda event: got.append("c2"))
    subject.sendEvent(Event(1, None))
    assert got == ["c1", "c2", "s1", "s2"]


def test_two_subjects_have_nothing_in_common():
    """Subscriptions belong to an instance."""
    one, other = Forgetful(), Forgetful()
    one.subscribe("me", print)
    assert (one.getNumSubscribers(), other.getNumSubscribers()) == (1, 0)


def test_subscriber_unsubscribes_itself_while_called(subject):
    """It gets this event and no other; those after it get both."""
    got = []

    def once(event):
        got.append(("once", event.eventId))
        subject.unsubscribe(subscription)

    subscription = subject.subscribe("once", once)
    subject.subscribe("always", lambda event: got.append(("always", event.eventId)))
    subject.sendEvent(Event(1, None))
    subject.sendEvent(Event(2, None))
    assert got == [("once", 1), ("always", 1), ("always", 2)]


@pytest.mark.parametrize("subscribe", ["subscribe", "subscribeSilent"])
def test_unsubscribed_by_another_before_its_turn(subject, subscribe):
    """Who has gone by its turn is not called."""
    got = []
    subscriptions = []
    subject.subscribe("first", lambda event: subject.unsubscribe(subscriptions[0]))
    subscriptions.append(getattr(subject, subscribe)("victim", got.append))
    subject.sendEvent(Event(1, None))
    assert got == []


@pytest.mark.parametrize("how_new", ["subscribe", "subscribeSilent"])
@pytest.mark.parametrize("how_old", ["subscribe", "subscribeSilent"])
def test_new_subscriber_waits_for_the_next_event(subject, how_old, how_new):
    """Who subscribes while an event is being sent, in whichever way, gets the next one first."""
    got = []

    def invite(event):
        if event.eventId == 1:
            getattr(subject, how_new)("new", lambda event: got.append(event.eventId))

    getattr(subject, how_old)("old", invite)
    subject.sendEvent(Event(1, None))
    assert got == []
    subject.sendEvent(Event(2, None))
    assert got == [2]


def test_event_sent_while_another_is_being_sent(subject):
    """A callback may send an event itself; everybody gets both."""
    got = []

    def answer(event):
        got.append(("answer", event.eventId))
        if event.eventId == 1:
            subject.sendEvent(Event(2, None))

    subject.subscribe("answers", answer)
    subject.subscribe("listens", lambda event: got.append(("listens", event.eventId)))
    subject.sendEvent(Event(1, None))
    assert got == [("answer", 1), ("answer", 2), ("listens", 2), ("listens", 1)]


def test_overridden_methods_are_extended():
    """A subclass may wrap subscribe and unsubscribe, as the original's documentation says."""

    class Room(Subscribable):
        def subscribe(self, obj, callback):
            self.sendEvent(Event("new", obj))
            return super().subscribe(obj, callback)

        def unsubscribe(self, subscriptionId):
            obj = super().unsubscribe(subscriptionId)
            self.sendEvent(Event("gone", obj))
            return obj

    room, got = Room(), []
    first = room.subscribe("Ann", lambda event: got.append((event.eventId, event.data)))
    second = room.subscribe("Bob", lambda event: None)
    room.unsubscribe(second)
    assert got == [("new", "Bob"), ("gone", "Bob")]
    assert room.unsubscribe(first) == "Ann"


def test_old_style_call_of_the_base_class():
    """`Services.Subscribable.__init__(self)`, as it was written in 2012, works."""

    class Old(Services.Subscribable):
        def __init__(self):
            Services.Subscribable.__init__(self)

    old, got = Old(), []
    Services.Subscribable.subscribe(old, "me", got.append)
    Services.Subscribable.sendEvent(old, Services.Subscribable.SubscriptionEvent(1, 2))
    assert len(got) == 1


@given(st.lists(st.tuples(st.sampled_from(["subscribe", "silent", "unsubscribe"]), st.integers(0, 12)), max_size=40))
def test_any_sequence_behaves_like_a_list(steps):
    """Whatever comes and goes: exactly those who are subscribed get an event, once each, and the count is theirs."""
    subject, got = Subscribable(), []
    counted, silent = {}, {}
    for number, (step, which) in enumerate(steps):
        if step == "unsubscribe":
            known = [*counted, *silent]
            subscription = known[which] if which < len(known) else -1
            expected = counted.pop(subscription, None)
            expected = silent.pop(subscription, expected)
            assert subject.unsubscribe(subscription) == expected
        else:
            mine = counted if step == "subscribe" else silent
            subscribe = subject.subscribe if step == "subscribe" else subject.subscribeSilent
            mine[subscribe(number, lambda event, number=number: got.append(number))] = number
    subject.sendEvent(Event(0, None))
    assert got == [*counted.values(), *silent.values()]
    assert subject.getNumSubscribers() == len(counted)
