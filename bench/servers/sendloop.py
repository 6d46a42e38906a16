# mypy: disable-error-code="import-not-found"
"""The least that Python can do for a fan-out: a loop over ``socket.send``. One thread, epoll, no library.

It reads what the bench's own publisher sends, masked frames of less than 64 KiB, complete in one read; it is no
WebSocket server for anybody else.
"""

import select
import socket
import sys

from byhand import answer, frames_in


def main(port: int) -> None:
    """Serve until killed."""
    listener = socket.create_server(("127.0.0.1", port), backlog=1024)
    poll = select.epoll()
    poll.register(listener, select.EPOLLIN)
    clients: dict[int, socket.socket] = {}
    subscribers: list[socket.socket] = []
    while True:
        for fd, _ in poll.poll():
            if fd == listener.fileno():
                client = listener.accept()[0]
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                clients[client.fileno()] = client
                poll.register(client, select.EPOLLIN)
                continue
            data = clients[fd].recv(65536)
            if not data:
                client = clients.pop(fd)
                if client in subscribers:
                    subscribers.remove(client)
                client.close()
            elif data.startswith(b"GET "):
                clients[fd].sendall(answer(data))
                clients[fd].setblocking(False)
                subscribers.append(clients[fd])
            else:
                for frame in frames_in(data):
                    for subscriber in subscribers:
                        subscriber.send(frame)


main(int(sys.argv[1]))
