# mypy: disable-error-code="import-untyped"
"""An ASGI application of Django Channels, for Daphne and uvicorn, with the in-memory layer."""

import django
from django.conf import settings

LAYER = {"BACKEND": "channels.layers.InMemoryChannelLayer", "CONFIG": {"capacity": 10_000}}
settings.configure(CHANNEL_LAYERS={"default": LAYER}, LOGGING_CONFIG=None, SECRET_KEY="unused", ALLOWED_HOSTS=["*"])
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402 - Django has to be set up first
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from django.urls import path  # noqa: E402


class Echo(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Sends every message back."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A message."""
        await self.send(text_data, bytes_data)


class Fanout(AsyncWebsocketConsumer):  # type: ignore[misc]
    """Sends every message to everybody."""

    groups = ("everybody",)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """A message from the publisher."""
        await self.channel_layer.group_send("everybody", {"type": "publish", "text": text_data, "bytes": bytes_data})

    async def publish(self, event: dict[str, str | bytes | None]) -> None:
        """A message from the group."""
        await self.send(event["text"], event["bytes"])


urls = [path("echo", Echo.as_asgi()), path("fanout", Fanout.as_asgi())]
application = ProtocolTypeRouter({"websocket": URLRouter(urls)})
