"""The wire protocol: both codecs, the framing, and what happens to bytes that a hostile service writes."""

import os
import pickle
import random
import struct
import time
import tracemalloc
from itertools import combinations_with_replacement, pairwise, starmap

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshub import wire
from wshub.errors import WireError
from wshub.testing import encode_batch
from wshub.wire import (
    BINARY,
    CLOSE,
    DATA,
    FAILED,
    MAX_ADDRESS,
    MAX_BATCH,
    MAX_COUNT,
    MAX_READY,
    MULTICAST,
    MULTICAST_BINARY,
    NEWSOCKET,
    READY,
)
from wshub.wire.batches import BatchReader, decode_columns, encode_columns
from wshub.wire.payloads import (
    decode_batch,
    decode_close,
    decode_multicast,
    decode_ready,
    encode_close,
    encode_multicast,
    encode_opening,
    encode_ready,
    is_sendable_close_code,
)

bounded = settings(deadline=None, max_examples=150)

SOCKET_IDS = st.integers(0, 2**64 - 1)
TO_HUB_KINDS = st.sampled_from([DATA, CLOSE, BINARY, MULTICAST, MULTICAST_BINARY, READY, FAILED])
TO_HUB = st.tuples(TO_HUB_KINDS, SOCKET_IDS, st.binary(max_size=300))
TEXT = st.text(max_size=50)
WORD = st.text(st.characters(codec="utf-8", exclude_characters="\n"), max_size=50)
OPENING = st.tuples(WORD, st.integers(0, 65535), WORD, WORD, TEXT, st.none() | WORD.filter(bool))
FROM_HUB = st.one_of(
    st.tuples(st.just(NEWSOCKET), SOCKET_IDS, OPENING),
    st.tuples(st.just(DATA), SOCKET_IDS, TEXT | st.binary(max_size=300)),
    st.tuples(st.just(CLOSE), SOCKET_IDS, st.tuples(st.integers(1000, 4999), TEXT)),
)
CUTS = st.lists(st.integers(0, 2000), max_size=12)


def in_one_piece(transactions):
    """The bytes of a batch, in one piece."""
    return b"".join(encode_columns(transactions))


