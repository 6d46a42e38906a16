"""The PROXY protocol, versions 1 and 2: what a proxy that does not read HTTP says before the client's first byte.

The format is HAProxy's, ``proxy-protocol.txt``, sections 2.1 and 2.2. Twisted's own ``haproxy:`` endpoint believes
everybody, closes a connection whose header comes in small pieces, and hides the socket from the hub's poller: hence
this. Nothing here sends or waits.
"""

from ipaddress import ip_address

from wshub.errors import HandshakeError

MAX_V1 = 107  # bytes, CRLF included (section 2.1)
MAX_V2 = 16 + 2048  # bytes; addresses take 36 at most, and what follows them, such as a TLS name, some hundred
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"

_IPV4, _IPV6 = 0x1, 0x2
_SIZES = {_IPV4: 4, _IPV6: 16}


def read_proxy_header(data: bytes | bytearray) -> tuple[int, tuple[str, int] | None]:
    """The length of the header that `data` begins with, and the client's address and port in it.

    The length is 0 if the end has not come yet. The address is None if the proxy speaks for itself, as in its health
    checks, or does not know. Raise `HandshakeError` if there is no such header.
    """
    if data.startswith(SIGNATURE[: len(data)]):
        return _read_v2(bytes(data[:MAX_V2]))
    if data.startswith(b"PROXY "[: len(data)]):
        return _read_v1(bytes(data[:MAX_V1]))
    raise HandshakeError("A connection from a proxy must begin with the PROXY protocol.")


def _read_v1(data: bytes) -> tuple[int, tuple[str, int] | None]:
    end = data.find(b"\r\n")
    if end < 0:
        if len(data) >= MAX_V1:
            raise _malformed()
        return 0, None
    words = data[:end].decode("latin-1").split(" ")
    if words[1] == "UNKNOWN":
        return end + 2, None
    try:
        _, family, source, target, source_port, target_port = words
        versions = {ip_address(source).version, ip_address(target).version}
        ports = [int(port) for port in (source_port, target_port) if port.isascii() and port.isdecimal()]
    except ValueError:
        raise _malformed() from None
    if versions != {{"TCP4": 4, "TCP6": 6}.get(family)} or len(ports) != 2 or max(ports) > 65535:
        raise _malformed()
    return end + 2, (source, ports[0])


def _read_v2(data: bytes) -> tuple[int, tuple[str, int] | None]:
    if len(data) < 16:
        return 0, None
    version, command = data[12] >> 4, data[12] & 0xF
    family = data[13] >> 4
    end = 16 + int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or end > MAX_V2:
        raise _malformed()
    if len(data) < end:
        return 0, None
    if command == 0 or family not in _SIZES:  # LOCAL; or a Unix socket's, or none
        return end, None
    size = _SIZES[family]
    if end < 16 + 2 * size + 4:
        raise _malformed()
    port = int.from_bytes(data[16 + 2 * size : 18 + 2 * size], "big")
    return end, (str(ip_address(data[16 : 16 + size])), port)


def _malformed() -> HandshakeError:
    return HandshakeError("The PROXY protocol's header is malformed.")
