"""The original WebSocketServer's module of the same name, for services that do ``import Services``."""

from wshub.service.queues import ClassicService as Service
from wshub.service.subscribable import Subscribable

__all__ = ["Service", "Subscribable"]
