"""picows on uvloop: ``picows_server.py PORT READ_BUFFER``.

Its documentation says that the buffer may be set to the largest message that is expected.
"""

import asyncio
import sys
from typing import Any

import uvloop
from picows import WSFrame, WSListener, WSMsgType, WSTransport, WSUpgradeRequest, ws_create_server

DATA = (WSMsgType.TEXT, WSMsgType.BINARY)
subscribers: set[WSTransport] = set()


class Echo(WSListener):
    """Sends every message back."""

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Data, or a close frame."""
        if frame.msg_type in DATA:
            transport.send(frame.msg_type, frame.get_payload_as_memoryview())
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.send_close(frame.get_close_code(), frame.get_close_message())
            transport.disconnect()


class Fanout(WSListener):
    """Sends every message to everybody."""

    def on_ws_connected(self, transport: WSTransport) -> None:
        """One more."""
        subscribers.add(transport)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """One fewer."""
        subscribers.discard(transport)

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Data, or a close frame."""
        if frame.msg_type in DATA:
            kind, message = frame.msg_type, frame.get_payload_as_bytes()
            for subscriber in subscribers:
                subscriber.send(kind, message)
        elif frame.msg_type == WSMsgType.CLOSE:
            transport.disconnect()


def choose(request: WSUpgradeRequest) -> WSListener:
    """The listener of a URL."""
    return Fanout() if request.path == b"/fanout" else Echo()


async def main(port: int, read_buffer: int) -> None:
    """Serve until killed."""
    options: Any = {"max_frame_size": 16 << 20, "read_buffer_init_size": read_buffer, "backlog": 1024}
    server = await ws_create_server(choose, "127.0.0.1", port, **options)
    await server.serve_forever()


with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
    runner.run(main(int(sys.argv[1]), int(sys.argv[2])))
