"""What the commands that connect to a WebSocket have in common: the URL, headers, and what to say of a refusal."""

import argparse
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

from websockets.exceptions import InvalidHandshake, InvalidProxy, InvalidStatus, InvalidURI

from wshub.answers import TOKEN
from wshub.config import DEFAULT_PORT
from wshub.terminal import escape

NOT_CONNECTED = 3
"""The exit status where there was no connection to begin with."""

LOCAL = ("localhost", "127.0.0.1", "::1")

MAX_BODY = 1000  # characters of a refusal's text that are shown


def parse_url(text: str) -> str:
    """The WebSocket URL that a person means: ``/echo`` is on this machine. Raise `ArgumentTypeError`."""
    if text.startswith("/"):
        return f"ws://localhost:{DEFAULT_PORT}{text}"
    if text.startswith(("http://", "https://")):
        text = "ws" + text.removeprefix("http")
    elif "://" not in text:
        text = f"ws://{text}"
    try:
        parts = urlsplit(text)
        is_fine = parts.scheme in ("ws", "wss") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:
        is_fine = False
    if not is_fine:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no WebSocket URL: write ws://host:port/path, or /path for this machine"
        )
    return text


def add_header_arguments(parser: argparse.ArgumentParser) -> None:
    """What is sent with the request."""
    parser.add_argument(
        "-H",
        "--header",
        metavar="NAME:VALUE",
        type=parse_header,
        action="append",
        default=[],
        help="send a header; may be repeated",
    )
    parser.add_argument("--origin", help="send this Origin, as a browser would")


def parse_header(text: str) -> tuple[str, str]:
    """Name and value. Raise `ArgumentTypeError`."""
    name, colon, value = text.partition(":")
    if not colon or not TOKEN.fullmatch(name) or not value.isprintable():
        raise argparse.ArgumentTypeError(f"{text!r} is no header: write NAME:VALUE")
    return name, value.strip()


def connect_options(arguments: argparse.Namespace) -> dict[str, Any]:
    """The options of `connect` for these arguments."""
    return {"additional_headers": arguments.header, "origin": arguments.origin}


def describe_refusal(error: Exception, url: str) -> list[str]:
    """Why there is no connection to `url`: the response's status and headers if there was one."""
    if isinstance(error, InvalidStatus):
        response = error.response
        lines = [f"refused: HTTP {response.status_code} {response.reason_phrase}"]
        lines += [f"{name}: {value}" for name, value in response.headers.raw_items()]
        body = bytes(response.body or b"").decode(errors="replace").strip()[:MAX_BODY]
        return [escape(line) for line in [*lines, *(["", *body.splitlines()] if body else [])]]
    if isinstance(error, TimeoutError):
        return ["no answer: the handshake took too long"]
    if isinstance(error, InvalidHandshake | InvalidURI | InvalidProxy):
        return [f"no WebSocket: {escape(str(error))}"]
    parts = urlsplit(url)
    reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
    lines = [escape(f"cannot connect to {parts.netloc.rpartition('@')[2]}: {reason}")]
    if isinstance(error, ConnectionRefusedError) and parts.hostname in LOCAL:
        lines.append("Nobody listens there: `wshub serve` starts a hub. One at another port is localhost:PORT/path.")
    return lines


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option: a whole number."""

    def parse(text: str) -> int:
        if not text.isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number, at least {least}, not {text!r}")
        return int(text)

    return parse


def more_than_0(text: str) -> float:
    """The type of an option: seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 86400:
        raise argparse.ArgumentTypeError(f"must be a number of seconds, more than 0, not {text!r}")
    return seconds
