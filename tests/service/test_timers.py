"""Timers without a loop: the time is an argument."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.service.timers import Timers


def fire(timers, now):
    """Call what is due, as the loop does."""
    for timer in timers.pop_due(now):
        if timer.call is not None:
            timer.call(*timer.args)


def test_nothing_is_due_at_first():
    """Without timers there is nothing to wait for."""
    timers = Timers()
    assert timers.next_due() is None
    assert timers.pop_due(1e9) == []


def test_next_due_is_the_earliest():
    """The loop waits for whichever timer comes first, however late it was made."""
    timers = Timers()
    timers.add(5.0, None, print, ())
    timers.add(3.0, None, print, ())
    timers.add(4.0, None, print, ())
    assert timers.next_due() == 3.0


def test_due_in_order_of_time_and_then_of_making():
    """Timers of one time fire in the order in which they were made."""
    timers, got = Timers(), []
    for due, name in [(2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")]:
        timers.add(due, None, got.append, (name,))
    fire(timers, 2.0)
    assert got == ["a", "b", "c", "d"]


def test_only_what_is_due():
    """A timer is due at its time and not before, and then once."""
    timers, got = Timers(), []
    timers.add(1.0, None, got.append, ("x",))
    fire(timers, 0.999)
    assert got == []
    fire(timers, 1.0)
    fire(timers, 2.0)
    assert got == ["x"]
    assert timers.next_due() is None


def test_cancelled_timer_is_not_waited_for():
    """What is cancelled wakes nobody."""
    timers = Timers()
    first = timers.add(1.0, None, print, ())
    timers.add(2.0, None, print, ())
    first.cancel()
    assert timers.next_due() == 2.0


def test_cancel_as_often_as_one_likes():
    """Cancelling twice, or after the call was made, does nothing."""
    timers, got = Timers(), []
    timer = timers.add(1.0, None, got.append, (1,))
    fire(timers, 1.0)
    timer.cancel()
    timer.cancel()
    fire(timers, 2.0)
    assert got == [1]


def test_cancelled_by_an_earlier_one_of_the_same_turn():
    """A timer that is due may still be taken back by another that is due before it."""
    timers, got = Timers(), []
    victim = timers.add(1.5, None, got.append, (1,))
    timers.add(1.0, None, victim.cancel, ())
    fire(timers, 2.0)
    assert got == []


def test_repeating_one_keeps_its_beat():
    """The times of a repeating timer are those it had from the start, however late each call is."""
    timers, got = Timers(), []
    timers.add(10.0, 10.0, got.append, (1,))
    fire(timers, 13.0)
    assert timers.next_due() == 20.0
    fire(timers, 20.0)
    assert timers.next_due() == 30.0
    assert len(got) == 2


def test_missed_calls_are_not_made_up_for():
    """After a long pause there is one call, not one for each time that has passed."""
    timers, got = Timers(), []
    timers.add(1.0, 1.0, got.append, (1,))
    fire(timers, 1000.5)
    assert got == [1]
    assert timers.next_due() == 1001.0


def test_repeating_one_cancels_itself():
    """A call may take back its own timer."""
    timers, got = Timers(), []

    def call():
        got.append(1)
        timer.cancel()

    timer = timers.add(1.0, 1.0, call, ())
    fire(timers, 1.0)
    fire(timers, 2.0)
    assert got == [1]
    assert timers.next_due() is None


def test_cancel_lets_go_of_the_arguments():
    """A cancelled timer keeps nothing alive until its time comes."""
    timer = Timers().add(1e9, None, print, (object(),))
    timer.cancel()
    assert timer.args == ()
    assert timer.call is None


def test_timer_made_by_a_timer_waits_for_its_turn():
    """What a call makes due at once is for the next turn, so that it cannot keep the loop for ever."""
    timers, got = Timers(), []

    def again():
        got.append(1)
        timers.add(0.0, None, again, ())

    timers.add(0.0, None, again, ())
    fire(timers, 1.0)
    assert got == [1]
    assert timers.next_due() == 0.0


@given(
    st.lists(st.tuples(st.floats(0, 100), st.one_of(st.none(), st.floats(0.5, 10)), st.booleans()), max_size=20),
    st.lists(st.floats(0, 200), max_size=10).map(sorted),
)
def test_any_timers_fire_when_they_should(made, times):
    """Whatever is added and cancelled: nothing fires early, twice or after cancel, and everything that is due does."""
    timers, got, fired = Timers(), [], set()
    for number, (due, every, is_cancelled) in enumerate(made):
        timer = timers.add(due, every, got.append, (number,))
        if is_cancelled:
            timer.cancel()
    for now in times:
        got.clear()
        fire(timers, now)
        assert len(set(got)) == len(got)
        assert all(made[number][0] <= now and not made[number][2] for number in got)
        assert not [number for number in got if number in fired and made[number][1] is None]
        fired.update(got)
        assert fired == {number for number, (due, _, is_off) in enumerate(made) if due <= now and not is_off}
        following = timers.next_due()
        assert following is None or following > now


@pytest.mark.parametrize("every", [0.1, 1 / 3, 1e-6])
def test_next_time_is_always_ahead(every):
    """Rounding never leaves a repeating timer due at the time at which it has just been called."""
    timers = Timers()
    timers.add(every, every, print, ())
    now = 12345.678
    for step in range(200):
        timers.pop_due(now)
        assert timers.next_due() > now, step
        now = timers.next_due()
