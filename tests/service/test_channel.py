"""A service's end of the two pipes, on real pipes of which the test has the other ends."""

import os
import select
import sys
import threading
from time import monotonic

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wshub.arena import FROM_SIZE, HALF
from wshub.errors import WireError
from wshub.service import channel as channel_module
from wshub.service.channel import FLUSH_COUNT, FLUSH_SIZE, Channel, encode_message
from wshub.wire import (
    BINARY,
    CLOSE,
    DATA,
    MAX_BATCH,
    MAX_COUNT,
    MAX_MESSAGE,
    MULTICAST,
    MULTICAST_BINARY,
    NEWSOCKET,
)
from wshub.wire.batches import MAX_PIECES, BatchReader, decode_columns
from wshub.wire.payloads import decode_multicast, encode_address

from .conftest import DEADLINE, HubSide, Inbox, encode_transactions, in_thread, opening, start_thread


class Pipes(HubSide):
    """A channel, and the hub's side of it."""

    def __init__(self):
        super().__init__()
        self.channel = Channel(self.child_reads, self.child_writes)

    def close(self):
        """Give the descriptors back."""
        os.close(self.child_reads)
        os.close(self.child_writes)
        if self.channel._wake_fd is not None:
            os.close(self.channel._wake_fd)
        super().close()

    def written(self):
        """What is in the pipe now, unread until now, as batches."""
        os.set_blocking(self._read_fd, False)
        batches, reader = [], BatchReader()
        try:
            while data := os.read(self._read_fd, 1 << 20):
                for body in reader.feed(data):
                    batches.append([(kind, its, bytes(payload)) for kind, its, payload in decode_columns(body)])
        except BlockingIOError:
            pass
        return batches


@pytest.fixture
def pipes():
    """A channel, and the hub's side of it."""
    pipes = Pipes()
    yield pipes
    pipes.close()


# In.


def test_receive_what_came(pipes):
    """The transactions of a batch come in order and as they were."""
    transactions = [(NEWSOCKET, 1, opening()), (DATA, 1, "text"), (DATA, 1, b"bytes"), (CLOSE, 1, (1001, ""))]
    pipes.post(*transactions)
    assert pipes.channel.receive() == transactions


def test_receive_several_batches_at_once(pipes):
    """What has come in several batches is one list."""
    pipes.post((DATA, 1, "a"))
    pipes.post((DATA, 2, "b"), (DATA, 1, "c"))
    assert pipes.channel.receive() == [(DATA, 1, "a"), (DATA, 2, "b"), (DATA, 1, "c")]


def test_receive_waits(pipes):
    """Without a timeout it waits until something comes."""
    result = in_thread(pipes.channel.receive)
    pipes.post((DATA, 1, "late"))
    assert result() == [(DATA, 1, "late")]


def test_receive_in_time(pipes):
    """With a timeout it takes what has come by then."""
    result = in_thread(pipes.channel.receive, DEADLINE)
    pipes.post((DATA, 1, "in time"))
    assert result() == [(DATA, 1, "in time")]


@pytest.mark.parametrize("timeout", [0, 0.001, -1, -1e9])
def test_receive_nothing_in_time(pipes, timeout):
    """An empty list once the time has passed, also if it had passed before."""
    assert pipes.channel.receive(timeout) == []


@pytest.mark.parametrize("days", [30, 365, 100_000])
def test_receive_with_a_timeout_of_many_days(pipes, days):
    """A timeout that poll(2) cannot express, 25 days and more, is a long wait and no error."""
    pipes.post((DATA, 1, "at once"))
    assert pipes.channel.receive(days * 86400.0) == [(DATA, 1, "at once")]


@pytest.mark.parametrize("timeout", [None, 0, 5.0])
def test_end_of_stream(pipes, timeout):
    """None when the hub has closed the pipe, and again whenever one asks."""
    pipes.hang_up()
    assert pipes.channel.receive(timeout) is None
    assert pipes.channel.receive(timeout) is None


def test_what_came_before_the_end(pipes):
    """The end is told of after everything that came before it."""
    pipes.post((DATA, 1, "last"))
    pipes.hang_up()
    assert pipes.channel.receive() == [(DATA, 1, "last")]
    assert pipes.channel.receive() is None


