"""Fan-out: one client publishes, the others receive; the next message goes out when everybody has the last one."""

import asyncio
from time import perf_counter
from typing import Any

from picows import WSFrame, WSListener, WSMsgType, WSTransport

from bench.load.echo import State, connect_all
from bench.load.window import Window

MASK = b"\x37\xfa\x21\x3d"


class Subscriber(WSListener):
    """One of many: all that it does is to count."""

    def __init__(self, state: "FanoutState") -> None:
        self.state = state

    def on_ws_frame(self, transport: WSTransport, frame: WSFrame) -> None:
        """A message from the publisher."""
        state = self.state
        if frame.payload_size != state.size or frame.msg_type != WSMsgType.TEXT:
            state.fail(f"a subscriber got {frame}")
        state.count += 1
        state.missing -= 1
        if not state.missing:
            state.publish()

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It should not have been."""
        self.state.fail("the server closed a connection")


class Publisher(WSListener):
    """Gets what it publishes too, or, from nchan, an acknowledgement: neither counts."""

    def __init__(self, state: "FanoutState") -> None:
        self.state = state

    def on_ws_disconnected(self, transport: WSTransport) -> None:
        """It should not have been."""
        self.state.fail("the server closed the publisher's connection")


class FanoutState(State):
    """How far the present message, or burst of messages, has got."""

    def __init__(self, size: int, burst: int, subscribers: int) -> None:
        super().__init__(size, False)
        self.size = size
        self.deliveries = burst * subscribers
        self.missing = 0
        self.write: Any = None
        self.data = masked_text(self.message) * burst  # one write: the burst arrives as one
        self.published = 0.0

    def publish(self) -> None:
        """Note when the last message was complete, and send the next."""
        now = perf_counter()
        if self.published:
            self.latencies.append(now - self.published)
        self.published = now
        self.missing = self.deliveries
        self.write(self.data)


def masked_text(payload: bytes) -> bytes:
    """A text frame as a client sends it (RFC 6455, section 5.2), of less than 64 KiB."""
    size = len(payload)
    header = bytes((0x81, 0x80 | size)) if size < 126 else bytes((0x81, 0xFE)) + size.to_bytes(2, "big")
    return header + MASK + bytes(byte ^ MASK[i & 3] for i, byte in enumerate(payload))


async def run(spec: dict[str, Any]) -> dict[str, Any]:
    """Publish for a while.

    `spec`: urls, the publisher's URL as publish_url, connections, burst, size, seconds, warmup, pid of the server.
    Counted are deliveries; a latency is the time from publishing to the last delivery.
    """
    state = FanoutState(spec["size"], spec["burst"], spec["connections"])
    await connect_all(spec["urls"], spec["connections"], lambda: Subscriber(state), 16 << 10)
    ((publisher, _),) = await connect_all([spec["publish_url"]], 1, lambda: Publisher(state), 16 << 10)
    await asyncio.sleep(0.2)  # the last subscriber's handshake may be done before its subscription is
    state.write = publisher.underlying_transport.write
    state.publish()
    await state.pass_time(spec["warmup"])
    window = Window(spec["pid"])
    begun = state.count
    state.latencies = window.latencies
    await state.pass_time(spec["seconds"])
    return window.close(state.count - begun)
