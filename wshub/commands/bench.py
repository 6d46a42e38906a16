"""Loads a WebSocket echo for a few seconds: messages a second, and how long they take to come back.

Each connection keeps a number of messages in flight and sends the next when one is back. It is one Python process, and
says so if it was itself the limit.
"""

import argparse
import asyncio
import os
import sys
import time
from array import array
from collections import deque

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, WebSocketException

from wshub.commands.connection import (
    NOT_CONNECTED,
    add_header_arguments,
    at_least,
    connect_options,
    describe_refusal,
    more_than_0,
    parse_url,
)
from wshub.terminal import CLEAR_LINE, escape, style_for

BUSY = 0.85  # of a processor; a client that needs more than this is the limit
AT_ONCE = 100  # connections that are opened side by side
LAST_ECHO = 2.0  # seconds that the last messages are given to come back


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("url", metavar="URL", type=parse_url, help="of an echo; /path is at port 12345 of this machine")
    for short, name, metavar, parse, default, meaning in (
        ("-c", "--connections", "N", at_least(1), 10, "connections"),
        ("-n", "--in-flight", "N", at_least(1), 1, "messages on their way on each"),
        ("-s", "--size", "BYTES", at_least(0), 64, "size of a message"),
        ("-t", "--seconds", "SECONDS", more_than_0, 5, "how long"),
    ):
        parser.add_argument(
            short, name, metavar=metavar, type=parse, default=default, help=f"{meaning} (default: {default})"
        )
    add_header_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Measure, and print the result; 1 if connections broke or it is no echo."""
    return asyncio.run(Bench(arguments).run())


class Bench:
    """The connections and what they have measured."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._message = os.urandom(arguments.size)
        self._times = array("d")
        self._faults: dict[str, int] = {}
        self._is_over = False

    async def run(self) -> int:
        """See the module."""
        arguments = self._arguments
        options = connect_options(arguments)
        connections: list[ClientConnection] = []
        try:
            while (missing := arguments.connections - len(connections)) > 0:
                self._progress(f"{len(connections)} of {arguments.connections} connections")
                opening = [
                    asyncio.ensure_future(self._connect(arguments.url, options)) for _ in range(min(AT_ONCE, missing))
                ]
                done = await asyncio.gather(*opening, return_exceptions=True)
                connections += [each for each in done if not isinstance(each, BaseException)]
                for error in (each for each in done if isinstance(each, BaseException)):
                    if not isinstance(error, OSError | WebSocketException):
                        raise error
                    self._progress("")
                    print(
                        style_for(sys.stderr, os.environ)(
                            "\n  ".join(describe_refusal(error, self._arguments.url)), "red"
                        ),
                        file=sys.stderr,
                    )
                    return NOT_CONNECTED
            await self._measure(connections)
        finally:
            self._progress("")
            await asyncio.gather(*(each.close() for each in connections), return_exceptions=True)
        return 1 if self._faults else 0

    async def _connect(self, url: str, options: dict[str, object]) -> ClientConnection:
        return await connect(url, compression=None, proxy=None, max_size=None, ping_interval=None, **options)  # type: ignore[arg-type]

    async def _measure(self, connections: list[ClientConnection]) -> None:
        tasks = [asyncio.ensure_future(self._load(each)) for each in connections]
        began, cpu = time.perf_counter(), time.process_time()
        end = began + self._arguments.seconds
        interrupted = None
        while (now := time.perf_counter()) < end and not all(task.done() for task in tasks):
            self._progress(f"{now - began:.0f} s  {len(self._times) / max(now - began, 0.001):,.0f} messages/s")
            try:
                await asyncio.sleep(min(0.5, end - now))
            except asyncio.CancelledError as error:  # Ctrl-C: what was measured so far is a result too
                interrupted = error
                break
        elapsed, cpu = time.perf_counter() - began, time.process_time() - cpu
        times = self._times[:]
        self._is_over = True
        _, late = await asyncio.wait(tasks, timeout=LAST_ECHO)
        for task in late:
            task.cancel()
            self._fault("messages that did not come back: this is no echo, or it is too slow")
        self._progress("")
        self._report(times, elapsed, cpu)
        if interrupted:
            raise interrupted

    async def _load(self, connection: ClientConnection) -> None:
        message, sent = self._message, deque[float]()

        async def fill() -> None:
            for _ in range(self._arguments.in_flight):
                sent.append(time.perf_counter())
                await connection.send(message)

        filling = asyncio.ensure_future(fill())  # beside reading: they may be more than all buffers on the way hold
        try:
            await asyncio.sleep(0)
            while sent or not filling.done():
                if await connection.recv() != message:
                    self._fault("messages that are not what was sent: this is no echo")
                    return
                now = time.perf_counter()
                self._times.append(now - sent.popleft())
                if not self._is_over:
                    sent.append(now)
                    await connection.send(message)
        except ConnectionClosed as error:
            self._fault(f"connections that ended: {escape(str(error))}")
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)

    def _fault(self, text: str) -> None:
        self._faults[text] = self._faults.get(text, 0) + 1

    def _report(self, times: "array[float]", elapsed: float, cpu: float) -> None:
        arguments, style = self._arguments, style_for(sys.stdout, os.environ)
        print(
            f"{arguments.connections} connections, {arguments.in_flight} in flight on each, "
            f"{arguments.size} bytes, {elapsed:.1f} s"
        )
        if times:
            ordered = sorted(times)
            print(f"  messages/s  {style(f'{len(times) / elapsed:,.0f}', 'bold')}")
            for name, part in (("p50", 0.5), ("p99", 0.99)):
                print(f"  {name}         {1000 * ordered[min(int(part * len(ordered)), len(ordered) - 1)]:.2f} ms")
        share = cpu / elapsed if elapsed else 0
        print(f"  client      {100 * share:.0f} % of a processor")
        if share > BUSY:
            print(style("The client was busy all the time: the server can do more than this.", "yellow"))
        for text, count in self._faults.items():
            print(style(f"{count} {text}", "red"))

    def _progress(self, text: str) -> None:
        if sys.stderr.isatty():
            print(CLEAR_LINE + text, end="", file=sys.stderr, flush=True)
