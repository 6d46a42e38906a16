"""The peers' servers: each echoes at ``/echo`` and sends every message to everybody at ``/fanout``."""
