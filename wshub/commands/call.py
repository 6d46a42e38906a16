"""Connects to a WebSocket: each line that you type is a message, and each message that comes is a line.

In a pipe it does the same: lines of stdin go out, messages come out on stdout and nothing else does. Once stdin has
ended it waits until nothing has come for a while, and closes the connection.

In a terminal, lines that begin with a slash are for this program: /ping, /close [CODE [REASON]], /quit; //text sends
/text.
"""

import argparse
import os
import select
import sys
import threading
import time
from typing import Any

from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.frames import OK_CLOSE_CODES
from websockets.sync.client import ClientConnection, connect

from wshub.commands.connection import (
    NOT_CONNECTED,
    add_header_arguments,
    at_least,
    connect_options,
    describe_refusal,
    more_than_0,
    parse_url,
)
from wshub.config import DEFAULT_PORT
from wshub.errors import ConfigError
from wshub.terminal import Style, escape, style_for

EPILOG = """\
Exit status: 0 closed with 1000, 1001 or without a code; 1 closed with any other code, or lost; 2 usage;
3 no connection: refused, or nobody there; 130 Ctrl-C."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.epilog = EPILOG
    parser.add_argument(
        "url",
        metavar="URL",
        type=parse_url,
        help=f"ws://host:port/path; /path is at port {DEFAULT_PORT} of this machine",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--binary", action="store_true", help="send each line as a binary message")
    form.add_argument(
        "--hex", action="store_true", help="lines are bytes in hexadecimal, sent as binary; binary is shown so too"
    )
    add_header_arguments(parser)
    parser.add_argument(
        "--subprotocol", metavar="NAME", action="append", help="offer a subprotocol, the favourite first"
    )
    parser.add_argument("-n", "--count", metavar="N", type=at_least(1), help="close once N messages have come")
    parser.add_argument(
        "-w",
        "--wait",
        metavar="SECONDS",
        type=more_than_0,
        default=1.0,
        help="how long to listen after stdin has ended (default: 1)",
    )
    parser.add_argument("-v", "--verbose", action="store_true", help="show the handshake's response")


def run(arguments: argparse.Namespace) -> int:
    """Talk until either side ends; return the exit status."""
    style = style_for(sys.stderr, os.environ)
    try:
        connection = connect(
            arguments.url,
            subprotocols=arguments.subprotocol,
            proxy=None,
            max_size=None,
            **connect_options(arguments),
        )
    except (OSError, WebSocketException) as error:
        first, *rest = describe_refusal(error, arguments.url)
        print(style(first, "red"), *(f"  {line}".rstrip() for line in rest), sep="\n", file=sys.stderr)
        return NOT_CONNECTED
    return Call(connection, arguments, style).run()


class Call:
    """One connection: a thread shows what comes, this one sends what is typed."""

    def __init__(self, connection: ClientConnection, arguments: argparse.Namespace, style: Style) -> None:
        self._connection = connection
        self._arguments = arguments
        self._style = style
        self._is_terminal = sys.stdin.isatty()
        self._out = style_for(sys.stdout, os.environ)
        self._received = 0
        self._last = time.monotonic()
        self._ended, self._end = os.pipe()  # readable once the connection is closed

    def run(self) -> int:
        """Talk until either side ends; return the exit status."""
        self._say_hello()
        receiver = threading.Thread(target=self._receive, daemon=True)
        receiver.start()
        try:
            self._send_lines()
            self._connection.close()
        except ConnectionClosed:
            pass  # the receiver has seen it too
        except ConfigError:
            self._connection.close()
            raise
        receiver.join(5)
        code, reason = self._connection.close_code, self._connection.close_reason
        if self._is_terminal or code not in OK_CLOSE_CODES:
            colour = "dim" if code in OK_CLOSE_CODES else "red"
            self._say(f"closed: {code}{f' {escape(reason)}' if reason else ''}", colour)
        return 0 if code in OK_CLOSE_CODES else 1

    def _say(self, text: str, *styles: str) -> None:
        print(self._style(text, *styles), file=sys.stderr, flush=True)

    def _say_hello(self) -> None:
        response = self._connection.response
        if self._arguments.verbose and response:
            self._say(f"HTTP {response.status_code} {escape(response.reason_phrase)}", "dim")
            for name, value in response.headers.raw_items():
                self._say(escape(f"{name}: {value}"), "dim")
        if self._is_terminal:
            chosen = self._connection.subprotocol
            self._say(f"connected{f', subprotocol {chosen}' if chosen else ''}; Ctrl-D closes, /ping pings", "dim")

    # What comes.

    def _receive(self) -> None:
        try:
            for message in self._connection:
                self._last = time.monotonic()
                self._show(message)
                self._received += 1
                if self._received == self._arguments.count:
                    break
        except (ConnectionClosed, BrokenPipeError):
            pass
        finally:
            os.write(self._end, b".")

    def _show(self, message: str | bytes) -> None:
        if sys.stdout.isatty():
            if isinstance(message, str) and not self._arguments.hex:
                shown = self._out("< ", "cyan") + escape(message)
            else:
                data = message.encode() if isinstance(message, str) else message
                shown = self._out(f"< {len(data)} bytes ", "cyan") + data.hex(" ")
            print(shown, flush=True)
        elif isinstance(message, bytes) and not self._arguments.hex:
            sys.stdout.buffer.write(message + b"\n")
        else:
            sys.stdout.buffer.write((message if isinstance(message, str) else message.hex()).encode() + b"\n")
        sys.stdout.flush()

    # What is sent.

    def _send_lines(self) -> None:
        """Send until stdin ends, or the connection does; and after stdin wait for what is still to come."""
        fd, rest = sys.stdin.fileno(), b""
        while True:
            ready, _, _ = select.select([fd, self._ended], [], [])
            if self._ended in ready:
                return
            data = os.read(fd, 1 << 16)
            *lines, rest = (rest + data).split(b"\n")
            if not data and rest:
                lines, rest = [rest], b""
            for line in lines:
                if not self._send_line(line):
                    return
            if not data:
                break
        if self._is_terminal:
            return
        self._last = time.monotonic()
        while (left := self._last + self._arguments.wait - time.monotonic()) > 0 or self._arguments.count:
            ready, _, _ = select.select([self._ended], [], [], None if self._arguments.count else left)
            if ready:
                return

    def _send_line(self, line: bytes) -> bool:
        """Send one line; false if it says that this is the end."""
        if self._is_terminal and line.startswith(b"/"):
            if not line.startswith(b"//"):
                return self._obey(line.decode(errors="replace").split(maxsplit=2))
            line = line[1:]
        message: Any
        if self._arguments.hex:
            try:
                message = bytes.fromhex(line.decode())
            except ValueError:
                return self._mistake(f"{escape(line.decode(errors='replace'))!r} is not hexadecimal")
        elif self._arguments.binary:
            message = line
        else:
            try:
                message = line.decode()
            except UnicodeDecodeError:
                return self._mistake("a line that is not UTF-8 is no text message: use --binary")
        self._connection.send(message)
        return True

    def _mistake(self, text: str) -> bool:
        """Say it and go on in a terminal; end in a pipe, where nobody would notice."""
        if not self._is_terminal:
            raise ConfigError(text)
        self._say(text, "yellow")
        return True

    def _obey(self, words: list[str]) -> bool:
        """Do what a line with a slash says; false if that ends it."""
        if words[0] in ("/quit", "/close"):
            try:
                self._connection.close(int(words[1]) if words[1:] else 1000, "".join(words[2:]))
            except (ValueError, WebSocketException) as error:
                return self._mistake(f"/close: {error}")
            return False
        if words[0] == "/ping":
            began = time.perf_counter()
            if self._connection.ping().wait(5):
                self._say(f"pong after {1000 * (time.perf_counter() - began):.2f} ms", "dim")
                return True
            return self._mistake("no pong within 5 seconds")
        return self._mistake("there are /ping, /close [CODE [REASON]] and /quit; //text sends /text")
