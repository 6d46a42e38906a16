"""What clients cause does not flood the log."""

from wshub.throttle import LINES, SECONDS, LineThrottle


def test_a_flood_is_a_few_lines_and_a_number():
    """So many lines are written, the others counted; after a while the next line says how many there were."""
    throttle = LineThrottle()
    assert [throttle.admit("a", 0.1 * i) for i in range(LINES)] == [0] * LINES
    assert [throttle.admit("a", SECONDS - 1) for _ in range(1000)] == [None] * 1000
    assert throttle.admit("a", SECONDS) == 1000
    assert throttle.admit("a", SECONDS) == 0


def test_kinds_do_not_share():
    """A flood of one kind leaves the lines of another alone."""
    throttle = LineThrottle()
    for _ in range(LINES + 1):
        throttle.admit("a", 0)
    assert throttle.admit("a", 0) is None
    assert throttle.admit("b", 0) == 0


def test_few_lines_are_all_written():
    """Who comes seldom is never left out."""
    throttle = LineThrottle()
    assert {throttle.admit("a", now) for now in range(0, 1000, 2)} == {0}
