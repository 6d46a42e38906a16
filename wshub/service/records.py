"""What a service says by Python's `logging` reaches the hub's log with its level.

Only a module that has imported `logging` itself gets this: it would cost every other service its memory.
"""

import logging
import sys

NUMBERS = ((logging.CRITICAL, 2), (logging.ERROR, 3), (logging.WARNING, 4), (logging.INFO, 6))
"""Syslog's number of each level and of what lies above it; what is below has 7 (RFC 5424, section 6.2.1)."""


class HubHandler(logging.Handler):
    """Writes each line of a record to stderr, with the number of its level before it: see `wshub.monitoring.levels`."""

    def emit(self, record: logging.LogRecord) -> None:
        """Called by `logging`, one record at a time."""
        try:
            number = next((number for level, number in NUMBERS if record.levelno >= level), 7)
            lines = self.format(record).split("\n")
            sys.stderr.write("".join(f"<{number}>{line}\n" for line in lines))
        except Exception:
            self.handleError(record)


def send_records_to_hub() -> None:
    """Give the root logger a handler that does, from INFO on, unless the author has made arrangements of his own."""
    root = logging.getLogger()
    if root.handlers:
        return
    handler = HubHandler()
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    root.addHandler(handler)
    if root.level == logging.WARNING:  # what it is unless somebody says otherwise
        root.setLevel(logging.INFO)
