"""What waits for one client: order, size, and never a piece of a message."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.sockets.backlog import PIECE, Backlog, unsent
from wshub.sockets.frames import BINARY, make_frame

CLOSE, PING, PONG = b"\x88\x02\x03\xe9", b"\x89\x00", b"\x8a\x01a"


def make(*sizes):
    """A backlog of messages of these sizes, each of another letter."""
    backlog = Backlog()
    for index, size in enumerate(sizes):
        backlog.add(bytes((97 + index,)) * size)
    return backlog


def take_all(backlog):
    """All that waits, piece by piece."""
    pieces = []
    while not backlog.is_empty:
        pieces.append(backlog.take())
    return pieces


def test_empty():
    """At first nothing waits."""
    backlog = Backlog()
    assert (len(backlog), backlog.size, backlog.is_empty, backlog.take()) == (0, 0, True, b"")


def test_order_and_size():
    """What waits comes out as it came in, and the size is that of what waits."""
    backlog = make(2, 3)
    assert (len(backlog), backlog.size) == (2, 5)
    assert backlog.take() == b"aabbb"
    assert (len(backlog), backlog.size, backlog.is_empty) == (0, 0, True)


def test_room():
    """A message has room if it fits with those that wait; any has if none does."""
    backlog = Backlog()
    assert backlog.has_room(bytes(1000), 10)
    backlog.add(bytes(4))
    assert backlog.has_room(bytes(6), 10)
    assert not backlog.has_room(bytes(7), 10)


@pytest.mark.parametrize(
    ("size", "dropped", "left"), [(1, 0, b"aaabbbccc"), (2, 1, b"bbbccc"), (7, 2, b"ccc"), (8, 3, b""), (99, 3, b"")]
)
def test_make_room(size, dropped, left):
    """Of the oldest as many are dropped as have to be, and no more."""
    backlog = make(3, 3, 3)
    assert backlog.make_room(bytes(size), 10) == dropped
    assert (len(backlog), backlog.size) == (3 - dropped, len(left))
    assert backlog.take() == left


def test_clear():
    """All messages go; a close frame stays."""
    backlog = make(1, 2)
    backlog.add_control(CLOSE)
    assert backlog.clear() == 2
    assert (len(backlog), backlog.size, backlog.is_empty) == (0, 0, False)
    assert backlog.take() == CLOSE
    assert backlog.is_empty


def test_pongs():
    """Only the latest pong waits, and goes before the messages; it is none."""
    backlog = make(2)
    backlog.add_control(b"\x8a\x01x")
    backlog.add_control(PONG)
    assert (len(backlog), backlog.size) == (1, 2)
    assert backlog.take() == PONG + b"aa"
    assert backlog.is_empty


def test_ping_is_left_out():
    """A ping does not wait."""
    backlog = Backlog()
    backlog.add_control(PING)
    assert backlog.is_empty


def test_close_comes_last():
    """The close frame comes after every message, however many pieces they are."""
    backlog = make(PIECE, PIECE, 1)
    backlog.add_control(CLOSE)
    backlog.add_control(PONG)
    first, second, third = take_all(backlog)
    assert first == PONG + b"a" * PIECE
    assert second == b"b" * PIECE
    assert third == b"c" + CLOSE


def test_pieces():
    """A piece is made of whole messages, and is as large as it has to be, not larger."""
    backlog = make(PIECE - 1, 5, 5)
    assert len(backlog.take()) == PIECE + 4
    assert backlog.size == 5
    assert backlog.take() == b"ccccc"


@given(st.lists(st.tuples(st.sampled_from("adot"), st.integers(1, 30)), max_size=60))
def test_it_is_a_bounded_queue(steps):
    """Whatever happens to it in whatever order, it has what a plain list would have, and its size is right."""
    backlog, model, limit = Backlog(), [], 50
    for number, (step, size) in enumerate(steps):
        frame = bytes((number,)) * size
        if step == "a" and backlog.has_room(frame, limit):
            backlog.add(frame)
            model.append(frame)
        elif step == "d":
            count = backlog.make_room(frame, limit)
            del model[:count]
            backlog.add(frame)
            model.append(frame)
        elif step == "t":
            assert backlog.take() == b"".join(model)
            model.clear()
        assert backlog.size == sum(map(len, model)) <= limit
        assert len(backlog) == len(model)
    assert backlog.take() == b"".join(model)


@given(st.lists(st.binary(max_size=5), max_size=6), st.integers(0, 60))
def test_unsent(payloads, sent):
    """The rest of the frame that was cut, and all that follow; together what was not sent."""
    frames = [make_frame(BINARY, payload) for payload in payloads]
    rest = unsent(frames, sent)
    assert b"".join(rest) == b"".join(frames)[sent:]
    assert rest[1:] == frames[len(frames) - len(rest) + 1 :]
    assert all(rest)
