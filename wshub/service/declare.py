"""What a service's class declares, checked where its author gets to see what is wrong: for READY, or for FAILED."""

from __future__ import annotations

import os
import sys

from wshub.service.base import HookedService
from wshub.wire import LIFETIMES, RESTARTS, SLOW_CLIENTS


def declare(service: object, hang_timeout: float) -> dict[str, str]:
    """The lines of READY for a service, or for its class; `hang_timeout` is the hub's, in seconds.

    Raise `TypeError` or `ValueError` at what cannot be declared. A method of one of these names declares nothing:
    classic services may have one.
    """
    declared = {"subprotocols": declared_subprotocols(service)}
    restart = getattr(service, "restart", "transient")
    if not callable(restart):
        if restart not in RESTARTS:
            raise ValueError(f"restart must be one of {', '.join(RESTARTS)}, not {restart!r}")
        declared["restart"] = restart
    if isinstance(service, HookedService) and service._wants_requests():
        declared["on_request"] = "yes"
    lifetime = getattr(service, "lifetime", "lazy")  # the hub reads it from the source: here it is only checked
    if not callable(lifetime) and lifetime not in LIFETIMES:
        raise ValueError(f"lifetime must be one of {', '.join(LIFETIMES)}, not {lifetime!r}")
    resumes = getattr(service, "resumes", False)
    if not callable(resumes):
        if not isinstance(resumes, bool):
            raise ValueError(f"resumes must be True or False, not {resumes!r}")
        if resumes:
            declared["resumes"] = "yes"
    slow_clients = getattr(service, "slow_clients", "close")
    if not callable(slow_clients):
        if slow_clients not in SLOW_CLIENTS:
            raise ValueError(f"slow_clients must be one of {', '.join(SLOW_CLIENTS)}, not {slow_clients!r}")
        if slow_clients != "close":
            declared["slow_clients"] = slow_clients
    own = declared_seconds(service, "hang_timeout")
    declared["hang_timeout"] = str(hang_timeout if own is None else own)
    idle_timeout = declared_seconds(service, "idle_timeout")
    if idle_timeout is not None:
        declared["idle_timeout"] = str(idle_timeout)
    return declared


def imported_files(root: str, module_file: str) -> str:
    """The files of all modules that were imported from `root`, but the service's own, by name below that, for READY."""
    prefix = os.path.join(root, "")
    files = (getattr(module, "__dict__", {}).get("__file__") for module in list(sys.modules.values()))
    inside = {file.removeprefix(prefix) for file in files if isinstance(file, str) and file.startswith(prefix)}
    inside.discard(module_file.removeprefix(prefix))
    return "\t".join(sorted(name for name in inside if name.isprintable()))


def declared_seconds(service: object, name: str) -> float | None:
    """A time that a service declares; None if it does not."""
    seconds = getattr(service, name, None)
    if seconds is None or callable(seconds):
        return None
    if not isinstance(seconds, int | float) or isinstance(seconds, bool) or not 0 <= seconds < float("inf"):
        raise ValueError(f"{name} must be a number of seconds, or 0 for never, not {seconds!r}")
    return float(seconds)


def declared_subprotocols(service: object) -> str:
    """What a service's `subprotocols` are, for READY. Raise `TypeError` at what is not a sequence of tokens."""
    names = getattr(service, "subprotocols", ())
    if not isinstance(names, tuple | list) or not all(isinstance(name, str) and _is_token(name) for name in names):
        raise TypeError(f"subprotocols must be a tuple of names without spaces or commas, not {names!r}")
    return ",".join(names)


def _is_token(name: str) -> bool:
    return name.isascii() and name.isprintable() and not set(name) & set(' "(),/:;<=>?@[\\]{}') and bool(name)
