"""The settings: what there is to set, what it is when nobody does, and ``wshub.toml``.

A setting comes from the command line, else from the file, else from here. Everything is checked before anything
starts, and each mistake is one sentence.
"""

import tomllib
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from wshub.errors import ConfigError
from wshub.wire import MAX_MESSAGE

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
    html: Path | None = None
    """A folder of static pages; None for the built-in welcome page."""
    compression: bool = False
    """Whether permessage-deflate is agreed to when a client offers it."""
    max_message_size: int = 1 << 20
    """The largest message a client may send."""
    origins: tuple[str, ...] = ()
    """Origins besides the hub's own whose pages may connect; ``*`` for any."""
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

    def __post_init__(self) -> None:
        if not self.port:
            raise ConfigError("port names none: leave it out for 12345")
        for number in (port for port in self.port if port.isdecimal()):
            if not 0 < int(number) < 65536:
                raise ConfigError(f"port {number} is not a port: choose one from 1 to 65535")
        if not 0 < self.max_message_size <= MAX_MESSAGE:
            raise ConfigError(f"max_message_size must be 1 to {MAX_MESSAGE} bytes, not {self.max_message_size}")
        for name in ("handshake_timeout", "close_timeout", "start_timeout", "request_timeout", "stop_timeout"):
            if not 0 < getattr(self, name) <= 3600:
                raise ConfigError(f"{name} must be more than 0 and at most 3600 seconds, not {getattr(self, name)}")
        check_folder("document_root", self.document_root)
        if self.html is not None:
            check_folder("html", self.html)

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
            known = ", ".join(each.name for each in fields(Settings))
            raise ConfigError(f"{file}: there is no setting {name!r}; there are {known}")
        try:
            settings[name] = convert(types[name], value)
        except ValueError as error:
            raise ConfigError(f"{file}: {name} {error}") from None
        if isinstance(settings[name], Path):
            settings[name] = file.parent / settings[name]
    return settings


def convert(wanted: Any, value: Any) -> Any:
    """`value`, as TOML or a command line has it, as the type of a setting. Raise `ValueError` with what is expected."""
    if wanted == tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, str) or (isinstance(each, int) and not isinstance(each, bool)) for each in values):
            raise ValueError("must be a list of strings")
        return tuple(map(str, values))
    if wanted in (Path, Path | None):
        if not isinstance(value, str):
            raise ValueError("must be the path of a folder, in quotes")
        return parse_folder(value)
    if wanted is bool:
        if not isinstance(value, bool):
            raise ValueError("must be true or false")
        return value
    if wanted is int:
        return parse_size(value)
    if wanted is float:
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ValueError("must be a number of seconds")
        return float(value)
    if not isinstance(value, str):
        raise ValueError("must be a string")
    return value


def parse_size(value: str | int) -> int:
    """A number of bytes: ``65536`` or ``"64KiB"``, ``"1MiB"``. Raise `ValueError`."""
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    text = str(value).strip()
    for unit, factor in (("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)):
        if text.endswith(unit) and text[:-3].strip().isdecimal():
            return int(text[:-3]) * factor
    if isinstance(value, str) and text.isdecimal():
        return int(text)
    raise ValueError(f'must be a number of bytes such as 65536 or "64KiB", not {value!r}')


def parse_folder(text: str) -> Path:
    """The path that a person has written, perhaps with a ``~``. Raise `ValueError` if there can be no such path."""
    if "\0" in text:
        raise ValueError("must be a path, which has no NUL in it")
    try:
        return Path(text).expanduser()
    except RuntimeError:
        raise ValueError(f"must be a path, and there is no home folder for {text}") from None


def check_folder(name: str, folder: Path) -> None:
    """Raise `ConfigError` unless `folder` is one that can be listed."""
    try:
        next(iter(folder.iterdir()), None)
    except FileNotFoundError:
        raise ConfigError(f"{name}: there is no folder {folder}") from None
    except OSError as error:
        raise ConfigError(f"{name}: {folder} cannot be read: {error.strerror}") from None


def with_absolute_paths(settings: Settings) -> Settings:
    """The same, whatever folder the process moves to: a daemon changes to ``/``, or to its ``--rundir``."""
    html = settings.html.resolve() if settings.html else None
    return replace(settings, document_root=settings.document_root.resolve(), html=html)
