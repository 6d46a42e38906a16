"""The settings: what there is to set, what it is when nobody does, and ``wshub.toml``.

A setting comes from the command line, else from the file, else from here. Everything is checked before anything
starts, and each mistake is one sentence.
"""

import tomllib
from dataclasses import dataclass, field, fields, replace
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from wshub.conversion import Count, convert
from wshub.door.handshake import MAX_HEAD, MAX_HEADERS, MAX_REQUEST_LINE
from wshub.door.origins import OriginPolicy
from wshub.door.proxies import HEADERS, X_FORWARDED, Networks
from wshub.errors import ConfigError, ServiceNotFound
from wshub.monitoring.admin_endpoint import parse_admin
from wshub.monitoring.levels import check_levels
from wshub.routing import Route, ServiceFolder, parse_route, split_path
from wshub.wire import MAX_MESSAGE

MAX_WAIT = 30 * 86400
"""The longest time that may be waited for something that may well never happen, in seconds."""

DEFAULT_PORT = "12345"
DEFAULT_FOLDER = Path("services")


@dataclass(frozen=True)
class Settings:
    """Every setting, in the order of the reference. Times are in seconds, sizes in bytes."""

    port: tuple[str, ...] = (DEFAULT_PORT,)
    """Where to listen: port numbers or Twisted endpoint descriptions."""
    host: str = ""
    """The address that port numbers listen at; empty for every IPv4 address."""
    document_root: Path = field(default_factory=lambda: default_folder())  # noqa: PLW0108 - defined further down
    """The folder of services."""
    tls_cert: Path | None = None
    """The certificate of port numbers, and those of who has signed it; None for no TLS there."""
    tls_key: Path | None = None
    """Its private key."""
    html: Path | None = None
    """A folder of static pages; None for the built-in welcome page."""
    compression: bool = False
    """Whether permessage-deflate is agreed to when a client offers it."""
    max_message_size: int = 1 << 20
    """The largest message a client may send."""
    max_frame_size: int = 0
    """The largest frame of one; 0 for no other limit than that."""
    max_fragments: Count = Count(70_000)
    """The most frames that one message may come in."""
    max_message_rate: Count = Count(0)
    """Messages a second from one client; 0 for any number."""
    max_ping_rate: Count = Count(100)
    """Pings a second from one client."""
    max_backlog: int = 1 << 20
    """What may wait in the hub for one client that does not read, before its service's `slow_clients` applies."""
    ping_interval: float = 20.0
    """After so much silence a client is pinged; 0 for never."""
    ping_timeout: float = 20.0
    """What it is given to say anything after that, before it is dropped."""
    origins: tuple[str, ...] = ()
    """Origins besides the hub's own whose pages may connect, see `wshub.door.origins`; ``*`` for any."""
    require_origin: bool = False
    """Whether a client that sends no Origin, which no browser leaves out, is refused."""
    trusted_proxies: tuple[str, ...] = ()
    """Networks whose word is taken on who a client is, see `wshub.door.proxies`."""
    proxy_headers: str = X_FORWARDED
    """Which headers have it: ``x-forwarded`` or ``forwarded``."""
    proxy_protocol: bool = False
    """Whether a connection from a trusted proxy begins with the PROXY protocol."""
    max_connections: Count = Count(20_000)
    """Connections in all, with or without a request."""
    max_connections_per_address: Count = Count(256)
    """Connections from one IPv4 address, or from the /64 of one IPv6 address."""
    unlimited_addresses: tuple[str, ...] = ("127.0.0.0/8", "::1")
    """Networks of which no address is counted by itself."""
    max_clients_per_service: Count = Count(20_000)
    """WebSockets of one service."""
    max_header_size: int = MAX_HEAD
    """The largest head of a request, request line included."""
    max_request_line: int = MAX_REQUEST_LINE
    """The longest request line."""
    max_headers: Count = Count(MAX_HEADERS)
    """The most headers of a request."""
    handshake_timeout: float = 5.0
    """From the connection to the end of its first request."""
    close_timeout: float = 10.0
    """From the hub's close frame to the client's; whatever was sent before has to get through in this time too."""
    start_timeout: float = 30.0
    """From the start of a service process to its READY."""
    request_timeout: float = 10.0
    """From an upgrade request to the answer of its service's `on_request`."""
    stop_timeout: float = 5.0
    """What clients, then services, are given when the hub stops; after that TERM, and one second later KILL."""

    drain_timeout: float = 30.0
    """How long clients may stay with a service's old process when a new one has taken its place."""
    restart_intensity: Count = Count(5)
    """How often a service may die within `restart_period` before it is left alone for a while."""
    restart_period: float = 30.0
    """See `restart_intensity`."""
    hang_timeout: float = 15.0
    """How long a service process may give no sign of life; 0 for ever."""
    idle_timeout: float = 0.0
    """How long a service may be without clients before it is asked to finish; 0 for ever."""
    eager: tuple[str, ...] = ()
    """Paths of services that run as soon as the hub does."""
    service_user: str = ""
    """The user that services run as; empty for the hub's own."""
    service_environment: tuple[str, ...] = ()
    """Environment variables that services get besides the usual ones: names, or ``NAME=value``."""
    service_umask: Count = Count(0o077)
    """The permissions that files of services do not get."""
    service_memory: int = 0
    """How much memory of its own each service process may have; 0 for no limit."""
    service_processes: Count = Count(0)
    """How many processes and threads a service's user may have when the service starts another; 0 for no limit."""
    service_descriptors: Count = Count(0)
    """How many open files each service process may have; 0 for the hub's own limit."""
    admin: str = ""
    """Where the admin interface listens, see `wshub.monitoring.admin_endpoint`; empty for nowhere."""
    admin_token: str = ""
    """What has to be said there; empty for nothing at a Unix socket, and for one of the hub's own at a port."""
    log_format: str = "text"
    """``text`` or ``json``."""
    log_levels: dict[str, str] = field(default_factory=dict)
    """By the path of a service, the least level of its lines in the log."""
    access_log: bool = True
    """Whether every WebSocket is one line of the log when it has ended."""

    def __post_init__(self) -> None:
        if not self.port:
            raise ConfigError("port names none: leave it out for 12345")
        for number in (port for port in self.port if port.isdecimal()):
            if not 0 < int(number) < 65536:
                raise ConfigError(f"port {number} is not a port: choose one from 1 to 65535")
        if not 0 < self.max_message_size <= MAX_MESSAGE:
            raise ConfigError(f"max_message_size must be 1 to {MAX_MESSAGE} bytes, not {self.max_message_size}")
        for name in (
            *("max_connections", "max_connections_per_address", "max_clients_per_service", "max_headers"),
            *("max_fragments", "max_ping_rate", "max_backlog"),
        ):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} must be at least 1, not {getattr(self, name)}")
        if not 256 <= self.max_header_size <= 1 << 20:
            raise ConfigError(f"max_header_size must be 256 bytes to 1MiB, not {self.max_header_size}")
        if not 64 <= self.max_request_line <= self.max_header_size:
            raise ConfigError(
                f"max_request_line must be 64 bytes to max_header_size, {self.max_header_size}, "
                f"not {self.max_request_line}"
            )
        for name in ("max_frame_size", "max_message_rate"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} must be at least 0, not {getattr(self, name)}")
        if not 0 <= self.ping_interval <= 3600:
            raise ConfigError(f"ping_interval must be 0 to 3600 seconds, not {self.ping_interval}")
        self._check_tls()
        self._check_who_may_connect()
        for name in (
            *("ping_timeout", "handshake_timeout", "close_timeout", "start_timeout", "request_timeout"),
            *("stop_timeout", "restart_period"),
        ):
            if not 0 < getattr(self, name) <= 3600:
                raise ConfigError(f"{name} must be more than 0 and at most 3600 seconds, not {getattr(self, name)}")
        if not 0 <= self.drain_timeout <= MAX_WAIT:
            raise ConfigError(f"drain_timeout must be 0 (at once) to {MAX_WAIT} seconds, not {self.drain_timeout}")
        for name in ("hang_timeout", "idle_timeout"):
            if not 0 <= getattr(self, name) <= MAX_WAIT:
                raise ConfigError(f"{name} must be 0 (never) or at most {MAX_WAIT} seconds, not {getattr(self, name)}")
        if not 0 < self.restart_intensity <= 1000:
            raise ConfigError(f"restart_intensity must be 1 to 1000, not {self.restart_intensity}")
        if not 0 <= self.service_umask <= 0o777:
            raise ConfigError(f"service_umask must be 0 to 0o777, not {self.service_umask:#o}")
        for name, least in (("service_memory", 16 << 20), ("service_processes", 1), ("service_descriptors", 16)):
            if getattr(self, name) != 0 and not least <= getattr(self, name) < 1 << 63:
                raise ConfigError(f"{name} must be 0 (no limit) or at least {least}, not {getattr(self, name)}")
        for variable in self.service_environment:
            if "\0" in variable or not variable.partition("=")[0]:
                raise ConfigError(f"service_environment: {variable!r} is neither a NAME nor NAME=value")
        self._check_what_is_seen()
        check_folder("document_root", self.document_root)
        for path in self.eager:
            find_service(self.document_root, path)
        if self.html is not None:
            check_folder("html", self.html)

    def _check_who_may_connect(self) -> None:
        for name, parse in (
            ("origins", OriginPolicy),
            ("trusted_proxies", Networks),
            ("unlimited_addresses", Networks),
        ):
            try:
                parse(getattr(self, name))
            except ValueError as error:
                raise ConfigError(f"{name} {error}") from None
        if self.proxy_headers not in HEADERS:
            raise ConfigError(f'proxy_headers must be "x-forwarded" or "forwarded", not "{self.proxy_headers}"')
        if self.proxy_protocol and not self.trusted_proxies:
            raise ConfigError("proxy_protocol needs trusted_proxies: name the networks whose proxies speak it")
        if self.proxy_protocol and any(map(self.has_tls, self.port)):
            raise ConfigError(
                f"proxy_protocol does not go with {'tls_cert' if self.tls_cert else 'an ssl: port'}: "
                "let the proxy do TLS, or pass it on plainly"
            )

    def _check_tls(self) -> None:
        given, missing = ("tls_key", "tls_cert") if self.tls_key else ("tls_cert", "tls_key")
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ConfigError(f"{given} needs {missing}: name the other file too")
        if self.tls_cert and not any(port.isdecimal() for port in self.port):
            raise ConfigError("tls_cert is for port numbers, and port has none: name one, or use an ssl: endpoint")

    def _check_what_is_seen(self) -> None:
        if self.log_format not in ("text", "json"):
            raise ConfigError(f'log_format must be "text" or "json", not "{self.log_format}"')
        try:
            check_levels(self.log_levels)
            parse_admin(self.admin, self.admin_token)
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def has_tls(self, port: str) -> bool:
        """Whether connections to a port of `port` begin with TLS."""
        return port.startswith("ssl:") or (self.tls_cert is not None and port.isdecimal())

    @property
    def endpoints(self) -> list[str]:
        """The ports as Twisted endpoint descriptions: a bare number means TCP on `host`."""
        interface = ":interface=" + self.host.replace("\\", "\\\\").replace(":", "\\:") if self.host else ""
        return [f"tcp:{port}{interface}" if port.isdecimal() else port for port in self.port]


