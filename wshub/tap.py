"""What ``twistd wshub`` takes and makes."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

from twisted.internet.endpoints import serverFromString
from twisted.logger import ILogObserver, globalLogBeginner
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from wshub import __version__
from wshub.config import Settings, make_settings, with_absolute_paths
from wshub.conversion import parse_folder, parse_size
from wshub.door.descriptors import raise_limit
from wshub.errors import ConfigError
from wshub.hub import Hub
from wshub.monitoring.admin_endpoint import parse_admin
from wshub.monitoring.logs import make_observer, observe, wants_colours

DESCRIPTORS_BESIDES = 1000  # those of services, five each and a few more while one starts, and of the hub itself


class Options(UsageOptions):
    """The command line: each option is a setting of the same name, and overrides the file's."""

    command = "twistd wshub"
    """What it is called in what it says."""
    synopsis = "[options]"
    longdesc = (
        "Serves a folder of Python files as WebSocket services: foo/bar.py with a class Service is "
        "ws://localhost:12345/foo/bar. Without a folder, ./services is served, or else the packaged examples."
    )
    settings: Settings

    def __init__(self) -> None:
        super().__init__()
        self._given: dict[str, Any] = {}
        self._config: Path | None = None

    def opt_port(self, port: str) -> None:
        """Port number or Twisted endpoint description to listen at; may be repeated. [default: 12345]"""
        self._given["port"] = (*self._given.get("port", ()), port)

    def opt_host(self, host: str) -> None:
        """Address that port numbers listen at. [default: every IPv4 address]"""
        self._given["host"] = host

    def opt_document_root(self, folder: str) -> None:
        """Folder of services. [default: ./services, else the packaged examples]"""
        self._given["document_root"] = parse_path_option("document-root", folder)

    def opt_tls_cert(self, file: str) -> None:
        """PEM file with the certificate for port numbers, which then speak TLS; read again at SIGHUP."""
        self._given["tls_cert"] = parse_path_option("tls-cert", file)

    def opt_tls_key(self, file: str) -> None:
        """PEM file with its private key."""
        self._given["tls_key"] = parse_path_option("tls-key", file)

    def opt_html(self, folder: str) -> None:
        """Folder of static pages, served at the same port. [default: a built-in page that lists the services]"""
        self._given["html"] = parse_path_option("html", folder)

    def opt_compression(self) -> None:
        """Agree to permessage-deflate when a client offers it."""
        self._given["compression"] = True

    def opt_max_message_size(self, size: str) -> None:
        """Largest message that a client may send, such as 65536 or 4MiB. [default: 1MiB]"""
        try:
            self._given["max_message_size"] = parse_size(size)
        except ValueError as error:
            raise UsageError(f"--max-message-size {error}") from None

    def opt_origin(self, origin: str) -> None:
        """Origin besides the hub's own whose pages may connect: https://*.example.org, * for any; may be repeated."""
        self._given["origins"] = (*self._given.get("origins", ()), origin)

    def opt_trusted_proxy(self, network: str) -> None:
        """Address or network of a proxy that may say who the client is; may be repeated."""
        self._given["trusted_proxies"] = (*self._given.get("trusted_proxies", ()), network)

    def opt_service_user(self, name: str) -> None:
        """User that services run as, for a hub that is started as root. [default: the hub's own]"""
        self._given["service_user"] = name

    def opt_admin(self, endpoint: str) -> None:
        """Where the console, metrics, health and the state of services are: unix:PATH, or a port of 127.0.0.1."""
        self._given["admin"] = endpoint

    def opt_log_format(self, log_format: str) -> None:
        """How the log is written: text, or json, one object a line. [default: text]"""
        self._given["log_format"] = log_format

    def opt_config(self, file: str) -> None:
        """TOML file with these settings and more. Options on the command line override it."""
        self._config = parse_path_option("config", file)

    def opt_version(self) -> None:
        """Print the version and exit."""
        print(f"wshub {__version__}")
        raise SystemExit(0)

    opt_p = opt_port
    opt_o = opt_host
    opt_d = opt_document_root
    opt_c = opt_config
    opt_h = UsageOptions.opt_help

    def parseOptions(self, options: Any = None) -> None:
        """Parse, or exit with one line on what is wrong: twistd would print all of its own options as well."""
        try:
            super().parseOptions(options)
        except UsageError as error:
            raise SystemExit(f"{self.command}: {error} (see {self.command} --help)") from None

    def parseArgs(self, *args: str) -> None:
        """There are none: the usual mistake is a folder without its option."""
        if args:
            raise UsageError(f"what is {args[0]!r} for? The folder of services goes after -d, a port after -p.")

    def postOptions(self) -> None:
        """Check everything before anything starts, and before the process becomes a daemon."""
        from twisted.internet import reactor  # noqa: PLC0415 - importing it earlier would choose it for twistd

        try:
            self.settings = with_absolute_paths(make_settings(self._given, self._config))
        except ConfigError as error:
            raise UsageError(str(error)) from error
        admin = parse_admin(self.settings.admin, self.settings.admin_token)
        for description in self.settings.endpoints + ([admin.description] if admin else []):
            try:
                serverFromString(reactor, description)
            except (ValueError, LookupError, TypeError, AttributeError, OSError, ImportError) as error:
                if description.startswith("systemd:") and isinstance(error, LookupError):
                    raise UsageError(
                        f"systemd has handed over no socket for {description}: is the hub started by its .socket unit?"
                    ) from None
                raise UsageError(f"{description} is no port number and no endpoint description: {error}") from None


