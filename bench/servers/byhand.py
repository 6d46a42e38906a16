"""The least of the WebSocket protocol, for those servers that show what is left when there is no library."""

import base64
import hashlib

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3


def answer(request: bytes) -> bytes:
    """The handshake."""
    key = next(line.split(b": ")[1] for line in request.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key"))
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    return head + accept + b"\r\n\r\n"


def frames_in(data: bytes) -> list[bytes]:
    """Unmasked frames for the masked ones in `data`."""
    frames = []
    while data:
        length = data[1] & 0x7F
        start = 2
        if length == 126:
            length, start = int.from_bytes(data[2:4], "big"), 4
        payload = data[start + 4 : start + 4 + length]
        mask = (data[start : start + 4] * (length // 4 + 1))[:length]
        plain = (int.from_bytes(payload, "big") ^ int.from_bytes(mask, "big")).to_bytes(length, "big")
        header = bytes((data[0], length)) if length < 126 else bytes((data[0], 126)) + length.to_bytes(2, "big")
        frames.append(header + plain)
        data = data[start + 4 + length :]
    return frames
