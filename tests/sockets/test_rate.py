"""So many a second."""

from wshub.sockets.rate import Rate


def test_more_than_the_limit():
    """The first so many of a second are within it, every other is too many."""
    rate = Rate(3)
    assert [rate.is_exceeded(5.0 + i / 10) for i in range(5)] == [False, False, False, True, True]


def test_it_begins_anew_every_second():
    """A second after the first one, and not before, the count is 1 again."""
    rate = Rate(1)
    assert not rate.is_exceeded(0.0)
    assert rate.is_exceeded(0.999)
    assert not rate.is_exceeded(1.0)
    assert rate.is_exceeded(1.5)


def test_at_the_limit_for_ever():
    """Whoever keeps to it never exceeds it."""
    rate = Rate(10)
    assert not any(rate.is_exceeded(second + i / 20) for second in range(50) for i in range(10))
