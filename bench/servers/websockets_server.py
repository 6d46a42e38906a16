"""`websockets` on uvloop, without compression or keepalive pings, which nobody else here does either."""

import sys
from typing import Any

import uvloop
from websockets.asyncio.server import ServerConnection, broadcast, serve

subscribers: set[Any] = set()


async def handle(connection: ServerConnection) -> None:
    """Serve one client."""
    if connection.request is not None and connection.request.path == "/fanout":
        subscribers.add(connection)
        try:
            async for message in connection:
                broadcast(subscribers, message)
        finally:
            subscribers.discard(connection)
    else:
        async for message in connection:
            await connection.send(message)


async def main(port: int) -> None:
    """Serve until killed."""
    options: dict[str, Any] = {"compression": None, "ping_interval": None, "max_size": 16 << 20, "backlog": 1024}
    async with serve(handle, "127.0.0.1", port, **options) as server:
        await server.serve_forever()


uvloop.run(main(int(sys.argv[1])))
