"""The subcommands of ``wshub``, a module each: see :mod:`wshub.cli`."""
