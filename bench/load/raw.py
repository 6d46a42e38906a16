"""Connections of plain sockets, with the handshake by hand: what they cost a server, not what they cost the client."""

import socket
from urllib.parse import urlsplit

CLOSE = b"\x88\x82\x01\x02\x03\x04\x02\xea"  # masked, code 1000 (RFC 6455, sections 5.2 and 5.5.1)
TIMEOUT = 20.0  # seconds for any answer


def request_for(url: str) -> tuple[tuple[str, int], bytes]:
    """The address behind a URL, and the request that makes it a WebSocket."""
    parts = urlsplit(url)
    assert parts.hostname
    assert parts.port
    lines = [
        f"GET {parts.path} HTTP/1.1",
        f"Host: {parts.netloc}",
        "Upgrade: websocket",
        "Connection: Upgrade",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Sec-WebSocket-Version: 13",
        f"Origin: http://{parts.netloc}",
    ]
    return (parts.hostname, parts.port), "\r\n".join([*lines, "", ""]).encode()


def connect(url: str) -> socket.socket:
    """Open one WebSocket, and wait for it."""
    address, request = request_for(url)
    sock = socket.create_connection(address, TIMEOUT)
    sock.sendall(request)
    answer = b""
    while b"\r\n\r\n" not in answer:
        data = sock.recv(4096)
        if not data:
            raise RuntimeError(f"the server answered the handshake with {answer[:60]!r}")
        answer += data
    if not answer.startswith(b"HTTP/1.1 101 "):
        raise RuntimeError(f"the server answered the handshake with {answer.splitlines()[0].decode()}")
    return sock


def open_idle(urls: list[str], number: int) -> list[socket.socket]:
    """Open `number` WebSockets, to the URLs in turn, that will say nothing."""
    return [connect(urls[i % len(urls)]) for i in range(number)]


def check_idle(sockets: list[socket.socket]) -> None:
    """Raise `RuntimeError` if the server has closed any of them, or said anything: idle is idle, and there."""
    for sock in sockets:
        sock.setblocking(False)
        try:
            data = sock.recv(100)
        except BlockingIOError:
            continue
        raise RuntimeError(f"an idle connection got {data!r}" if data else "the server closed an idle connection")