def test_receive_a_part_of_a_batch(pipes):
    """Half a batch is nothing yet, however it is cut; the rest completes it."""
    data = encode_transactions((DATA, 1, "whole"))
    for cut in range(1, len(data)):
        pipes.write(data[:cut])
        assert pipes.channel.receive(0) == []
        pipes.write(data[cut:])
        assert pipes.channel.receive(0) == [(DATA, 1, "whole")]


def test_receive_a_large_message(pipes):
    """A message that takes many reads arrives whole."""
    message = os.urandom(3 << 20)
    writer = start_thread(pipes.post, (DATA, 1, message))
    found = []
    while not found:
        found = pipes.channel.receive(DEADLINE)
    writer.join(DEADLINE)
    assert found == [(DATA, 1, message)]


@pytest.mark.parametrize("size", [0, MAX_BATCH + 1, 2**32 - 1])
def test_receive_an_impossible_size(pipes, size):
    """A size that no batch has is an error before anything is allocated for it."""
    pipes.write(size.to_bytes(4, "little"))
    with pytest.raises(WireError, match=str(size)):
        pipes.channel.receive()


# Waking.


def test_wake_ends_a_wait(pipes):
    """Another thread can end a `receive` that would wait for ever."""
    pipes.channel.enable_wake()
    result = in_thread(pipes.channel.receive)
    pipes.channel.wake()
    assert result() == []


def test_wake_is_remembered(pipes):
    """A wake that comes before `receive` ends it, once, however many there were."""
    pipes.channel.enable_wake()
    for _ in range(3):
        pipes.channel.wake()
    assert pipes.channel.receive() == []
    begun = monotonic()
    assert pipes.channel.receive(0.02) == []
    assert monotonic() - begun > 0.018
    pipes.post((DATA, 1, "x"))
    assert pipes.channel.receive() == [(DATA, 1, "x")]


def test_wake_and_transactions_together(pipes):
    """A wake hides nothing that has come."""
    pipes.channel.enable_wake()
    pipes.channel.wake()
    pipes.post((DATA, 1, "x"))
    assert pipes.channel.receive() == [(DATA, 1, "x")]
    assert pipes.channel.receive(0) == []


def test_end_of_stream_with_wake(pipes):
    """The end is noticed also while one could be woken."""
    pipes.channel.enable_wake()
    pipes.hang_up()
    assert pipes.channel.receive() is None


# Out.


def test_post_waits_for_flush(pipes):
    """Nothing is written before the flush; then it is one batch."""
    pipes.channel.post(DATA, 1, b"a")
    pipes.channel.post(DATA, 2, b"b")
    assert pipes.written() == []
    pipes.channel.flush()
    assert pipes.written() == [[(DATA, 1, b"a"), (DATA, 2, b"b")]]


def test_flush_of_nothing(pipes):
    """An empty batch does not exist."""
    pipes.channel.flush()
    assert pipes.written() == []


def test_flush_by_count(pipes):
    """Much is written before anybody flushes."""
    for number in range(FLUSH_COUNT):
        pipes.channel.post(DATA, number + 1, b"")
    assert [len(batch) for batch in pipes.written()] == [FLUSH_COUNT]


def test_flush_by_size(pipes):
    """A large message does not wait for the flush, nor does what was posted before it."""
    pipes.channel.post(DATA, 1, b"small")
    pipes.start_reading()
    pipes.channel.post(DATA, 2, bytes(FLUSH_SIZE + 1))
    assert pipes.get() == (DATA, 1, b"small")
    assert pipes.get() == (DATA, 2, bytes(FLUSH_SIZE + 1))


def test_more_pieces_than_one_call_takes(pipes):
    """What is too much for one batch has more pieces than writev(2) takes: all of it is written."""
    pipes.channel._write(tuple(encode_transactions((DATA, number + 1, "x")) for number in range(MAX_PIECES + 10)))
    assert [its for batch in pipes.written() for _, its, _ in batch] == list(range(1, MAX_PIECES + 11))


