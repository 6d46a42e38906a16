# mypy: disable-error-code="import-not-found"
"""The floor under a round trip through another process: one socket, blocking, and two pipe hops, with no protocol.

``floor.py PORT SIZE``: what the client sends goes through a pipe to a child process and back, byte for byte, and the
client is sent a frame that was made beforehand. Whatever a WebSocket server with a service process does, it does more.
"""

import os
import socket
import sys

from byhand import answer, frames_in

READ_SIZE = 1 << 16


def child(reads: int, writes: int) -> None:
    """Give everything back."""
    while data := os.read(reads, READ_SIZE):
        os.write(writes, data)


def serve(sock: socket.socket, to_child: int, from_child: int) -> None:
    """One client, until it goes."""
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    request = sock.recv(4096)
    if not request:
        return  # somebody looked whether we listen
    sock.sendall(answer(request))
    reply = b""
    while data := sock.recv(READ_SIZE):
        os.write(to_child, data)
        data = os.read(from_child, READ_SIZE)
        if not reply:
            (reply,) = frames_in(data)
        sock.send(reply)


def main(port: int) -> None:
    """Serve one client after the other, until killed."""
    child_reads, to_child = os.pipe()
    from_child, child_writes = os.pipe()
    if os.fork() == 0:
        os.close(to_child)
        os.close(from_child)
        child(child_reads, child_writes)
        os._exit(0)
    os.close(child_reads)
    os.close(child_writes)
    listener = socket.create_server(("127.0.0.1", port))
    while True:
        sock = listener.accept()[0]
        with sock:
            serve(sock, to_child, from_child)


main(int(sys.argv[1]))
