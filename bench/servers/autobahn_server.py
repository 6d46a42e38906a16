# mypy: disable-error-code="no-untyped-call"
"""Plain Autobahn on Twisted's default reactor: what wshub builds on, without a service process."""

import sys
from typing import Any

from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor

subscribers: set[Any] = set()


class Server(WebSocketServerProtocol):
    """One client."""

    def onConnect(self, request: Any) -> None:
        """Note what it is here for."""
        self.bench_is_subscriber = request.path == "/fanout"

    def onOpen(self) -> None:
        """One more."""
        if self.bench_is_subscriber:
            subscribers.add(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        """Echo, or send to everybody, framed once, as Autobahn's own example of a broadcast has it."""
        if self.bench_is_subscriber:
            prepared = self.factory.prepareMessage(payload, isBinary)
            for subscriber in subscribers:
                subscriber.sendPreparedMessage(prepared)
        else:
            self.sendMessage(payload, isBinary)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:
        """One fewer."""
        subscribers.discard(self)


net: Any = reactor
factory = WebSocketServerFactory()
factory.protocol = Server
factory.setProtocolOptions(maxMessagePayloadSize=16 << 20)
net.listenTCP(int(sys.argv[1]), factory, interface="127.0.0.1", backlog=1024)
net.run()
