"""Frames on their way to clients: every socket gets its own, in order, however they are kept."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.errors import WireError
from wshub.processes.link import ServiceLink
from wshub.processes.outgoing import Outgoing
from wshub.sockets.frames import BINARY, TEXT, make_frame
from wshub.testing import OPENING, FakeSocket
from wshub.wire import BINARY as UNICAST_BINARY
from wshub.wire import CLOSE, DATA, MULTICAST, MULTICAST_BINARY, READY
from wshub.wire.batches import encode_columns
from wshub.wire.payloads import encode_close, encode_multicast, encode_ready

SOCKETS = st.integers(1, 4)
OPCODES = st.sampled_from((TEXT, BINARY))
# Few different addresses and messages, so that the same follow each other, also where one begins like another.
MANY = st.sampled_from(([], [1], [1, 2], [1, 2, 3], [2, 1], [2, 2], [1, 2, 1, 3, 1], [4], [3, 4, 4]))
PAYLOADS = st.sampled_from((b"", b"a", b"b", bytes(8), (1).to_bytes(8, "little"), b"x" * 130))
STEPS = st.lists(
    st.tuples(st.just("one"), SOCKETS, OPCODES, PAYLOADS)
    | st.tuples(st.just("many"), MANY, OPCODES, PAYLOADS)
    | st.tuples(st.just("close"), SOCKETS, st.none(), st.none()),
    max_size=30,
)


def add_to_one(outgoing, socket_id, frame):
    """What a link does with a message to one client."""
    outgoing.spread()
    outgoing.by_socket.setdefault(socket_id, []).append(frame)


def add_to_many(outgoing, socket_ids, payload, opcode=TEXT):
    """What a link does with a multicast."""
    outgoing.add_to_many(opcode, encode_multicast(socket_ids, payload))


def take_all(outgoing):
    """Everything that is left, by socket, as a link sends it."""
    if outgoing.is_all_for_many:
        return dict.fromkeys(outgoing.many, outgoing.to_many)
    outgoing.spread()
    return {socket_id: frames for socket_id, frames in outgoing.by_socket.items() if frames}


@given(STEPS)
def test_against_a_naive_model(steps):
    """Any sequence of messages to one, to many, and closes brings each socket what a list of its own would have."""
    outgoing, model = Outgoing(), {}
    for kind, whom, opcode, payload in steps:
        if kind == "one":
            frame = make_frame(opcode, payload)
            add_to_one(outgoing, whom, frame)
            model.setdefault(whom, []).append(frame)
        elif kind == "many":
            add_to_many(outgoing, whom, payload, opcode)
            for socket_id in set(whom):
                model.setdefault(socket_id, []).append(make_frame(opcode, payload))
        else:
            assert outgoing.take(whom) == model.pop(whom, [])
    assert take_all(outgoing) == model


@given(STEPS, st.lists(st.integers(0, 30), max_size=3))
def test_a_link_against_a_naive_model(steps, cuts):
    """The same through a link, whatever comes in one read; closes keep their place among a socket's messages."""
    link = ServiceLink(lambda *_: None)
    link.receive(b"".join(encode_columns([(READY, 0, encode_ready({}))])))
    sockets = [FakeSocket() for _ in range(4)]
    events = [[] for _ in sockets]
    for socket, its in zip(sockets, events, strict=True):
        link.open(socket, OPENING)
        socket.wshub_send = its.extend
        socket.wshub_close = lambda code, reason, its=its: its.append((code, reason))
    model = [[] for _ in sockets]
    transactions = []
    for kind, whom, opcode, payload in steps:
        if kind == "one":
            transactions.append((DATA if opcode == TEXT else UNICAST_BINARY, whom, payload))
            model[whom - 1].append(make_frame(opcode, payload))
        elif kind == "many":
            number = MULTICAST if opcode == TEXT else MULTICAST_BINARY
            transactions.append((number, 0, encode_multicast(whom, payload)))
            for socket_id in set(whom):
                model[socket_id - 1].append(make_frame(opcode, payload))
        else:
            transactions.append((CLOSE, whom, encode_close(4000, "bye")))
            model[whom - 1].append((4000, b"bye"))
    edges = sorted({0, len(transactions), *(cut for cut in cuts if cut < len(transactions))})
    for start, end in pairwise(edges):
        link.receive(b"".join(encode_columns(transactions[start:end])))
    assert events == model


def test_framed_once():
    """Frames to the same many are one object for all of them, and so is the list that holds them."""
    outgoing = Outgoing()
    for payload in (b"first", b"second" * 30):
        add_to_many(outgoing, [1, 2, 3], payload)
    taken = take_all(outgoing)
    assert list(taken) == [1, 2, 3]
    assert taken[1] == [make_frame(TEXT, b"first"), make_frame(TEXT, b"second" * 30)]
    assert taken[1] is taken[2] is taken[3]


