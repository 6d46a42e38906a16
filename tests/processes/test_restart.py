"""When a service that died may be started again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshub.processes.restart import LONGEST_BACK_OFF, SHORTEST_BACK_OFF, RestartPolicy, back_off

LONG = 1000.0  # seconds of life, after which a death is the first of a new row


def died(*times, lived=LONG, **limits):
    """A policy after deaths at `times`."""
    policy = RestartPolicy(**limits)
    for time in times:
        policy.record_death(time, lived)
    return policy


def test_nothing_has_died():
    """A service that never died may be started."""
    assert RestartPolicy().seconds_to_wait(0) == 0
    assert not RestartPolicy().has_given_up(0)


def test_defaults():
    """Five deaths in thirty seconds are too many, four are not."""
    assert died(0, 1, 2, 3).seconds_to_wait(4) == 0
    assert died(0, 1, 2, 3, 4).seconds_to_wait(4) == 26
    assert not died(0, 1, 2, 3).has_given_up(4)
    assert died(0, 1, 2, 3, 4).has_given_up(4)


@pytest.mark.parametrize(
    ("now", "seconds"), [(2, 8), (2.5, 7.5), (3, 7), (9, 1), (9.75, 0.25), (10, 0), (11, 0), (1000, 0)]
)
def test_seconds_until_the_oldest_is_past(now, seconds):
    """The wait lasts until the oldest of the deaths that count is a period ago."""
    assert died(0, 1, 2, intensity=3, period=10).seconds_to_wait(now) == seconds


def test_only_the_last_deaths_count():
    """With more deaths than the intensity it is the oldest of the last ones that has to pass."""
    assert died(0, 5, 6, 7, intensity=3, period=10).seconds_to_wait(7) == 8


def test_deaths_far_apart_are_forgotten():
    """A service that dies once a period, for ever, is always started again, and its past does not pile up."""
    policy = died(*range(0, 10_000, 10), intensity=2, period=10)
    assert policy.seconds_to_wait(9_999) == 0
    assert len(policy._deaths) == 1


@pytest.mark.parametrize(
    ("streak", "chance", "seconds"),
    [(1, 0, 0.25), (1, 1, 0.5), (2, 0, 0.5), (2, 0.5, 0.75), (5, 0, 4), (8, 0, 30), (9, 1, 30), (10**9, 1, 30)],
)
def test_back_off(streak, chance, seconds):
    """It doubles from a quarter of a second to half a minute, and chance adds up to as much again."""
    assert back_off(streak, chance) == seconds


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_back_off_is_bounded_and_grows(streak, chance):
    """However often a service dies and however chance falls, the wait is within bounds and never gets shorter."""
    assert SHORTEST_BACK_OFF <= back_off(streak, chance) <= LONGEST_BACK_OFF
    assert back_off(streak, chance) <= back_off(streak + 1, 0)


def test_each_death_in_a_row_doubles_the_wait():
    """A service that dies young waits longer each time; one that has lived for a period begins anew."""
    policy = RestartPolicy(intensity=100)
    waits = []
    for now in (0, 100, 200, 300):
        policy.record_death(now, lived=1)
        waits.append(policy.seconds_to_wait(now))
    policy.record_death(400, lived=30)
    assert [*waits, policy.seconds_to_wait(400)] == [0.25, 0.5, 1, 2, 0.25]


def test_a_loop_starts_no_more_often_than_it_may():
    """A service that dies at once, and is wanted all the time, is started at most five times in any thirty seconds."""
    policy, now, starts = RestartPolicy(), 0.0, []
    while now < 600:
        now += policy.seconds_to_wait(now)
        starts.append(now)
        policy.record_death(now)
    assert all(later - earlier >= 30 for earlier, later in zip(starts, starts[5:], strict=False))
    assert len(starts) > 20, "it is never given up for good"


# Times are multiples of 2**-10 seconds: exact, so that what is said of them can be.
MOMENTS = st.integers(0, 100 * 1024).map(lambda ticks: ticks / 1024)


@settings(deadline=None, max_examples=300)
@given(st.lists(MOMENTS, max_size=12).map(sorted), st.integers(1, 5), st.integers(1, 60), MOMENTS)
def test_the_wait_is_true(times, intensity, period, later):
    """After the seconds that were said it may be started; a moment earlier it may not."""
    policy = died(*times, lived=0, intensity=intensity, period=period)
    now = (times[-1] if times else 0) + later
    wait = policy.seconds_to_wait(now)
    recent = [time for time in times if time > now - period]
    assert wait > 0 or len(recent) < intensity
    if wait:
        assert policy.seconds_to_wait(now + wait) == 0
        assert policy.seconds_to_wait(now + wait - 1 / 1024) > 0
