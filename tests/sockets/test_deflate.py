"""Compression of what the hub sends: right for every window, and once for all who agreed on the same."""

import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

import wshub.sockets.deflate
from wshub.config import Settings
from wshub.poller import Poller
from wshub.sockets.deflate import COMPRESSED, Deflater, compress_frame
from wshub.sockets.factory import HubFactory
from wshub.sockets.frames import BINARY, TEXT, make_frame, split_frame
from wshub.testing import FakeReactor

WINDOWS = st.integers(9, 15)
FLUSHED = b"\x00\x00\xff\xff"  # what a receiver appends (RFC 7692, section 7.2.2)

TEXTS = st.builds(lambda text, times: text * times, st.text(), st.integers(1, 500)).map(str.encode)
BINARIES = st.builds(lambda data, times: data * times, st.binary(), st.integers(1, 500)) | st.builds(
    lambda rng, size: rng.randbytes(size), st.randoms(use_true_random=False), st.integers(0, 70_000)
)
MESSAGES = st.tuples(st.just(TEXT), TEXTS) | st.tuples(st.just(BINARY), BINARIES)


def inflate(frame, window_bits):
    """Opcode and message of a compressed frame, as a client with such a window finds them."""
    opcode, payload = split_frame(frame)
    inflater = zlib.decompressobj(-window_bits)
    message = inflater.decompress(payload + FLUSHED)
    assert not inflater.unconsumed_tail
    assert not inflater.unused_data
    return opcode, message


@pytest.fixture
def compressions(monkeypatch):
    """The frames and windows of all compressions that are really done."""
    done = []

    def count(frame, window_bits):
        done.append((frame, window_bits))
        return compress_frame(frame, window_bits)

    monkeypatch.setattr(wshub.sockets.deflate, "compress_frame", count)
    return done


@pytest.fixture
def factory():
    """A factory with compression on; its poller's turns end when `factory.reactor` is advanced."""
    reactor = FakeReactor()
    return HubFactory(reactor, Settings(compression=True), Poller(reactor))


@given(MESSAGES, WINDOWS)
def test_inflates_to_the_message(message, window_bits):
    """A compressed frame is a whole message, marked with RSV1, and inflates to what it was, whatever the window."""
    opcode, payload = message
    frame = compress_frame(make_frame(opcode, payload), window_bits)
    assert frame[0] == 0x80 | COMPRESSED | opcode
    assert inflate(frame, window_bits) == message
    assert make_frame(opcode, split_frame(frame)[1])[1:] == frame[1:]


@pytest.mark.parametrize("window_bits", range(9, 16))
@pytest.mark.parametrize("size", [0, 1, 125, 126, 511, 512, 513, 65_535, 65_536, 100_000, 1 << 20])
def test_sizes(size, window_bits):
    """Also at the edges of headers and windows: something that repeats itself at all distances."""
    payload = bytes(i * i % 251 for i in range(min(size, 3000))) * (size // 3000 + 1)
    payload = payload[:size]
    assert inflate(compress_frame(make_frame(BINARY, payload), window_bits), window_bits) == (BINARY, payload)


def test_messages_are_independent():
    """A message needs nothing of those before it: the same one is the same bytes again."""
    frame = make_frame(TEXT, b"one two three " * 20)
    assert compress_frame(frame, 15) == compress_frame(frame, 15)
    assert len(compress_frame(frame, 15)) < len(frame)


def test_once_until_it_forgets(compressions):
    """A frame is compressed once for each window, until everything is forgotten."""
    deflater, frame = Deflater(), make_frame(TEXT, b"to all " * 10)
    assert deflater.is_empty
    first = deflater.compress(frame, 15)
    assert not deflater.is_empty
    assert deflater.compress(frame, 15) is first
    assert deflater.compress(bytes(bytearray(frame)), 15) is first
    assert compressions == [(frame, 15)]
    deflater.forget()
    assert deflater.is_empty
    assert deflater.compress(frame, 15) == first
    assert compressions == [(frame, 15)] * 2


def test_windows_and_opcodes_are_kept_apart(compressions):
    """Another window, another message or the other opcode is another compression."""
    deflater = Deflater()
    wanted = [
        (make_frame(opcode, data), bits) for opcode in (TEXT, BINARY) for data in (b"a", b"b") for bits in (9, 15)
    ]
    for _ in range(3):
        for frame, bits in wanted:
            assert inflate(deflater.compress(frame, bits), bits) == split_frame(frame)
    assert compressions == wanted


def test_one_compression_for_equal_sockets(factory, compressions):
    """Two sockets of equal settings share what a turn compresses, those of another window do not."""
    frames = [make_frame(TEXT, b"first " * 9), make_frame(BINARY, b"second " * 9)]
    one = factory.compress(frames, 15)
    other = factory.compress(list(frames), 15)
    assert all(mine is its for mine, its in zip(one, other, strict=True))
    assert compressions == [(frame, 15) for frame in frames]
    factory.compress(frames, 10)
    assert len(compressions) == 4


def test_real_compressors(factory, monkeypatch):
    """The same, counted where zlib is asked for a compressor."""
    made, compressobj = [], zlib.compressobj

    def count(*args, **kwargs):
        made.append(args)
        return compressobj(*args, **kwargs)

    monkeypatch.setattr(zlib, "compressobj", count)
    for bits in (15, 15, 12, 15, 12):
        factory.compress([make_frame(TEXT, b"to all")], bits)
    assert [args[2] for args in made] == [-15, -12]


def test_forgets_at_the_end_of_the_turn(factory, compressions):
    """What was compressed is kept to the end of the turn and no longer, turn after turn."""
    frame = make_frame(TEXT, b"to all")
    for turn in range(1, 4):
        factory.compress([frame], 15)
        factory.compress([frame], 15)
        assert len(compressions) == turn
        assert not factory._deflater.is_empty
        factory.reactor.advance(0)
        assert factory._deflater.is_empty
        assert not factory.reactor.getDelayedCalls()
