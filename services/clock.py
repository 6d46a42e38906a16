"""Tells everybody the time, once a second: a service with coroutines."""

import time

import wshub


class Service(wshub.AsyncService):
    async def on_start(self):
        self.call_every(1, self.tick)

    async def on_open(self, client):
        client.send(time.strftime("%H:%M:%S"))

    async def tick(self):
        self.broadcast(time.strftime("%H:%M:%S"))
