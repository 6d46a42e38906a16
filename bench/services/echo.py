"""Echo with handlers."""

import wshub


class Service(wshub.Service):
    def on_message(self, client, data):
        client.send(data)
