"""Every message goes to everybody."""

import wshub


class Service(wshub.Service):
    def on_message(self, client, data):
        self.broadcast(data)
