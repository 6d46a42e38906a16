"""The original WebSocketServer's event system, inspired by the subscriptions of Knockout."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

TYPE_CHECKING = False  # typing itself would cost every service a megabyte
if TYPE_CHECKING:
    from typing import Any


class Subscribable:
    """Something that others subscribe to with a callback. Override and extend any method."""

    class SubscriptionEvent:
        """An event: an id that the subscribers understand, and data that goes with it."""

        def __init__(self, eventId: Any, data: Any) -> None:
            self.eventId = eventId
            self.data = data

    class Subscriber:
        """A subscribed object and its callback."""

        def __init__(self, obj: Any, callback: Callable[[Any], object]) -> None:
            self.obj = obj
            self.callback = callback

    # On first use rather than in __init__, which a subclass may forget to call.

    @property
    def subscribers(self) -> dict[int, Subscriber]:
        """Those that count, by subscription id."""
        subscribers: dict[int, Subscribable.Subscriber] = self.__dict__.setdefault("_subscribers", {})
        return subscribers

    @property
    def silentSubscribers(self) -> dict[int, Subscriber]:
        """Those that do not count, by subscription id."""
        subscribers: dict[int, Subscribable.Subscriber] = self.__dict__.setdefault("_silent_subscribers", {})
        return subscribers

    def subscribe(self, obj: Any, callback: Callable[[Any], object]) -> int:
        """Subscribe `obj`: `callback` is called with each event. Return the subscription's id."""
        return self._add(self.subscribers, obj, callback)

    def subscribeSilent(self, obj: Any, callback: Callable[[Any], object]) -> int:
        """The same for one that `getNumSubscribers` does not count."""
        return self._add(self.silentSubscribers, obj, callback)

    def unsubscribe(self, subscriptionId: int) -> Any:
        """End a subscription. Return the object that was subscribed, or None if there is no such subscription."""
        for subscribers in (self.subscribers, self.silentSubscribers):
            if subscriptionId in subscribers:
                return subscribers.pop(subscriptionId).obj
        return None

    def getNumSubscribers(self) -> int:
        """How many subscribers there are, silent ones not counted."""
        return len(self.subscribers)

    def sendEvent(self, event: Any) -> None:
        """Call every subscriber, then every silent one, with `event`.

        Subscribers may come and go while it does: one that has gone by its turn is not called, one that has just come
        waits for the next event. What a callback raises goes to the caller, and the rest are not called.
        """
        groups = [
            (subscribers, list(subscribers.items())) for subscribers in (self.subscribers, self.silentSubscribers)
        ]
        for subscribers, at_first in groups:
            for subscription, subscriber in at_first:
                if subscription in subscribers:
                    subscriber.callback(event)

    def _add(self, subscribers: dict[int, Subscriber], obj: Any, callback: Callable[[Any], object]) -> int:
        subscription: int = next(self.__dict__.setdefault("_subscription_ids", count()))
        subscribers[subscription] = self.Subscriber(obj, callback)
        return subscription
