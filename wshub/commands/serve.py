"""Runs the hub in this terminal: what ``twistd -n wshub`` does, with the same options, and without a pid file."""

import sys
from collections.abc import Sequence
from typing import Any

from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from wshub.errors import ConfigError
from wshub.tap import Options, run_in_foreground


class ServeOptions(Options):
    """The same options under another name."""

    command = "wshub serve"
    synopsis = "Usage: wshub serve [options]"

    def parseOptions(self, options: Any = None) -> None:
        """Parse. At a mistake raise `ConfigError` if it is a setting's, else exit with status 2."""
        try:
            UsageOptions.parseOptions(self, options)
        except UsageError as error:
            if isinstance(error.__cause__, ConfigError):
                raise error.__cause__ from None
            print(f"{self.command}: {error} (see {self.command} --help)", file=sys.stderr)
            raise SystemExit(2) from None


def serve(words: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM; return the exit status. Say what is wrong and return 1 if something is."""
    options = ServeOptions()
    options.parseOptions(list(words))
    return run_in_foreground(options, sys.stdout)
