"""The frames that the hub sends, and the plain ones that it reads itself."""

import sys
from importlib.util import module_from_spec, spec_from_file_location
from struct import pack

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wshub.sockets import frames
from wshub.sockets.frames import BINARY, TEXT, FrameReader, make_frame, split_frame

bounded = settings(deadline=None, max_examples=150)

HEADERS = {
    0: "00",
    1: "01",
    125: "7d",
    126: "7e 007e",
    255: "7e 00ff",
    256: "7e 0100",
    65535: "7e ffff",
    65536: "7f 0000000000010000",
    1 << 24: "7f 0000000001000000",
}
LIMIT = 100_000
MASK = b"\x01\x80\xfe\x37"
SIZES = [0, 1, 2, 125, 126, 127, 1023, 1024, 65535, 65536, LIMIT]


@pytest.mark.parametrize(("size", "header"), HEADERS.items())
@pytest.mark.parametrize(("opcode", "first"), [(TEXT, "81"), (BINARY, "82")])
def test_frames(opcode, first, size, header):
    """A message is one final unmasked frame with the shortest header that its size allows (RFC 6455, section 5.2)."""
    payload = b"x" * size
    frame = make_frame(opcode, payload)
    assert frame == bytes.fromhex(first + header) + payload
    assert split_frame(frame) == (opcode, payload)


# What clients send.


def masked(opcode, payload, fin_and_rsv=0x80, form=None, mask_bit=0x80):
    """A client's frame, well-formed unless told otherwise; `form` is the least form of the size: 126 or 127."""
    size = len(payload)
    form = form or (size if size < 126 else 126 if size < 65536 else 127)
    extended = pack(">H", size) if form == 126 else pack(">Q", size) if form == 127 else b""
    key = (MASK * (size // 4 + 1))[:size]
    body = (int.from_bytes(payload, "big") ^ int.from_bytes(key, "big")).to_bytes(size, "big")
    return bytes((fin_and_rsv | opcode, mask_bit | form)) + extended + MASK + body


def masked_message(message):
    """A client's frame of a whole message."""
    return masked(TEXT, message.encode()) if isinstance(message, str) else masked(BINARY, message)


def taker(messages):
    """What notes each message as Python has it."""
    return lambda opcode, payload: messages.append(payload.decode() if opcode == TEXT else bytes(payload))


def read(pieces):
    """The messages that are taken from a stream in pieces, and what is left to Autobahn, with all that follows."""
    reader, messages, rest = FrameReader(), [], b""
    for piece in pieces:
        rest += piece if rest else reader.read(piece, LIMIT, taker(messages))
    return messages, rest or reader.give_back()


MESSAGES = st.text(max_size=200) | st.binary(max_size=200) | st.sampled_from([b"\xff" * size for size in SIZES])
CUTS = st.lists(st.integers(0, 1500), max_size=12).map(sorted)


def cut(stream, positions):
    """The stream in pieces."""
    return [stream[i:j] for i, j in zip([0, *positions], [*positions, len(stream)], strict=True)]


@bounded
@given(st.lists(MESSAGES, max_size=6), CUTS)
def test_messages_in_any_pieces(messages, positions):
    """Plain frames become the messages that they carry, wherever the stream is cut."""
    stream = b"".join(map(masked_message, messages))
    assert read(cut(stream, positions)) == (messages, b"")


@pytest.mark.parametrize("size", SIZES)
def test_sizes(size):
    """A message of any size up to the limit is read, as text and as bytes, whole and in two pieces."""
    for message in ("x" * size, bytes(size)):
        frame = masked_message(message)
        for position in {0, 1, 2, 5, 6, 7, 9, 13, 14, 15, len(frame) // 2, len(frame) - 1}:
            assert read([frame[:position], frame[position:]]) == ([message], b"")


FOREIGN = {
    "ping": masked(9, b"ping"),
    "close": masked(8, b"\x03\xe8"),
    "continuation": masked(0, b"more"),
    "first fragment": masked(TEXT, b"first", fin_and_rsv=0),
    "compressed": masked(TEXT, b"deflated", fin_and_rsv=0xC0),
    "reserved opcode": masked(3, b"what"),
    "not masked": masked(TEXT, b"plain", mask_bit=0),
    "size of two bytes for 125": masked(BINARY, b"x" * 125, form=126),
    "size of eight bytes for 65535": masked(BINARY, b"x" * 65535, form=127),
    "over the limit": masked(BINARY, b"x" * (LIMIT + 1)),
    "size of 2**64-1": b"\x82\xff" + b"\xff" * 8 + MASK,
    "bad UTF-8": masked(TEXT, b"abc\xffdef"),
    "UTF-8 that is not complete": masked(TEXT, b"abc\xe2\x82"),
    "surrogate": masked(TEXT, b"\xed\xa0\x80"),
    "long bad UTF-8": masked(TEXT, b"x" * 3000 + b"\xff"),
}


@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN)
def test_whatever_else_is_left_as_it_came(foreign):
    """What is not a plain frame is returned to the byte, with all that follows, however it is cut."""
    before, after = masked(TEXT, b"before"), masked(TEXT, b"after")
    stream = before + foreign + after
    for position in range(0, len(stream), 1 + len(stream) // 300):
        assert read([stream[:position], stream[position:]]) == (["before"], foreign + after)
    assert read([stream[i : i + 700] for i in range(0, len(stream), 700)]) == (["before"], foreign + after)


@pytest.mark.parametrize("wrong", [b"\xff", b"\xc0", b"\xed\xa0", b"\xf4\x90", b"\xe2\x28"])
@pytest.mark.parametrize("pieces", [1, 2], ids=["with the header", "later"])
def test_wrong_text_is_left_as_soon_as_it_is_wrong(wrong, pieces):
    """The first byte that makes a text wrong is where the reader gives up, long before the frame is complete."""
    frame = masked(TEXT, b"good " + wrong + b"x" * 500)
    end = 8 + 5 + len(wrong)
    reader, messages = FrameReader(), []
    start = 0 if pieces == 1 else 9
    assert reader.read(frame[:start], LIMIT, taker(messages)) == b""
    assert reader.read(frame[start:end], LIMIT, taker(messages)) == frame[:end]
    assert reader.give_back() == b""
    assert messages == []


@pytest.mark.parametrize("position", [1, 2, 7, 8, 9, 12, 100, 307])
def test_give_back(position):
    """What has come of a frame is given back as it came, once, and the reader begins anew."""
    frame = masked(TEXT, "é".encode() * 150)
    reader, messages = FrameReader(), []
    assert reader.read(frame[:position], LIMIT, taker(messages)) == b""
    assert reader.give_back() == frame[:position]
    assert reader.give_back() == b""
    assert reader.read(frame, LIMIT, taker(messages)) == b""
    assert messages == ["é" * 150]


def test_without_the_fast_mask(monkeypatch):
    """Where there is no compiled mask, messages are the same."""
    monkeypatch.setitem(sys.modules, "websockets.speedups", None)
    spec = spec_from_file_location("frames_without_speedups", frames.__file__)
    slow = module_from_spec(spec)
    spec.loader.exec_module(slow)
    assert slow.apply_mask is not frames.apply_mask
    messages = []
    stream = b"".join(map(masked_message, ["grüße", b"\0" * 2000, ""]))
    reader = slow.FrameReader()
    assert reader.read(stream[:50], LIMIT, taker(messages)) == b""
    assert reader.read(stream[50:], LIMIT, taker(messages)) == b""
    assert messages == ["grüße", b"\0" * 2000, ""]
