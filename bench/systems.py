"""The systems: how each is started, with its best documented settings, and what is missing where one cannot be."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
SERVERS = HERE / "servers"
SERVICES = HERE / "services"
NCHAN = Path("/usr/lib/nginx/modules/ngx_nchan_module.so")
NGINX = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
WEBSOCKETD = shutil.which("websocketd")

Command = Callable[[int, int, Path], list[str | Path]]
"""From a port, the size of the messages in bytes and an empty folder, to a command line."""


@dataclass(frozen=True)
class System:
    """One server that can be measured."""

    name: str
    about: str
    command: Command
    path: str = "/echo"
    """Where it echoes."""
    publish_path: str = ""
    """Where a publisher connects, if not where subscribers do."""
    missing: str = ""
    """Why it cannot be measured here: a sentence, empty if it can."""


def script(name: str, *more: str) -> Command:
    """One of `servers/`, which takes the port and perhaps the size."""

    def command(port: int, size: int, folder: Path) -> list[str | Path]:
        places = {"port": str(port), "buffer": str(max(16 << 10, size + 64))}
        return [sys.executable, SERVERS / name, *(places[each] for each in ("port", *more))]

    return command


def wshub_command(twistd: Path, services: Path = SERVICES) -> Command:
    """The hub, run by the `twistd` of any environment that wshub is installed in."""
    return lambda port, size, folder: [
        *(twistd, "-n", "--pidfile=", "wshub", "-p", f"tcp:{port}:interface=127.0.0.1", "-d", services),
        *(["--max-message-size", "16MiB"] if size > 1 << 20 else []),
    ]


def uvicorn_command(port: int, size: int, folder: Path) -> list[str | Path]:
    """uvicorn on uvloop with `websockets`, and nothing that the others do not do."""
    options = {"--ws": "websockets-sansio", "--loop": "uvloop", "--log-level": "error", "--ws-ping-interval": "3600"}
    options |= {"--ws-per-message-deflate": "false", "--lifespan": "off", "--host": "127.0.0.1", "--port": str(port)}
    flat = [word for pair in options.items() for word in pair]
    return [sys.executable, "-m", "uvicorn", "channels_app:application", "--app-dir", SERVERS, "--no-access-log", *flat]


def daphne_command(port: int, size: int, folder: Path) -> list[str | Path]:
    """Daphne on Twisted's asyncio reactor, which is the only one that it knows."""
    code = (
        f"import sys; sys.path.insert(0, {str(SERVERS)!r}); from daphne.cli import *; CommandLineInterface.entrypoint()"
    )
    options = ["-b", "127.0.0.1", "-p", str(port), "-v", "0", "--ping-interval", "3600", "channels_app:application"]
    return [sys.executable, "-c", code, *options]


def websocketd_command(*child: str | Path) -> Command:
    """websocketd, which starts `child` for each client."""
    return lambda port, size, folder: [
        *(WEBSOCKETD or "", f"--port={port}", "--address=127.0.0.1", "--loglevel=fatal", *child),
    ]


def nchan_command(port: int, size: int, folder: Path) -> list[str | Path]:
    """nginx with nchan, in the foreground, with all its files in `folder`."""
    text = (SERVERS / "nchan.conf").read_text()
    for word, value in (("MODULE", NCHAN), ("FOLDER", folder), ("PORT", port)):
        text = text.replace(word, str(value))
    (folder / "nchan.conf").write_text(text)
    return [NGINX or "", "-p", folder, "-e", "stderr", "-c", folder / "nchan.conf"]


def make_systems(twistd: Path) -> dict[str, System]:
    """Every system, by name."""
    hub = wshub_command(twistd)
    no_hub = "" if twistd.exists() else f"there is no {twistd}"
    no_websocketd = "" if WEBSOCKETD else "websocketd is not installed (Debian: websocketd)"
    no_nchan = "" if NGINX and NCHAN.exists() else "nchan is not installed (Debian: nginx and libnginx-mod-nchan)"
    child: list[str | Path] = [Path(sys.executable).resolve(), "-S", SERVERS / "websocketd_child.py"]
    no_websockets, no_picows = without("websockets", "uvloop"), without("picows", "uvloop")
    no_daphne, no_uvicorn = without("daphne", "channels"), without("uvicorn", "channels")
    systems = [
        System("wshub", "a service with handlers, in its own process", hub, missing=no_hub),
        System("wshub-asyncio", "a service with coroutines", hub, "/asyncio_echo", missing=no_hub),
        System("wshub-classic", "a service of the classic style", hub, "/classic_echo", missing=no_hub),
        System("autobahn", "in one process", script("autobahn_server.py"), missing=without("autobahn")),
        System("websockets", "in one process, uvloop", script("websockets_server.py"), missing=no_websockets),
        System("picows", "in one process, uvloop", script("picows_server.py", "buffer"), missing=no_picows),
        System("websocketd", "a Python process for each client", websocketd_command(*child), missing=no_websocketd),
        System("websocketd-cat", "a cat for each client", websocketd_command("cat"), missing=no_websocketd),
        System("daphne", "with Channels", daphne_command, missing=no_daphne),
        System("uvicorn", "with Channels, uvloop", uvicorn_command, missing=no_uvicorn),
        System("nchan", "nginx, one worker", nchan_command, publish_path="/publish", missing=no_nchan),
        System("sendloop", "a bare loop over socket.send", script("sendloop.py")),
        System("floor", "a raw socket and two pipe hops", script("floor.py")),
    ]
    return {system.name: system for system in systems}


def without(*packages: str) -> str:
    """What to say if one of `packages` is not there; empty if all are."""
    absent = [package for package in packages if find_spec(package) is None]
    return f"{' and '.join(absent)} cannot be imported" if absent else ""


def versions() -> dict[str, str]:
    """The version of everything that takes part."""
    found = {}
    for package in ("wshub", "twisted", "autobahn", "websockets", "picows", "uvloop", "uvicorn", "daphne", "channels"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    for package in ("websocketd", "nginx", "libnginx-mod-nchan"):
        command = ["dpkg-query", "--show", "--showformat=${Version}", package]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout
        except (OSError, subprocess.SubprocessError):
            continue
        found[package] = answer
    return found
