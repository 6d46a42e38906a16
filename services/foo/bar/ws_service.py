"""The service at /foo/bar/, with a slash at the end: the service of the folder foo/bar."""

import wshub


class Service(wshub.Service):
    def on_open(self, client):
        client.send("This is /foo/bar/, the folder's own service.")
