"""Asks a running hub to reload services, and says what came of it.

Without a PATH, those are reloaded whose files have changed. The hub needs an admin interface: see --admin. Its token,
if it wants one, is the admin_token of --config, or else the environment variable HUB_ADMIN_TOKEN.
"""

import argparse
import http.client
import json
import os
import re
import socket
import sys
from typing import Any
from urllib.parse import urlencode

from wshub.cli import FINE, WRONG
from wshub.commands.connection import NOT_CONNECTED
from wshub.commands.folder import parse_path
from wshub.commands.states import EVERYWHERE
from wshub.config import read_file
from wshub.errors import ConfigError
from wshub.monitoring.admin_endpoint import parse_admin
from wshub.terminal import Style, escape, style_for

TOKEN = "HUB_ADMIN_TOKEN"
PATIENCE = 120.0  # seconds; the hub's start_timeout is 30
WRONG_RESULTS = ("failed", "unknown")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("path", metavar="PATH", nargs="*", help="a service, changed or not: /chat")
    parser.add_argument("--admin", metavar="ENDPOINT", help="the hub's admin interface: unix:PATH, or a port")
    parser.add_argument("-c", "--config", metavar="FILE", help="the hub's wshub.toml, which has admin and admin_token")


def run(arguments: argparse.Namespace) -> int:
    """Ask, and print a line for each service; return the exit status. Raise `ConfigError`."""
    admin, token = find_admin(arguments)
    style = style_for(sys.stderr, os.environ)
    query = "?" + urlencode([("service", path) for path in arguments.path]) if arguments.path else ""
    try:
        status, body = post(connect(admin), f"/reload{query}", token)
        outcomes = json.loads(body)["services"] if status == http.HTTPStatus.OK else None
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError) as error:
        what = escape(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        print(style(f"no hub at {admin}: {what}", "red"), file=sys.stderr)
        return NOT_CONNECTED
    if outcomes is None:
        print(style(f"refused: HTTP {status}: {escape(body.strip())}", "red"), file=sys.stderr)
        if status == http.HTTPStatus.UNAUTHORIZED:
            print(f"Set {TOKEN}, or name the hub's wshub.toml with -c.", file=sys.stderr)
        return NOT_CONNECTED
    if not outcomes:
        print("nothing has changed")
    style = style_for(sys.stdout, os.environ)
    for outcome in outcomes:
        print(describe(outcome, style))
    return WRONG if any(each["result"] in WRONG_RESULTS for each in outcomes) else FINE


def find_admin(arguments: argparse.Namespace) -> tuple[str, str]:
    """The endpoint of the admin interface, and its token or nothing. Raise `ConfigError`."""
    settings = read_file(parse_path("--config", arguments.config)) if arguments.config else {}
    admin = arguments.admin or settings.get("admin", "")
    if not admin:
        raise ConfigError("where is the hub? Name its admin interface with --admin, or its wshub.toml with -c")
    return admin, settings.get("admin_token") or os.environ.get(TOKEN, "")


def connect(admin: str) -> http.client.HTTPConnection:
    """A connection to an endpoint, not made yet. Raise `ConfigError` if it is none that can be connected to."""
    try:
        endpoint = parse_admin(admin, "x" * 16)  # whether the hub would want a token is its own affair
    except ValueError as error:
        raise ConfigError(str(error)) from None
    assert endpoint is not None
    kind, *arguments = (re.sub(r"\\(.)", r"\1", each) for each in re.split(r"(?<!\\):", endpoint.description))
    plain = [each for each in arguments if "=" not in each]
    named = dict(each.split("=", 1) for each in arguments if "=" in each)
    if kind == "unix" and (path := named.get("address") or "".join(plain[:1])):
        return UnixConnection(path)
    if kind in ("tcp", "tcp6") and (port := named.get("port") or "".join(plain[:1])).isdecimal():
        host = named.get("interface", "")
        return http.client.HTTPConnection(EVERYWHERE.get(host, host), int(port), timeout=PATIENCE)
    raise ConfigError(f"--admin: {admin} is neither unix:PATH nor a TCP port")


class UnixConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=PATIENCE)
        self._path = path

    def connect(self) -> None:
        """Called by `http.client`."""
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(PATIENCE)
        self.sock.connect(self._path)


def post(connection: http.client.HTTPConnection, path: str, token: str) -> tuple[int, str]:
    """The status and the body of the answer. Raise `OSError` or `HTTPException`."""
    try:
        connection.request("POST", path, headers={"Authorization": f"Bearer {token}"} if token else {})
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    finally:
        connection.close()


def describe(outcome: dict[str, Any], style: Style) -> str:
    """An outcome in a line."""
    name, result, clients = escape(str(outcome["service"])), outcome["result"], outcome["clients"]
    many = "1 client" if clients == 1 else f"{clients} clients"
    if result == "reloaded":
        what = "handed over" if outcome["handed_over"] else "still with the old process"
        return f"{name}: {style('reloaded', 'green')} in {outcome['seconds']:.2f} s" + (
            f"; {many} {what}" if clients else ""
        )
    if result == "failed":
        return f"{name}: {style('failed', 'red')}: {escape(outcome['why'])}; if it ran, the old process stays"
    texts = {
        "superseded": "not any more: there is a newer version",
        "removed": "it has no file any more" + (f"; {many} still there" if clients else ""),
        "idle": "it does not run: its next client starts it",
        "unknown": style("there is no such service", "red"),
    }
    return f"{name}: {texts.get(result, escape(str(result)))}"
