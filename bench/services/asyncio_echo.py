"""Echo with coroutines."""

import wshub


class Service(wshub.AsyncService):
    async def on_message(self, client, data):
        client.send(data)
