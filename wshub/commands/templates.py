"""What `wshub new` writes: the same service in each style, and one test for all of them.

``PATH`` stands for the path of the URL, ``FOLDER`` for the name of the folder of services, ``FILE`` for the file in it.
"""

HANDLERS = '''\
"""The service at PATH: everybody gets what anybody sends."""

import wshub


class Service(wshub.Service):
    def on_open(self, client):
        client.send(f"{len(self.clients)} here")

    def on_message(self, client, data):
        self.broadcast(data)
'''

COROUTINES = '''\
"""The service at PATH: everybody gets what anybody sends."""

import wshub


class Service(wshub.AsyncService):
    async def on_open(self, client):
        client.send(f"{len(self.clients)} here")

    async def on_message(self, client, data):
        self.broadcast(data)
'''

CLASSIC = '''\
"""The service at PATH: everybody gets what anybody sends."""

import Services
from WebSockets import WebSocketTransaction as Transaction


class Service(Services.Service):
    def __init__(self, sendQueue, recvQueue):
        super().__init__(sendQueue, recvQueue)
        self.socket_ids = set()

    def run(self):
        while not self.shutdownFlag.is_set():
            transaction = self.recvQueue.get()
            socket_id = transaction.socketId
            if transaction.transactionType == Transaction.NEWSOCKET:
                self.socket_ids.add(socket_id)
                self.send(socket_id, f"{len(self.socket_ids)} here")
            elif transaction.transactionType == Transaction.CLOSE:
                self.socket_ids.remove(socket_id)
            else:
                for each in self.socket_ids:
                    self.send(each, transaction.data)

    def send(self, socket_id, data):
        self.sendQueue.put(Transaction(Transaction.DATA, socket_id, data))
'''

TEST = '''\
"""Tests of the service at PATH."""

from pathlib import Path

from wshub.testing import ServiceTester

SERVICES = Path(__file__).parents[1] / "FOLDER"


def test_messages_reach_everybody():
    with ServiceTester.load(SERVICES / "FILE", root=SERVICES) as service:
        one, other = service.connect(), service.connect()
        assert one.receive() == "1 here"
        assert other.receive() == "2 here"
        one.send("hello")
        assert one.receive() == "hello"
        assert other.receive() == "hello"


def test_who_has_gone_gets_nothing():
    with ServiceTester.load(SERVICES / "FILE", root=SERVICES) as service:
        one, other = service.connect(), service.connect()
        other.close()
        one.send("hello")
        assert other.receive_all() == ["2 here"]
'''

BY_STYLE = {"handlers": HANDLERS, "async": COROUTINES, "classic": CLASSIC}