def cut(stream, positions):
    """The stream in pieces, some of them empty where positions coincide."""
    ends = [*sorted(min(position, len(stream)) for position in positions), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def decode_stream(pieces, decode):
    """All transactions in a stream that arrives in pieces."""
    reader = BatchReader()
    return [each for piece in pieces for body in reader.feed(piece) for each in decode(body)]


def frame(body):
    """Any body as a batch whose own size is right."""
    return struct.pack("<I", len(body)) + body


# Both directions.


@bounded
@given(st.lists(st.lists(TO_HUB, min_size=1, max_size=20), max_size=4), CUTS)
def test_to_hub_round_trip_in_any_pieces(batches, positions):
    """Whatever a service says arrives as it was said, wherever the stream is cut."""
    pieces = cut(b"".join(map(in_one_piece, batches)), positions)
    transactions = decode_stream(pieces, decode_columns)
    assert transactions == [each for batch in batches for each in batch]


@bounded
@given(st.lists(st.lists(FROM_HUB, min_size=1, max_size=20), max_size=4), CUTS)
def test_from_hub_round_trip_in_any_pieces(batches, positions):
    """Whatever the hub says arrives as it was said, wherever the stream is cut."""
    pieces = cut(b"".join(starmap(encode_batch, batches)), positions)
    transactions = decode_stream(pieces, decode_batch)
    assert transactions == [each for batch in batches for each in batch]


def test_every_cut_of_two_batches():
    """Two batches that are cut in three at any bytes, or come byte by byte, are the same two batches."""
    batches = [[(DATA, 1, b"one"), (BINARY, 2, b"")], [(CLOSE, 1, encode_close(1000, "bye"))]]
    stream = b"".join(map(in_one_piece, batches))
    cuts = [*combinations_with_replacement(range(len(stream) + 1), 2), range(len(stream))]
    for positions in cuts:
        transactions = decode_stream(cut(stream, positions), decode_columns)
        assert transactions == batches[0] + batches[1]


def test_every_split_of_ten_thousand_transactions():
    """A stream of 10,000 random transactions that arrives in two pieces, split at any byte, is the same batches."""
    rng = random.Random(26)
    batches, left = [], 10_000
    while left:
        count = min(left, rng.randrange(1, 40))
        left -= count
        batches.append(
            [(rng.randrange(256), rng.getrandbits(64), rng.randbytes(rng.randrange(12))) for _ in range(count)]
        )
    stream = [in_one_piece(batch) for batch in batches]
    for batch, data in zip(batches, stream, strict=True):
        assert decode_stream([data], decode_columns) == batch
    # A split within a batch concerns that batch, what is read with it, and what the reader keeps for the next one.
    for before, data, after in zip([b"", *stream], stream, [*stream[1:], b""], strict=False):
        whole = before + data + after
        bodies = list(BatchReader().feed(whole))
        for split in range(len(before), len(before) + len(data) + 1):
            reader = BatchReader()
            found = [*reader.feed(whole[:split]), *reader.feed(whole[split:])]
            assert found == bodies, split


def test_ten_thousand_transactions_byte_by_byte():
    """The same stream comes a byte at a time, or in a few bytes each."""
    rng = random.Random(27)
    batches = [
        [(rng.randrange(256), rng.getrandbits(64), rng.randbytes(rng.randrange(12))) for _ in range(20)]
        for _ in range(500)
    ]
    stream = b"".join(map(in_one_piece, batches))
    expected = [each for batch in batches for each in batch]
    for most in (1, 2, 7, 1000):
        positions = [0]
        while positions[-1] < len(stream):
            positions.append(positions[-1] + rng.randint(1, most))
        pieces = [stream[start:end] for start, end in pairwise(positions)]
        assert decode_stream(pieces, decode_columns) == expected


def test_a_large_batch_in_many_pieces():
    """A batch of 4 MiB in 1,000 pieces yields nothing until the last one, then all of it."""
    message = os.urandom(4 << 20)
    batch = in_one_piece([(BINARY, 7, message)])
    step = len(batch) // 999
    pieces = [batch[i : i + step] for i in range(0, len(batch), step)]
    assert len(pieces) == 1000
    reader = BatchReader()
    for piece in pieces[:-1]:
        assert list(reader.feed(piece)) == []
    (body,) = reader.feed(pieces[-1])
    assert list(decode_columns(body)) == [(BINARY, 7, message)]


@pytest.mark.parametrize("count", [*range(1, 301), 1023, 1024, 4095, MAX_COUNT])
def test_columns_are_what_pickle_writes(count):
    """The head of a batch is, to the byte, the pickle that its specification says it is."""
    transactions = [(i % 8, 2**64 - 1 - i, b"x" * (i % 5)) for i in range(count)]
    kinds = bytes(kind for kind, _, _ in transactions)
    ids = b"".join(struct.pack("<Q", socket_id) for _, socket_id, _ in transactions)
    sizes = b"".join(struct.pack("<I", len(payload)) for _, _, payload in transactions)
    body = struct.pack("<I", count) + pickle.dumps((kinds, ids, sizes), 3) + b"".join(p for _, _, p in transactions)
    assert in_one_piece(transactions) == frame(body)
    assert list(decode_columns(memoryview(body))) == transactions


# What a hostile service writes.


@pytest.mark.parametrize("size", [0, MAX_BATCH + 1, 2**31, 2**32 - 1])
def test_impossible_sizes(size):
    """A size that cannot be is an error at once, before anything of that size is made or waited for."""
    with pytest.raises(WireError, match=f"a batch of {size} bytes"):
        list(BatchReader().feed(struct.pack("<I", size)))


def test_the_largest_size_is_waited_for():
    """A batch of just MAX_BATCH is allowed: its beginning is no error."""
    reader = BatchReader()
    assert list(reader.feed(struct.pack("<I", MAX_BATCH) + b"x")) == []


@pytest.mark.parametrize("count", [0, MAX_COUNT + 1, 2**32 - 1])
def test_impossible_counts(count):
    """A count that cannot be is an error, whatever follows it."""
    with pytest.raises(WireError, match=f"a batch of {count} transactions"):
        decode_columns(memoryview(struct.pack("<I", count) + bytes(100)))


@pytest.mark.parametrize("body", [b"\0", b"\1\0\0"])
def test_a_batch_without_room_for_its_count(body):
    """A body of less than four bytes is an error."""
    with pytest.raises(WireError, match="before its count"):
        decode_columns(memoryview(body))


class Evil:
    """What an unpickler would run."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


HOSTILE = {
    "EXT1": b"\x80\x03\x82\x01.",
    "EXT4": b"\x80\x03\x84\x01\x00\x00\x00.",
    "LONG_BINPUT 2**31": b"\x80\x03Nr" + struct.pack("<I", 2**31) + b".",
    "deep nesting": b"\x80\x03" + b"(" * 2_000_000 + b".",
    "nested tuples": b"\x80\x03N" + b"\x85" * 2_000_000 + b".",
    "BINBYTES8 2**40": b"\x80\x04\x8e" + struct.pack("<Q", 2**40) + b".",
    "BINBYTES 2**32-1": b"\x80\x03B" + struct.pack("<I", 2**32 - 1) + b".",
    "nothing": b"",
}


def rejection_peak(batch):
    """The most memory, in bytes, that it takes to refuse a batch."""
    tracemalloc.start()
    try:
        with pytest.raises(WireError):
            decode_stream([batch], decode_columns)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("count", [1, 31, 256, MAX_COUNT])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused_cheaply(hostile, count):
    """A pickle that would hurt an unpickler is refused, in less than 1 MiB."""
    assert rejection_peak(frame(struct.pack("<I", count) + hostile)) < 1 << 20


@pytest.mark.parametrize("count", [1, MAX_COUNT])
@pytest.mark.parametrize("hostile", HOSTILE.values(), ids=HOSTILE)
def test_hostile_pickles_are_refused_quickly(hostile, count):
    """Such a pickle takes less than 5 ms of the processor to refuse, however long it is."""
    batch = frame(struct.pack("<I", count) + hostile)
    times = []
    for _ in range(5):
        begin = time.thread_time()
        with pytest.raises(WireError):
            decode_stream([batch], decode_columns)
        times.append(time.thread_time() - begin)
    assert min(times) < 0.005


def test_a_pickle_that_calls_is_refused_and_calls_nothing(tmp_path):
    """A pickle that calls os.system is refused, alone or in place of a column, and nothing is called."""
    file = tmp_path / "touched"
    for hostile in (Evil(file), (Evil(file), b"", b""), (b"\1", bytes(8), Evil(file))):
        for protocol in range(6):
            assert rejection_peak(frame(struct.pack("<I", 1) + pickle.dumps(hostile, protocol))) < 1 << 20
    assert not file.exists()


@pytest.mark.parametrize(
    "sizes",
    [(0, 0), (2, 1), (2, 3), (2**32 - 1, 2), (2**32 - 1, 2**32 - 1)],
)
def test_payloads_must_be_as_long_as_said(sizes):
    """Payloads that end early or late, or trailing bytes, are an error; sizes that cannot be are not believed."""
    columns = pickle.dumps((bytes((DATA, DATA)), struct.pack("<QQ", 1, 2), struct.pack("<II", *sizes)), 3)
    assert rejection_peak(frame(struct.pack("<I", 2) + columns + b"abcd")) < 1 << 20


def test_sizes_that_add_up_to_terabytes():
    """The largest sizes for the most transactions are refused before anything of that size is made."""
    columns = pickle.dumps((bytes(MAX_COUNT), bytes(8 * MAX_COUNT), b"\xff" * 4 * MAX_COUNT), 3)
    assert rejection_peak(frame(struct.pack("<I", MAX_COUNT) + columns)) < 1 << 20


@bounded
@given(st.binary(max_size=400))
def test_random_bytes_are_the_codecs_own_error(data):
    """Random bytes as a body are a WireError; as a stream they are that, or wait for more."""
    with pytest.raises(WireError):
        decode_stream([frame(b"\1\0\0\0" + data)], decode_columns)
    try:
        transactions = decode_stream([data], decode_columns)
    except WireError:
        return
    assert transactions == []


@bounded
@given(st.lists(TO_HUB, min_size=1, max_size=5), st.data())
def test_a_changed_byte_never_changes_the_shape(transactions, data):
    """One changed byte is an error or other contents of the same count and total size; it is never another error."""
    batch = bytearray(in_one_piece(transactions))
    batch[data.draw(st.integers(4, len(batch) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        changed = decode_stream([bytes(batch)], decode_columns)
    except WireError:
        return
    assert len(changed) == len(transactions)
    assert changed != transactions
    assert sum(len(p) for _, _, p in changed) == sum(len(p) for _, _, p in transactions)


# Payloads with a structure of their own.


@given(st.sampled_from([1000, 1001, 1011, 1014, 3000, 4999]), st.text(max_size=150))
@bounded
def test_close_reason_is_cut_between_characters(code, reason):
    """The reason arrives whole, or as its longest beginning that fits 123 bytes."""
    decoded, rest = decode_close(encode_close(code, reason))
    assert decoded == code
    assert len(rest) <= 123
    assert reason.encode().startswith(rest)
    kept = rest.decode()
    assert kept == reason or len(reason[: len(kept) + 1].encode()) > 123


@pytest.mark.parametrize(("reason", "size"), [("x" * 124, 123), ("é" * 62, 122), ("€" * 42, 123), ("𝄞" * 31, 120)])
def test_close_reason_limits(reason, size):
    """A reason of characters of one to four bytes keeps as many whole ones as fit."""
    assert len(encode_close(1000, reason)) == 2 + size


@pytest.mark.parametrize("payload", [b"", b"\3", b"\x03\xe8" + b"x" * 124, b"\x03\xe8\xff", b"\x03\xe8\xe2\x82"])
def test_malformed_close(payload):
    """A CLOSE without a code, with too long a reason, or with one that is not UTF-8 is an error."""
    with pytest.raises(WireError):
        decode_close(payload)


@pytest.mark.parametrize("code", [0, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65535])
def test_close_codes_that_no_frame_may_carry(code):
    """A code that is reserved, unassigned or out of range is an error."""
    assert not is_sendable_close_code(code)
    with pytest.raises(WireError, match=f"a CLOSE with code {code}"):
        decode_close(struct.pack(">H", code))


@bounded
@given(st.lists(SOCKET_IDS, max_size=50), st.binary(max_size=100))
def test_multicast_round_trip(socket_ids, message):
    """A multicast arrives with its sockets and its message; cut among its ids it is an error."""
    payload = encode_multicast(socket_ids, message)
    assert decode_multicast(payload) == (tuple(socket_ids), message)
    for end in range(4 + 8 * len(socket_ids)):
        with pytest.raises(WireError):
            decode_multicast(payload[:end])


def test_a_multicast_that_claims_the_most_sockets():
    """A count of 2**32-1 sockets is refused without making room for them."""
    tracemalloc.start()
    with pytest.raises(WireError):
        decode_multicast(struct.pack("<I", 2**32 - 1) + bytes(64))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1 << 20


def test_a_multicast_to_more_sockets_than_there_can_be():
    """It is refused, though all of its ids are there."""
    with pytest.raises(WireError, match="to 1048577 sockets"):
        decode_multicast(encode_multicast(range(1, MAX_ADDRESS + 2), b""))


@pytest.mark.parametrize("declared", [{}, {"subprotocols": ""}, {"subprotocols": "chat,superchat", "more": "a b  c"}])
def test_ready_round_trip(declared):
    """What a class declares arrives; values may be empty or have spaces."""
    assert decode_ready(encode_ready(declared)) == declared


def test_ready_of_a_hostile_service():
    """A READY that is not UTF-8 is an error; a line without a value is passed over."""
    assert decode_ready(b"nonsense\n\nname value") == {"name": "value"}
    with pytest.raises(WireError):
        decode_ready(b"subprotocols \xff")
    with pytest.raises(WireError, match="a READY of 4194305 bytes"):
        decode_ready(bytes(MAX_READY + 1))


def test_resumed_is_a_newsocket_with_a_mark():
    """To a service a client that comes from another process is one like any other, and it can tell."""
    opening = ("::1", 1, "/x", "q", "a: b", "chat")
    data = in_one_piece([(wire.RESUMED, 7, encode_opening(*opening))])
    (body,) = BatchReader().feed(data)
    assert decode_batch(body) == [(NEWSOCKET, 7, (*opening, True))]
