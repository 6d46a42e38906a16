"""The service at /foo/bar. The one at /foo/bar/ is another: see bar/ws_service.py."""

import wshub


class Service(wshub.Service):
    def on_open(self, client):
        client.send("This is /foo/bar.")
