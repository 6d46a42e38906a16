"""When a service that died may be started again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshub.restart import RestartPolicy


def died(*times, **limits):
    """A policy after deaths at `times`."""
    policy = RestartPolicy(**limits)
    for time in times:
        policy.record_death(time)
    return policy


def test_nothing_has_died():
    """A service that never died may be started."""
    assert RestartPolicy().seconds_to_wait(0) == 0


def test_defaults():
    """Five deaths in thirty seconds are too many, four are not."""
    assert died(0, 1, 2, 3).seconds_to_wait(4) == 0
    assert died(0, 1, 2, 3, 4).seconds_to_wait(4) == 26


@pytest.mark.parametrize(
    ("now", "seconds"), [(2, 8), (2.5, 8), (3, 7), (9, 1), (9.001, 1), (9.999, 1), (10, 0), (11, 0), (1000, 0)]
)
def test_seconds_until_the_oldest_is_past(now, seconds):
    """The wait lasts until the oldest of the deaths that count is a period ago, in whole seconds, at least one."""
    assert died(0, 1, 2, intensity=3, period=10).seconds_to_wait(now) == seconds


def test_only_the_last_deaths_count():
    """With more deaths than the intensity it is the oldest of the last ones that has to pass."""
    assert died(0, 5, 6, 7, intensity=3, period=10).seconds_to_wait(7) == 8


def test_deaths_far_apart_are_forgotten():
    """A service that dies once a period, for ever, is always started again, and its past does not pile up."""
    policy = died(*range(0, 10_000, 10), intensity=2, period=10)
    assert policy.seconds_to_wait(9_990) == 0
    assert len(policy._deaths) == 1


# Times are multiples of 2**-10 seconds: exact, so that what is said of them can be.
MOMENTS = st.integers(0, 100 * 1024).map(lambda ticks: ticks / 1024)


@settings(deadline=None, max_examples=300)
@given(st.lists(MOMENTS, max_size=12).map(sorted), st.integers(1, 5), st.integers(1, 60), MOMENTS)
def test_the_wait_is_true(times, intensity, period, later):
    """After the seconds that were said it may be started; a second earlier it may not."""
    policy = died(*times, intensity=intensity, period=period)
    now = (times[-1] if times else 0) + later
    recent = [time for time in times if time > now - period]
    wait = policy.seconds_to_wait(now)
    assert (wait > 0) == (len(recent) >= intensity)
    if wait:
        assert policy.seconds_to_wait(now + wait) == 0
        assert wait == 1 or policy.seconds_to_wait(now + wait - 1) > 0
