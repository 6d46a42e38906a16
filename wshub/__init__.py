"""wshub: a folder of Python files becomes a hub of WebSocket services.

Drop ``services/foo/bar.py`` with a ``class Service`` into a folder, and ``ws://host:12345/foo/bar`` is a WebSocket
service: one supervised process that serves every client of that URL. ``twistd wshub --port 12345`` runs the hub.

This module is imported by every service process, so it imports nothing itself: the names below arrive on first use.

==================  ==============================================================================================
`Service`           base class of a service written with handlers: ``on_open``, ``on_message``, ``on_close``
`AsyncService`      the same hooks as coroutines, on asyncio
`Client`            one connected client, as a service sees it
`Sent`              what became of a message to a client, as far as a service can know
`Request`           a client that wants to connect; `Accept` and `Refuse` are the answers to it
`Subscribable`      the event system of classic services: subscribe, unsubscribe, sendEvent
==================  ==============================================================================================
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = [
    "Accept",
    "AsyncService",
    "Client",
    "Refuse",
    "Request",
    "Sent",
    "Service",
    "Subscribable",
    "__version__",
]

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any

    from wshub.service.client import Client, Sent
    from wshub.service.coroutines import AsyncService
    from wshub.service.handlers import Service
    from wshub.service.request import Accept, Refuse, Request
    from wshub.service.subscribable import Subscribable

_HOMES = {
    "Accept": "wshub.service.request",
    "AsyncService": "wshub.service.coroutines",
    "Client": "wshub.service.client",
    "Refuse": "wshub.service.request",
    "Request": "wshub.service.request",
    "Sent": "wshub.service.client",
    "Service": "wshub.service.handlers",
    "Subscribable": "wshub.service.subscribable",
}


def __getattr__(name: str) -> Any:
    """Import the public name on first use (PEP 562): a handler service never pays for asyncio."""
    try:
        home = _HOMES[name]
    except KeyError:
        raise AttributeError(f"module 'wshub' has no attribute {name!r}") from None
    from importlib import import_module  # noqa: PLC0415 - see the module's docstring

    value = getattr(import_module(home), name)
    globals()[name] = value
    return value
