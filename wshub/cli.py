"""The command ``wshub``: finds the subcommand, runs it, and turns what happens into an exit status.

Each subcommand is a module of `wshub.commands`, with ``add_arguments(parser)`` and ``run(arguments) -> int``, imported
only when it is the one: help comes at once, and nobody waits for Twisted who does not need it. ``serve`` takes the
options of ``twistd wshub``, so they go there as they are.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from importlib import import_module
from types import ModuleType
from typing import NoReturn

from wshub import __version__
from wshub.errors import ConfigError
from wshub.terminal import style_for

FINE, WRONG, USAGE, INTERRUPTED = 0, 1, 2, 130  # 130 is what shells have for SIGINT

COMMANDS = {
    "serve": "run the hub in this terminal, with the options of twistd wshub",
    "dev": "serve a folder of services, and reload what is saved",
    "reload": "let a running hub reload services",
    "routes": "list the services of a folder, and what a hub does with them",
    "check": "start every service once and say what is wrong",
    "new": "write a service and its test from a template",
    "call": "connect to a WebSocket: type lines, see messages",
    "bench": "load a WebSocket echo and measure it",
    "completion": "print a script that completes these commands in a shell",
}
"""The subcommands in the order of the help, with their line in it."""

DESCRIPTION = "Turns a folder of Python files into a hub of WebSocket services: services/foo/bar.py is /foo/bar."
EPILOG = """\
Begin with:
  wshub new hello          writes services/hello.py and tests/test_hello.py
  wshub serve              serves them at http://localhost:12345/
  wshub call /hello        talks to it, from another terminal
  wshub dev                serves them and reloads what you save

Exit status: 0 all is well, 1 a service or a setting is wrong, 2 the command line is, 3 there was no connection,
130 Ctrl-C."""


class Parser(argparse.ArgumentParser):
    """An argparse parser whose mistakes are one line and where to find help; no lists of everything."""

    def error(self, message: str) -> NoReturn:
        """Exit with status 2."""
        self.exit(USAGE, f"{self.prog}: {message} (see {self.prog} --help)\n")


class Formatter(argparse.RawDescriptionHelpFormatter):
    """Leaves texts as they are, and gives the options room."""

    def __init__(self, prog: str) -> None:
        super().__init__(prog, max_help_position=30)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line, that of the process if None is given; return the exit status."""
    words = list(sys.argv[1:] if argv is None else argv)
    try:
        if words[:1] == ["serve"]:
            status: int = load("serve").serve(words[1:])
            return status
        parser = make_parser(words[:1])
        if like := suggest_command(words[:1]):
            parser.error(f"there is no command {words[0]!r}; did you mean {like}?")
        if not words:
            parser.print_help()
            return USAGE
        arguments, unknown = parser.parse_known_args(words)
        if unknown:
            arguments.parser.error(f"unrecognized arguments: {' '.join(unknown)}")
        status = arguments.run(arguments)
        sys.stdout.flush()
        return status
    except ConfigError as error:
        complain(words[0], str(error))
        return WRONG
    except KeyboardInterrupt:
        if sys.stderr.isatty():
            print(file=sys.stderr)  # the terminal has written ^C
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has had enough, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter complains when it exits
        return FINE


def suggest_command(names: Sequence[str]) -> str:
    """The command that a word which is none is like; empty if there is no such word, or nothing is like it."""
    mistakes = [name for name in names if name not in COMMANDS and not name.startswith("-")]
    return "".join(like for name in mistakes for like in get_close_matches(name, COMMANDS, 1))


def make_parser(names: Sequence[str]) -> Parser:
    """The parser. Only the subcommands in `names` have their options: the others' modules are not imported."""
    parser = Parser(
        prog="wshub",
        description=DESCRIPTION,
        epilog=EPILOG,
        formatter_class=Formatter,
        add_help=False,
    )
    parser.add_argument("-h", "--help", action="help", help="show this and exit")
    parser.add_argument("--version", action="version", version=f"wshub {__version__}", help="show the version and exit")
    subparsers = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    for name, line in COMMANDS.items():
        subparser = subparsers.add_parser(name, help=line, formatter_class=Formatter, add_help=False)
        subparser.add_argument("-h", "--help", action="help", help="show this and exit")
        if name in names and name != "serve":
            module = load(name)
            subparser.description = module.__doc__
            subparser.set_defaults(run=module.run, parser=subparser)
            module.add_arguments(subparser)
    return parser


def load(name: str) -> ModuleType:
    """The module of a subcommand."""
    return import_module(f"wshub.commands.{name}")


def complain(command: str, text: str) -> None:
    """Say on stderr what is wrong."""
    style = style_for(sys.stderr, os.environ)
    print(f"wshub {command}: {style(text, 'red')}", file=sys.stderr)
