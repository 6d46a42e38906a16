"""The original WebSocketServer's module of the same name, for services that do ``import WebSockets``."""

from wshub.service.queues import WebSocketTransaction

__all__ = ["WebSocketTransaction"]
