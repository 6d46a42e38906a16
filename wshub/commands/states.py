"""What the services of a folder are doing, as the hub that serves them on this machine says."""

import http.client
import json
import ssl
from dataclasses import dataclass

from wshub.config import Settings
from wshub.errors import ConfigError

PATIENCE = 2.0  # seconds, for a hub that is on this machine
EVERYWHERE = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "::1"}


@dataclass(frozen=True)
class Doing:
    """What one service is doing."""

    state: str
    """In the words of the reference: ``idle``, ``running`` and so on."""
    clients: int


def find_port(settings: Settings, port: str | None) -> str:
    """The port number at which the hub listens: that of the command line, else the first of the settings.

    Empty if the settings have none but descriptions of endpoints. Raise `ConfigError` if `port` is no number.
    """
    if port is None:
        return next((each for each in settings.port if each.isdecimal()), "")
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise ConfigError(f"--port: {port} is not a port: choose one from 1 to 65535")
    return port


def ask_hub(settings: Settings, port: str) -> dict[str, Doing] | None:
    """What the hub at a port says of each service, by path; None if no hub answers there."""
    host = EVERYWHERE.get(settings.host, settings.host)
    connection: http.client.HTTPConnection
    if settings.tls_cert:
        anybody = ssl._create_unverified_context()  # it is this machine, whatever name its certificate has
        connection = http.client.HTTPSConnection(host, int(port), timeout=PATIENCE, context=anybody)
    else:
        connection = http.client.HTTPConnection(host, int(port), timeout=PATIENCE)
    try:
        connection.request("GET", "/_wshub/services.json")
        services = json.loads(connection.getresponse().read())["services"]
        return {each["path"]: Doing(str(each["state"]), int(each["clients"])) for each in services}
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return None
    finally:
        connection.close()
