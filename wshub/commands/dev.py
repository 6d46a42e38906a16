"""Serves a folder of services for whoever writes them: what is saved is reloaded at once.

Listens on this machine alone, with a console. Ctrl-C ends it.
"""

import argparse
import os
import re
import sys
import time
import webbrowser
from functools import partial
from typing import Any

from twisted.logger import FileLogObserver, LogEvent

from wshub.commands.folder import parse_path
from wshub.config import Settings, read_file, with_absolute_paths
from wshub.development import Development
from wshub.door.ports import describe_address
from wshub.hub import Hub
from wshub.monitoring.logs import OF_A_SERVICE, describe, find_level, find_service
from wshub.tap import Options, run_in_foreground
from wshub.terminal import Style, style_for

USUAL: dict[str, Any] = {
    "host": "127.0.0.1",
    "admin": "tcp:0:interface=127.0.0.1",
    "drain_timeout": 2.0,
    "stop_timeout": 0.3,
    "access_log": False,
}
"""What is otherwise here, unless the settings say so."""

LEVELS = {"warn": "yellow", "error": "red", "critical": "red"}
HIDDEN = ("services are in", "listening:", "admin interface:", "console:", "room for")
ROOT = "services run as root"  # how a warning begins that is for those who run a hub


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("folder", nargs="?", help="folder of services (default: ./services, else the examples)")
    parser.add_argument("-p", "--port", help="port number (default: 12345)")
    parser.add_argument("-o", "--host", help="address to listen at (default: 127.0.0.1)")
    parser.add_argument("-c", "--config", metavar="FILE", help="TOML file of settings, as the hub reads it")
    parser.add_argument("--open", action="store_true", help="open the console in a browser")


def run(arguments: argparse.Namespace) -> int:
    """Serve until Ctrl-C. Raise `ConfigError`."""
    options = Options()
    options.command = "wshub dev"
    options.settings = make_settings(arguments)
    style = style_for(sys.stdout, os.environ)
    observer = FileLogObserver(sys.stdout, partial(format_line, style))
    return run_in_foreground(options, sys.stdout, observer, partial(prepare, options.settings, arguments.open))


def make_settings(arguments: argparse.Namespace) -> Settings:
    """Those of the options, else of the file, else the usual ones. Raise `ConfigError`."""
    given: dict[str, Any] = read_file(parse_path("--config", arguments.config)) if arguments.config else {}
    if arguments.folder is not None:
        given["document_root"] = parse_path("folder", arguments.folder)
    if arguments.port is not None:
        given["port"] = (arguments.port,)
    if arguments.host is not None:
        given["host"] = arguments.host
    return with_absolute_paths(Settings(**{**USUAL, **given}))


def prepare(settings: Settings, wants_console: bool, reactor: Any, hub: Hub) -> None:
    """Called when the hub listens: say where, and begin to watch."""
    address = describe_address(hub.ports[0].getHost(), "https" if settings.has_tls(settings.port[0]) else "http")
    style = style_for(sys.stdout, os.environ)
    print(f"serving {style(str(hub.supervisor.tree.folder.root), 'bold')} at {style(address, 'cyan')}; Ctrl-C ends it")
    console = hub.admin.console_url
    if console:
        print(f"console: {style(console, 'cyan')}")
    sys.stdout.flush()
    base = re.sub("^http", "ws", address).rstrip("/")
    development = Development(reactor, hub.supervisor, base)
    reactor.callWhenRunning(development.start)
    reactor.addSystemEventTrigger("before", "shutdown", development.watch.stop)
    if sys.stdout.isatty():
        reactor.addSystemEventTrigger("before", "shutdown", sys.stdout.write, "\n")  # after the terminal's ^C
    if wants_console and console:
        reactor.callWhenRunning(reactor.callInThread, open_in_browser, console)


def open_in_browser(url: str) -> None:
    """Open a page; say so if there is nothing to open it with."""
    if not webbrowser.open(url):
        print("there is no browser that could be opened here: go to the console's address", flush=True)


def format_line(style: Style, event: LogEvent) -> str | None:
    """A line of the log for somebody who looks at it: the time, who, what; what is of no use here is left out."""
    namespace, level = str(event.get("log_namespace") or ""), find_level(event)
    is_service = namespace.startswith(OF_A_SERVICE)
    text = describe(event)
    is_for_others = namespace != "wshub" or text.startswith(HIDDEN)
    if not text or text.startswith(ROOT) or (is_for_others and level in ("info", "debug") and not is_service):
        return None
    moment = style(time.strftime("%H:%M:%S", time.localtime(event.get("log_time", 0))), "dim")
    who = style(f"{find_service(event)} | ", "cyan") if is_service else ""
    if level in LEVELS:
        text = style(text, LEVELS[level])
    elif text.startswith("reloaded"):
        text = style(text, "green")
    return f"{moment} {who}{text}\n"