def test_flush_by_size_of_many(pipes):
    """Messages that are large together do not wait either: a batch is bounded in bytes as well."""
    pipes.start_reading()
    for number in range(20):
        pipes.channel.post(DATA, number + 1, bytes(FLUSH_SIZE // 4))
        assert sum(len(payload) for _, _, payload in pipes.channel._outbox) <= FLUSH_SIZE
    pipes.channel.flush()
    assert [socket_id for _, socket_id, _ in pipes.get_many(20)] == list(range(1, 21))


def test_first_post_is_told(pipes):
    """`on_first_post` is called whenever there is something to flush where there was nothing."""
    calls = []
    pipes.channel.on_first_post = lambda: calls.append(1)
    pipes.channel.post(DATA, 1, b"")
    pipes.channel.post(DATA, 1, b"")
    assert len(calls) == 1
    pipes.channel.flush()
    pipes.channel.post(DATA, 1, b"")
    assert len(calls) == 2


def test_send_text_and_bytes(pipes):
    """The type of the data decides the kind."""
    pipes.channel.send(1, "t€xt")
    for data in (b"b", bytearray(b"b"), memoryview(b"b")):
        pipes.channel.send(2, data)
    pipes.channel.flush()
    assert pipes.written() == [[(DATA, 1, "t€xt".encode()), *[(BINARY, 2, b"b")] * 3]]


@pytest.mark.parametrize(("data", "kind"), [("t€xt", MULTICAST), (b"bytes", MULTICAST_BINARY)])
def test_multicast_is_one_transaction(pipes, data, kind):
    """A message for many crosses once, with all their ids."""
    ids = list(range(1, 1001))
    pipes.channel.multicast(encode_address(ids), data)
    pipes.channel.flush()
    (((sent_kind, socket_id, payload),),) = pipes.written()
    assert (sent_kind, socket_id) == (kind, 0)
    assert decode_multicast(payload) == (tuple(ids), encode_message(data))


def test_multicast_of_what_cannot_be_sent(pipes):
    """Nothing is posted if the message is wrong."""
    with pytest.raises(TypeError, match="int"):
        pipes.channel.multicast(encode_address([1, 2]), 3)
    pipes.channel.flush()
    assert pipes.written() == []


def test_largest_message_crosses(pipes):
    """A message of exactly the limit is sent, to one and to many, and each of its batches is within the limits."""
    pipes.start_reading()
    message = bytes(MAX_MESSAGE)
    for number in range(FLUSH_COUNT - 1):
        pipes.channel.post(DATA, number + 1, bytes(FLUSH_SIZE))
    pipes.channel.multicast(encode_address(range(1, 1001)), message)
    pipes.channel.send(1, message)
    pipes.channel.flush()
    got = pipes.get_many(FLUSH_COUNT + 1)
    assert decode_multicast(got[-2][2])[1] == message
    assert got[-1] == (BINARY, 1, message)


def test_messages_of_several_threads_make_no_batch_too_large(pipes):
    """Large messages that threads post while another is writing do not add up to a batch that the hub refuses."""
    message = bytes(MAX_MESSAGE)
    lock = pipes.channel._writing = AnnouncedLock()
    threads = [start_thread(pipes.channel.send, 1, message)]
    wait_until_readable(pipes._read_fd)
    threads += [start_thread(pipes.channel.send, number, message) for number in (2, 3, 4)]
    lock.arrivals.get_many(4)
    sizes, found = [], []
    while len(found) < 4:
        size = int.from_bytes(read_exactly(pipes._read_fd, 4), "little")
        sizes.append(size)
        found += [socket_id for _, socket_id, _ in decode_columns(memoryview(read_exactly(pipes._read_fd, size)))]
    for thread in threads:
        thread.join(DEADLINE)
    assert sorted(found) == [1, 2, 3, 4]
    assert max(sizes) <= MAX_BATCH


def read_exactly(fd, size):
    """So many bytes."""
    pieces = []
    while size:
        pieces.append(os.read(fd, min(size, 1 << 20)))
        assert pieces[-1], "the stream has ended"
        size -= len(pieces[-1])
    return b"".join(pieces)


class AnnouncedLock:
    """A lock that says when somebody comes for it."""

    def __init__(self):
        self.arrivals = Inbox()
        self._lock = threading.Lock()

    def __enter__(self):
        self.arrivals.put(None)
        self._lock.acquire()

    def __exit__(self, *_):
        self._lock.release()


def wait_until_readable(fd):
    """Wait until something is in a pipe."""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    assert poll.poll(DEADLINE * 1000)


def test_writing_waits_for_a_slow_hub(pipes):
    """More than the pipe holds is written as the hub reads, in order, whole."""
    messages = [os.urandom(50_000) for _ in range(60)]

    def send():
        for message in messages:
            pipes.channel.send(1, message)
        pipes.channel.flush()

    result = in_thread(send)
    pipes.start_reading()
    assert [payload for _, _, payload in pipes.get_many(60)] == messages
    result()


def test_more_than_a_batch_holds(pipes, monkeypatch):
    """What is queued beyond the limit of a batch goes into another."""
    monkeypatch.setattr(channel_module, "FLUSH_COUNT", 1 << 20)
    pipes.start_reading()
    for number in range(MAX_COUNT + 10):
        pipes.channel.post(DATA, number + 1, b"")
    pipes.channel.flush()
    assert [socket_id for _, socket_id, _ in pipes.get_many(MAX_COUNT + 10)] == list(range(1, MAX_COUNT + 11))
    assert len(pipes.batches) > 1


@pytest.fixture
def restless():
    """Threads take turns as often as they can."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("restless")
def test_threads_keep_their_order(pipes):
    """Several threads post and flush at once: nothing is lost, doubled or out of the order of its thread."""
    pipes.start_reading()
    count = 2000

    def post(thread_number):
        for number in range(count):
            pipes.channel.post(DATA, thread_number, number.to_bytes(4, "big"))
            if number % 7 == 0:
                pipes.channel.flush()
        pipes.channel.flush()

    results = [in_thread(post, number) for number in (1, 2, 3, 4)]
    for result in results:
        result()
    got = pipes.get_many(4 * count)
    for thread_number in (1, 2, 3, 4):
        numbers = [int.from_bytes(payload, "big") for _, socket_id, payload in got if socket_id == thread_number]
        assert numbers == list(range(count))


def test_post_while_another_thread_takes_the_batch(pipes):
    """What is posted just after a flush has taken what there was is for the next flush, and not lost."""

    class Outbox(list):
        def __getitem__(self, key):
            taken = super().__getitem__(key)
            if len(self) == 1:
                self.append((DATA, 2, b"meanwhile"))
            return taken

    pipes.channel._outbox = Outbox([(DATA, 1, b"first")])
    pipes.channel.flush()
    pipes.channel.flush()
    assert pipes.written() == [[(DATA, 1, b"first")], [(DATA, 2, b"meanwhile")]]


def test_hub_is_gone(pipes):
    """Writing to a hub that is no more does nothing: the end of the input is what ends a service."""
    reader = os.dup(pipes._read_fd)
    os.close(pipes._read_fd)
    os.close(reader)
    pipes.channel.post(DATA, 1, b"")
    try:
        pipes.channel.flush()
        pipes.channel.post(DATA, 1, b"")
        pipes.channel.flush()
    finally:
        pipes._read_fd = os.open(os.devnull, os.O_RDONLY)  # something for the fixture to close


@pytest.mark.parametrize("data", [None, 1, 2.0, ["x"], ("x",), {"x"}])
def test_encode_message_of_a_wrong_type(data):
    """TypeError names the type."""
    with pytest.raises(TypeError, match=type(data).__name__):
        encode_message(data)


def test_encode_message_at_the_limit():
    """The limit itself is allowed, a byte more is not."""
    assert len(encode_message(bytes(MAX_MESSAGE))) == MAX_MESSAGE
    with pytest.raises(ValueError, match=str(MAX_MESSAGE + 1)):
        encode_message(bytearray(MAX_MESSAGE + 1))


@given(st.lists(st.tuples(st.sampled_from([DATA, BINARY, CLOSE]), st.integers(0, 2**64 - 1), st.binary(max_size=300))))
def test_anything_posted_arrives(transactions):
    """Whatever is posted comes out at the other end."""
    pipes = Pipes()
    try:
        for transaction in transactions:
            pipes.channel.post(*transaction)
        pipes.channel.flush()
        got = [transaction for batch in pipes.written() for transaction in batch]
    finally:
        pipes.close()
    assert got == transactions


def test_begin_anew(pipes):
    """After a fork it sends what is said from then on, by the pipe alone, whoever was writing before the fork."""
    pipes.channel.share(memoryview(bytearray(HALF)), memoryview(bytearray(HALF)))
    pipes.channel.post(DATA, 1, b"the other one sends this")
    pipes.channel._writing.acquire()
    pipes.channel.begin_anew()
    pipes.channel.post(BINARY, 1, bytes(FROM_SIZE))
    assert in_thread(pipes.channel.flush)() is None
    assert pipes.written() == [[(BINARY, 1, bytes(FROM_SIZE))]]