def test_framed_once_also_among_others():
    """When something else comes between, the lists are each socket's own and the frames still shared."""
    outgoing = Outgoing()
    add_to_one(outgoing, 1, b"mine")
    add_to_many(outgoing, [1, 2], b"x" * 200)
    taken = take_all(outgoing)
    assert taken[1][-1] is taken[2][-1]
    assert taken[1] is not taken[2]
    assert [len(frames) for frames in taken.values()] == [2, 1]


def test_order_of_one_and_many():
    """What comes after a multicast stays after it, and what comes before, before."""
    outgoing = Outgoing()
    add_to_one(outgoing, 2, b"before")
    add_to_many(outgoing, [1, 2], b"many")
    add_to_one(outgoing, 2, b"after")
    add_to_many(outgoing, [2], b"last")
    many, last = make_frame(TEXT, b"many"), make_frame(TEXT, b"last")
    assert take_all(outgoing) == {1: [many], 2: [b"before", many, b"after", last]}


def test_named_twice():
    """A socket that is named twice gets a message once, whichever way it is taken."""
    frame = make_frame(TEXT, b"hi")
    for take in (take_all, lambda outgoing: {each: outgoing.take(each) for each in (5, 6)}):
        outgoing = Outgoing()
        add_to_many(outgoing, [5, 6, 5, 5], b"hi")
        assert take(outgoing) == {5: [frame], 6: [frame]}
    outgoing = Outgoing()
    add_to_one(outgoing, 6, b"mine")
    add_to_many(outgoing, [5, 6, 5, 5], b"hi")
    add_to_many(outgoing, [5, 6, 5, 5], b"hi")  # the same again is another message
    assert take_all(outgoing) == {5: [frame, frame], 6: [b"mine", frame, frame]}


def test_the_same_beginning_is_not_the_same_address():
    """A message that looks like more socket ids is none, and a longer list is another one."""
    outgoing = Outgoing()
    add_to_many(outgoing, [1], (2).to_bytes(8, "little"))
    add_to_many(outgoing, [1, 2], b"")
    add_to_many(outgoing, [], b"to nobody")
    assert take_all(outgoing) == {
        1: [make_frame(TEXT, (2).to_bytes(8, "little")), make_frame(TEXT, b"")],
        2: [make_frame(TEXT, b"")],
    }


def test_text_and_binary_to_the_same_many():
    """Each message to the same many has its own opcode."""
    outgoing = Outgoing()
    add_to_many(outgoing, [1, 2], b"x", TEXT)
    add_to_many(outgoing, [1, 2], b"x", BINARY)
    frames = [make_frame(TEXT, b"x"), make_frame(BINARY, b"x")]
    assert take_all(outgoing) == {1: frames, 2: frames}


def test_take():
    """Taking a socket's frames out leaves those of the others, and nothing for it."""
    outgoing = Outgoing()
    add_to_many(outgoing, [1, 2], b"x")
    assert outgoing.take(3) == []
    assert outgoing.take(1) == [make_frame(TEXT, b"x")]
    assert outgoing.take(1) == []
    add_to_many(outgoing, [1, 2], b"y")  # the address of the last one, which has been spread meanwhile
    assert take_all(outgoing) == {1: [make_frame(TEXT, b"y")], 2: [make_frame(TEXT, b"x"), make_frame(TEXT, b"y")]}


def test_spread():
    """Spreading puts everything into `by_socket`, once; where there is nothing it does nothing."""
    outgoing = Outgoing()
    outgoing.spread()
    assert take_all(outgoing) == {}
    add_to_many(outgoing, [1, 2], b"x")
    assert not outgoing.by_socket
    outgoing.spread()
    outgoing.spread()
    assert not outgoing.to_many
    assert outgoing.by_socket == {1: [make_frame(TEXT, b"x")], 2: [make_frame(TEXT, b"x")]}


@pytest.mark.parametrize("payload", [b"", b"\x01\0\0", b"\x02\0\0\0" + bytes(15)])
def test_what_is_no_multicast(payload):
    """A payload that ends among its addresses is an error, and what came before it is still there."""
    outgoing = Outgoing()
    add_to_many(outgoing, [1, 2], b"x")
    with pytest.raises(WireError):
        outgoing.add_to_many(TEXT, payload)
    assert take_all(outgoing) == {1: [make_frame(TEXT, b"x")], 2: [make_frame(TEXT, b"x")]}
