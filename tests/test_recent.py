"""What is kept of a service's recent past, and that it is bounded."""

from hypothesis import given
from hypothesis import strategies as st

from wshub.recent import (
    MAX_CLOSINGS,
    MAX_EVENTS,
    MAX_LINES,
    MAX_OUTPUT,
    MAX_SAMPLES,
    MAX_TRACEBACK,
    MAX_TRACEBACK_BYTES,
    MAX_TRACEBACKS,
    Closing,
    Happening,
    Line,
    Recent,
    Ring,
    Sample,
)

LONG = 8 << 10


def test_what_happened_after_a_number():
    """Entries of all kinds are numbered together: who knows the last number gets only what is new."""
    recent = Recent()
    recent.add_event(1.0, "started, process 7")
    recent.add_line(2.0, "stdout", "info", "hello")
    recent.add_closing(3.0, "192.0.2.1", 50000, 1.5, 1000, "bye")
    recent.add_traceback(4.0, "Traceback ...\nValueError")
    assert recent.events.after(0) == [Happening(1, 1.0, "started, process 7")]
    assert recent.output.after(0) == recent.output.after(1) == [Line(2, 2.0, "stdout", "info", "hello")]
    assert recent.closings.after(2) == [Closing(3, 3.0, "192.0.2.1", 50000, 1.5, 1000, "bye")]
    assert recent.tracebacks.after(3) == [Happening(4, 4.0, "Traceback ...\nValueError")]
    assert recent.last == 4
    for ring in (recent.events, recent.output, recent.closings, recent.tracebacks):
        assert ring.after(4) == []


def test_a_flood_of_lines_is_bounded_in_number():
    """The last lines stay, in order; how many there were is known."""
    recent = Recent()
    for number in range(10 * MAX_LINES):
        recent.add_line(0.0, "stdout", "info", str(number))
    lines = [line.text for line in recent.output.after(0)]
    assert lines == [str(number) for number in range(9 * MAX_LINES, 10 * MAX_LINES)]
    assert recent.output.total == 10 * MAX_LINES


def test_a_flood_of_long_lines_is_bounded_in_bytes():
    """A few long lines take the place of many short ones."""
    recent = Recent()
    for _ in range(MAX_LINES):
        recent.add_line(0.0, "stderr", "info", "x" * LONG)
    assert len(recent.output.after(0)) == MAX_OUTPUT // LONG


def test_everything_else_is_bounded_too():
    """Neither clients that come and go, nor a service that dies or raises all the time, can fill the memory."""
    recent = Recent()
    for number in range(1000):
        recent.add_closing(0.0, "192.0.2.1", number, 0.1, 1000, "")
        recent.add_event(0.0, "died")
        recent.add_traceback(0.0, "x" * 100_000)
        recent.samples.append(Sample(float(number), 1, 2, 3, 4, 5.0, 6))
    assert len(recent.closings.after(0)) == MAX_CLOSINGS
    assert len(recent.events.after(0)) == MAX_EVENTS
    assert len(recent.samples) == MAX_SAMPLES
    tracebacks = recent.tracebacks.after(0)
    assert {len(each.text) for each in tracebacks} == {MAX_TRACEBACK}
    assert len(tracebacks) == MAX_TRACEBACK_BYTES // MAX_TRACEBACK < MAX_TRACEBACKS


def test_of_a_long_traceback_the_end_is_kept():
    """The end says what went wrong."""
    recent = Recent()
    recent.add_traceback(0.0, "head" + "x" * MAX_TRACEBACK + "\nValueError: why")
    assert recent.tracebacks.after(0)[0].text.endswith("x\nValueError: why")


@given(st.lists(st.integers(0, 30)), st.integers(1, 5), st.integers(1, 40), st.integers(0, 40))
def test_a_ring_is_the_end_of_all_there_was(sizes, most, most_bytes, after):
    """Whatever is added, what a ring has is the end of it, within its bounds; only the last one may be larger."""
    ring: Ring[Happening] = Ring(most, most_bytes)
    entries = [(Happening(number, 0.0, ""), size) for number, size in enumerate(sizes, 1)]
    for entry, size in entries:
        ring.add(entry, size)
    kept = ring.after(0)
    assert kept == [entry for entry, _ in entries][len(entries) - len(kept) :]
    assert len(kept) <= most
    assert len(kept) <= 1 or sum(sizes[len(sizes) - len(kept) :]) <= most_bytes
    assert (len(kept) > 0) == (len(sizes) > 0)
    assert ring.after(after) == [entry for entry in kept if entry.number > after]
