"""Echo: each connection keeps a number of messages in flight and sends one more for each that comes back."""

import asyncio
import os
from array import array
from collections import deque
from time import perf_counter
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport, ws_connect

from bench.load.raw import check_idle, open_idle
from bench.load.window import Window

AT_ONCE = 50  # connections that are being opened; the number that are open has nothing to do with it
PATIENCE = 10.0  # seconds without any message after which a server has stopped answering


class Echo(WSListener):
    """One connection. Its messages come back in order, so the oldest time in `sent` is that of the next."""

    def __init__(self, state: "State") -> None:
        self.state = state
        self.size = len(state.message)
        self.message = state.message
        self.kind = state.kind
        self.sent: deque[float] = deque()
        self.got = 0
        self.is_checked = False

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """Count, and send the next one."""
        now = perf_counter()
        if (frame.payload_size != self.size or not self.is_checked) and not self._take(frame):
            return
        state = self.state
        state.count += 1
        state.latencies.append(now - self.sent.popleft())
        self.sent.append(now)
        transport.send(self.kind, self.message)

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It should not have been."""
        self.state.fail("the server closed a connection")

    def _take(self, frame: WSFrame) -> bool:
        """Whether a message is complete, where it is not one frame; and once, whether it is what was sent."""
        if frame.msg_type not in (self.kind, WSMsgType.CONTINUATION):
            self.state.fail(f"the server sent {frame.msg_type}, not {self.kind}")
            return False
        self.got += frame.payload_size
        if not frame.fin:
            return False
        if self.got != self.size:
            self.state.fail(f"{self.size} bytes came back as {self.got}")
        elif frame.payload_size == self.size and frame.get_payload_as_bytes() != self.message:
            self.state.fail("a message did not come back as it was sent")
        self.is_checked = True
        self.got = 0
        return True


class State:
    """What all connections have in common."""

    def __init__(self, size: int, is_binary: bool) -> None:
        self.kind = WSMsgType.BINARY if is_binary else WSMsgType.TEXT
        self.message = os.urandom(size) if is_binary else (b"a message of text " * (size // 18 + 1))[:size]
        self.count = 0
        self.last_count, self.last_time = 0, perf_counter()
        self.latencies = array("d")
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(self, why: str) -> None:
        """End the run with an error."""
        if not self.failed.done():
            self.failed.set_exception(RuntimeError(why))

    async def pass_time(self, seconds: float) -> None:
        """Sleep, but not longer than everything goes well."""
        ends = perf_counter() + seconds
        while (now := perf_counter()) < ends:
            await asyncio.wait([self.failed], timeout=min(1.0, ends - now))
            if self.failed.done():
                self.failed.result()
            if self.count != self.last_count:
                self.last_count, self.last_time = self.count, perf_counter()
            elif perf_counter() - self.last_time > PATIENCE:
                raise RuntimeError(f"no answer for {PATIENCE:.0f} seconds")


async def connect_all(urls: list[str], number: int, make: Any, read_buffer: int) -> list[tuple[WSTransport, Any]]:
    """Open `number` connections, to the URLs in turn."""
    gate = asyncio.Semaphore(AT_ONCE)
    options: Any = {"read_buffer_init_size": read_buffer, "max_frame_size": 16 << 20}

    async def connect(url: str) -> tuple[WSTransport, Any]:
        async with gate:
            return await ws_connect(make, url, websocket_handshake_timeout=PATIENCE, **options)

    return list(await asyncio.gather(*(connect(urls[i % len(urls)]) for i in range(number))))


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Echo for a while.

    `spec`: urls, connections, inflight, size, binary, seconds, warmup, pid of the server; and idle, the number of
    further connections to `idle_urls` that say nothing.
    """
    idle = open_idle(spec.get("idle_urls") or spec["urls"], spec.get("idle", 0))
    state = State(spec["size"], spec["binary"])
    read_buffer = max(16 << 10, spec["size"] + 64)
    clients = await connect_all(spec["urls"], spec["connections"], lambda: Echo(state), read_buffer)
    for transport, client in clients:
        for _ in range(spec["inflight"]):
            client.sent.append(perf_counter())
            transport.send(client.kind, client.message)
    while not all(client.is_checked for _, client in clients):  # some servers start a process for each of them
        await state.pass_time(0.02)
    await state.pass_time(spec["warmup"])
    window = Window(spec["pid"])
    begun = state.count
    state.latencies = window.latencies
    await state.pass_time(spec["seconds"])
    figures = window.close(state.count - begun)
    check_idle(idle)
    return figures
