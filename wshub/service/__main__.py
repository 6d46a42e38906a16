"""A service process: ``python -P -m wshub.service ROOT ROUTE MODULE [NAME=VALUE ...]``.

The hub starts it with its pipes in place. It says READY once the first client may come, or FAILED and why there will be
none, and serves until the hub closes the pipe. Its exit status is then 0; 1 if it never got ready. stdout and stderr
are the author's own: the hub logs them. NAME=VALUE are limits (`wshub.service.confine`), the hub's `hang_timeout`, and
``arena=yes`` where there is memory that is shared with the hub (`wshub.arena`).
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Callable
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from types import ModuleType

from wshub.arena import ARENA_FD, map_for_good
from wshub.service.base import HookedService
from wshub.service.channel import Channel
from wshub.service.confine import confine
from wshub.service.declare import declare, imported_files
from wshub.service.fresh import FreshLoader, import_freshly
from wshub.service.watcher import Watcher, end_with
from wshub.wire import FAILED, FROM_HUB, MAX_TRACEBACK, READY, TO_HUB
from wshub.wire.payloads import encode_ready

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any


def main(root: str, route: str, module_file: str, *options: str) -> int:
    """Run the service whose class is in `module_file`; return the exit status. `options` are ``name=value``."""
    os.setsid()  # a Ctrl-C in the hub's terminal is for the hub, and the whole group can be ended at once
    for fd in (FROM_HUB, TO_HUB):
        os.set_inheritable(fd, False)  # no program that the service starts can hold them open, or say anything
    given = dict(option.split("=", 1) for option in options)
    hub, own, channel, is_ready = os.getppid(), os.getpid(), Channel(), False
    os.register_at_fork(after_in_child=channel.begin_anew)
    pipes = list(map(os.fstat, (FROM_HUB, TO_HUB)))

    def on_ready() -> None:
        nonlocal is_ready
        is_ready = True
        channel.post(READY, 0, encode_ready(declared))
        channel.flush()
        if hang_timeout := float(declared["hang_timeout"]):
            watcher.begin_heartbeats(hang_timeout)

    try:
        if "arena" in given:
            channel.share(*map_for_good(ARENA_FD))
        confine(given)
        watcher = Watcher(channel, hub)
        os.chdir(root)
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")  # type: ignore[union-attr]
        put_on_path(root)
        import_freshly(root)
        serve, cls = load(module_file, "services" + route.replace("/", "."), channel)
        if "logging" in sys.modules:  # the author's module uses it, or something that it imports
            from wshub.service.records import send_records_to_hub  # noqa: PLC0415 - imports logging

            send_records_to_hub()
        declared = declare(cls, float(given.get("hang_timeout", 0)))
        if files := imported_files(root, module_file):
            declared["files"] = files
        check_pipes(pipes)
        gc.freeze()  # what is here now stays: later collections need not look at it again
        serve(on_ready)
    except BaseException:  # SystemExit too: a service that exits while it starts does not start
        if is_ready or os.getpid() != own:
            raise
        channel.post(FAILED, 0, format_traceback())
        channel.flush()
        return 1
    finally:
        gc.unfreeze()  # at its end Python ends what it finds: a file that the module has open is written, and closed
        if os.getpid() == own:  # and not a process that was forked, whose parent is no hub: it may end like any other
            end_with(hub)
    return 0


def check_pipes(pipes: list[os.stat_result]) -> None:
    """Raise `RuntimeError` if the module has closed a pipe: the next file that it opens would take the pipe's place."""
    for fd, pipe in zip((FROM_HUB, TO_HUB), pipes, strict=True):
        try:
            is_there = os.path.samestat(os.fstat(fd), pipe)
        except OSError:
            is_there = False
        if not is_there:
            raise RuntimeError(f"the module has closed descriptor {fd}, a pipe to the hub: leave 3 and 4 alone")


def load(module_file: str, name: str, channel: Channel) -> tuple[Callable[[Callable[[], None]], None], object]:
    """Import the module and make its Service. Return what serves, and whose attributes say what it declares."""
    module = import_file(module_file, name)
    cls = getattr(module, "Service", None)
    if cls is None:
        raise TypeError(f"{module_file} has no class Service")
    if isinstance(cls, type) and issubclass(cls, HookedService):
        service = cls()
        service._begin(channel)
        return service._serve, service
    queues = sys.modules.get("wshub.service.queues")  # only a module that imported it can have derived from it
    if queues and isinstance(cls, type) and issubclass(cls, queues.ClassicService):
        return load_classic(cls, queues, channel), cls
    raise TypeError(
        f"class Service in {module_file} must be derived from wshub.Service, wshub.AsyncService or Services.Service"
    )


def load_classic(cls: Any, queues: Any, channel: Channel) -> Callable[[Callable[[], None]], None]:
    """Make a classic Service, with its queues."""
    queues.let_threads_end_quietly()
    receive_queue = queues.ReceiveQueue(channel, queues.ShutdownFlag())
    os.register_at_fork(after_in_child=receive_queue._ready.clear)  # they are for this process to serve
    send_queue = queues.SendQueue(channel, receive_queue)
    service = cls(send_queue, receive_queue)

    def serve(on_ready: Callable[[], None]) -> None:
        on_ready()
        try:
            service.run()
        except queues.ShutDown:
            pass  # it was waiting for a transaction when the end came
        channel.flush()

    return serve


def import_file(file: str, name: str) -> ModuleType:
    """Import one file under a name that no other module has."""
    spec = spec_from_file_location(name, file, loader=FreshLoader(name, file))
    assert spec is not None
    assert spec.loader is not None
    package = name.partition(".")[0]
    if package not in sys.modules and find_spec(package) is None:
        sys.modules[package] = ModuleType(package)  # pickle imports it on the way to the classes of the module
    module = sys.modules[name] = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_on_path(root: str) -> None:
    """Let services import what lies beside them.

    `root` goes after the standard library, so that a service called ``json`` breaks nobody's ``import json``, and
    before everything that is installed.
    """
    installed = (i for i, entry in enumerate(sys.path) if entry.endswith(("site-packages", "dist-packages")))
    sys.path.insert(next(installed, len(sys.path)), root)
    sys.path.append(os.path.join(os.path.dirname(__file__), "classic"))


def format_traceback() -> bytes:
    """The traceback of the current exception, from the frame where the author's code begins."""
    import traceback  # noqa: PLC0415 - 2 ms that most processes never need

    kind, error, frames = sys.exc_info()
    own = (os.path.dirname(__file__) + os.sep, os.path.join(os.path.dirname(os.__file__), "asyncio", ""))
    while frames and _is_ours(frames.tb_frame.f_code.co_filename, own):
        frames = frames.tb_next
    text = "".join(traceback.format_exception(kind, error, frames))
    return text.encode(errors="backslashreplace")[-MAX_TRACEBACK:]


def _is_ours(filename: str, own: tuple[str, ...]) -> bool:
    return filename.startswith((*own, "<frozen importlib"))


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
