"""What of the hub's a service process gets: an environment by allow-list, and limits, which it sets for itself.

The limits go to the process as arguments ``name=value``, because it is there that they are set, before the author's
module is imported (:mod:`wshub.service.confine`): the hub would have to change itself, and back.
"""

import os
import pwd
from collections.abc import Mapping
from dataclasses import dataclass

from wshub.config import Settings
from wshub.errors import ConfigError

ALLOWED = (
    *("PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR"),  # what programs expect
    *("PYTHON*", "VIRTUAL_ENV", "LD_LIBRARY_PATH"),  # the interpreter is the hub's, and has to find the same libraries
    *("SSL_CERT_FILE", "SSL_CERT_DIR"),  # whom to trust: no secret, and nobody finds out why TLS fails without them
    "WSHUB_*",  # the names that are there for services
)
"""The variables of the hub's own that every service gets; ``*`` stands for whatever a name ends with. Not so what is
often a secret: credentials of databases and clouds, of proxies, agents' sockets."""


@dataclass(frozen=True)
class User:
    """Whom services run as."""

    name: str
    uid: int
    gid: int
    groups: tuple[int, ...]
    home: str


@dataclass(frozen=True)
class Confinement:
    """What every service process is started with."""

    environment: dict[str, str]
    arguments: tuple[str, ...]


def make_confinement(settings: Settings, environ: Mapping[str, str]) -> Confinement:
    """What the settings ask for. Raise `ConfigError` if there is no such user, or if that takes a root that is not."""
    user = find_user(settings.service_user) if settings.service_user else None
    return Confinement(make_environment(environ, settings.service_environment, user), make_arguments(settings, user))


def find_user(name: str) -> User:
    """The user called `name`. Raise `ConfigError` if there is none, or if this process cannot become another."""
    if os.geteuid() != 0:
        raise ConfigError("service_user: only a hub that is started as root can run services as another user")
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        raise ConfigError(f"service_user: there is no user {name!r}") from None
    return User(name, entry.pw_uid, entry.pw_gid, tuple(os.getgrouplist(name, entry.pw_gid)), entry.pw_dir)


def make_environment(
    environ: Mapping[str, str], more: tuple[str, ...] = (), user: User | None = None
) -> dict[str, str]:
    """What a service gets of `environ`: what is `ALLOWED`, and `more`, names or ``NAME=value``."""
    patterns = [*ALLOWED, *(each for each in more if "=" not in each)]
    environment = {name: value for name, value in environ.items() if any(matches(name, each) for each in patterns)}
    if user:
        environment |= {"HOME": user.home, "USER": user.name, "LOGNAME": user.name}
    return environment | dict(each.split("=", 1) for each in more if "=" in each)


def matches(name: str, pattern: str) -> bool:
    """Whether a variable's name is `pattern`, or begins with it if that ends in ``*``."""
    return name.startswith(pattern[:-1]) if pattern.endswith("*") else name == pattern


def make_arguments(settings: Settings, user: User | None = None) -> tuple[str, ...]:
    """The limits as the arguments of a service process; numbers in decimal, limits that are 0 left out."""
    limits = {
        "hang_timeout": settings.hang_timeout,
        "umask": settings.service_umask,
        "memory": settings.service_memory or None,
        "processes": settings.service_processes or None,
        "descriptors": settings.service_descriptors or None,
    }
    if user:
        limits |= {"uid": user.uid, "gid": user.gid}
    arguments = tuple(f"{name}={value}" for name, value in limits.items() if value is not None)
    return (*arguments, "groups=" + ",".join(map(str, user.groups))) if user else arguments