class LoggedHub(Hub):
    """A hub that brings twistd the observer of its log, at the one moment when twistd would take it."""

    def __init__(self, reactor: Any, options: Options) -> None:
        super().__init__(reactor, options.settings)
        self._reactor = reactor
        self._twistd: Any = getattr(options, "parent", None) or {}

    def setServiceParent(self, parent: Any) -> None:
        """Called with twistd's application, which has components; twistd asks it for the observer next."""
        settings = self._settings
        if hasattr(parent, "setComponent"):
            observer = make_observer(settings.log_format, settings.log_levels, self._twistd, self._reactor)
            if observer:
                parent.setComponent(ILogObserver, observer)
        super().setServiceParent(parent)


def parse_path_option(name: str, text: str) -> Path:
    """The path that an option names."""
    try:
        return parse_folder(text)
    except ValueError as error:
        raise UsageError(f"--{name} {error}") from None


def makeService(options: Options) -> Hub:
    """The hub that the options ask for, on the global reactor, with its ports open."""
    from twisted.internet import reactor  # noqa: PLC0415 - see above

    follow_monotonic_clock(reactor)
    raise_limit(options.settings.max_connections + DESCRIPTORS_BESIDES)
    try:
        hub = LoggedHub(reactor, options)
        hub.listen()
    except ConfigError as error:
        raise SystemExit(f"{options.command}: {error}") from None
    reactor.callWhenRunning(take_signals, reactor, hub)
    reactor.callWhenRunning(end_with_terminal, reactor, hub)
    return hub


def run_in_foreground(
    options: Options,
    log: TextIO,
    observer: Any = None,
    prepare: Callable[[Any, Hub], object] = lambda reactor, hub: None,
) -> int:
    """Run the hub that the options ask for, with its log on a stream, until it has stopped; return the exit status.

    `observer` is who writes the log there, if not as usual; `prepare` is called when the hub listens.
    """
    from twisted.internet import reactor as the_reactor  # noqa: PLC0415 - see above

    reactor: Any = the_reactor
    hub, settings = makeService(options), options.settings
    colours = wants_colours(log, os.environ)
    observer = observer or observe(log, settings.log_format, settings.log_levels, colours)
    prepare(reactor, hub)
    globalLogBeginner.beginLoggingTo([observer])
    reactor.callWhenRunning(hub.startService)
    reactor.addSystemEventTrigger("before", "shutdown", hub.stopService)
    reactor.run()
    return 0


def follow_monotonic_clock(reactor: Any) -> None:
    """Let the reactor's time be one that nobody sets.

    Twisted's is the wall clock: set an hour forward it would make every timeout expire at once, set back it would keep
    them from expiring for an hour. Nothing is scheduled yet that would have been by the other clock.
    """
    reactor.seconds = time.monotonic


def take_signals(reactor: Any, hub: Hub) -> None:
    """Let the first SIGTERM or SIGINT stop the hub in order, with exit status 0, and the second end it at once.

    Whoever presses Ctrl-C wants it to end now, and SIGINT does not wait for the answers of services.

    SIGHUP reloads what has changed. Twisted's own handlers, in whose place these come, make twistd die of the signal
    once it has stopped.
    """
    is_stopping = False

    def stop(number: int, _frame: object) -> None:
        nonlocal is_stopping
        if is_stopping:
            os._exit(128 + number)
        is_stopping = True
        hub.waits_for_answers = number == signal.SIGTERM
        reactor.callFromThread(reactor.stop)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    signal.signal(signal.SIGHUP, lambda *_: reactor.callFromThread(hub.reload))


def end_with_terminal(reactor: Any, hub: Hub) -> None:
    """If the hub is in a terminal, let SIGHUP stop it once that is gone: nobody could end it there any more.

    The kernel sends it to what runs in a terminal that is closed; from anybody else it still means to reload.
    """
    terminals = [fd for fd in range(3) if os.isatty(fd)]

    def hang_up(*_: object) -> None:
        if all(map(os.isatty, terminals)):
            reactor.callFromThread(hub.reload)
        else:
            os.kill(os.getpid(), signal.SIGTERM)

    if terminals:
        signal.signal(signal.SIGHUP, hang_up)