def default_folder() -> Path:
    """``./services`` where there is one, else the packaged examples."""
    return DEFAULT_FOLDER if DEFAULT_FOLDER.is_dir() else examples_folder()


def examples_folder() -> Path:
    """The packaged examples: inside the package once it is installed, beside it in a checkout."""
    package = Path(__file__).parent
    installed = package / "examples"
    return installed if installed.is_dir() else package.parent / "services"


def make_settings(options: dict[str, Any], file: Path | None = None) -> Settings:
    """Settings from the command line's `options`, by name, over those from `file`. Raise `ConfigError`."""
    from_file = read_file(file) if file else {}
    return Settings(**{**from_file, **options})


def suggest_setting(name: str) -> str:
    """What may have been meant by a name that is no setting's: one that is like it, or all."""
    known = [each.name for each in fields(Settings)]
    like = get_close_matches(name.replace("-", "_"), known, 1)
    return f"did you mean {like[0]}?" if like else f"there are {', '.join(known)}"


def read_file(file: Path) -> dict[str, Any]:
    """The settings in a TOML file. Relative paths in it start at its own folder. Raise `ConfigError`."""
    try:
        with file.open("rb") as stream:
            table = tomllib.load(stream)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{file} is not valid TOML: {error}") from None
    types = get_type_hints(Settings)
    settings = {}
    for name, value in table.items():
        if name not in types:
            raise ConfigError(f"{file}: there is no setting {name!r}; {suggest_setting(name)}")
        try:
            settings[name] = convert(types[name], value)
        except ValueError as error:
            raise ConfigError(f"{file}: {name} {error}") from None
        if isinstance(settings[name], Path):
            settings[name] = file.parent / settings[name]
    return settings


def check_folder(name: str, folder: Path) -> None:
    """Raise `ConfigError` unless `folder` is one that can be listed."""
    try:
        next(iter(folder.iterdir()), None)
    except FileNotFoundError:
        raise ConfigError(f"{name}: there is no folder {folder}") from None
    except OSError as error:
        raise ConfigError(f"{name}: {folder} cannot be read: {error.strerror}") from None


def find_service(folder: Path, path: str) -> Route:
    """The route of an `eager` service. Raise `ConfigError` if there is no such service."""
    try:
        route = parse_route(split_path(path.encode()))
        ServiceFolder(folder).module(route)
    except ServiceNotFound:
        raise ConfigError(f"eager: there is no service {path!r} in {folder}; write its path as in its URL") from None
    return route


def with_absolute_paths(settings: Settings) -> Settings:
    """The same, whatever folder the process moves to: a daemon changes to ``/``, or to its ``--rundir``."""
    html = settings.html.resolve() if settings.html else None
    # The two files may be links, and point elsewhere the next time that they are read: those are not followed.
    cert, key = (file.absolute() if file else None for file in (settings.tls_cert, settings.tls_key))
    return replace(settings, document_root=settings.document_root.resolve(), html=html, tls_cert=cert, tls_key=key)
