"""Writes a service and its test from a template: services/NAME.py and tests/test_NAME.py.

The test passes as it is: run pytest in the folder that has services and tests.
"""

import argparse
import os
import re
import sys
from pathlib import Path

from wshub.commands.folder import parse_path
from wshub.commands.styles import STYLES
from wshub.commands.templates import BY_STYLE, TEST
from wshub.config import DEFAULT_FOLDER
from wshub.errors import ConfigError
from wshub.routing import is_name
from wshub.terminal import style_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("name", metavar="NAME", type=parse_name, help="the path of its URL, such as chat or foo/bar")
    parser.add_argument(
        "--style",
        choices=STYLES,
        default="handlers",
        help="how it is written: plain methods (handlers), coroutines (async), the original's queues (classic)",
    )
    parser.add_argument("-d", "--document-root", metavar="FOLDER", help="folder of services (default: ./services)")


def run(arguments: argparse.Namespace) -> int:
    """Write both files, or neither. Raise `ConfigError`."""
    parts = arguments.name
    given = arguments.document_root
    folder = parse_path("--document-root", given) if given is not None else DEFAULT_FOLDER
    file = folder.joinpath(*parts[:-1], f"{parts[-1]}.py")
    tests = os.path.relpath(os.path.join(os.path.abspath(folder), os.pardir, "tests"))
    test = Path(tests) / f"test_{'_'.join(parts).replace('-', '_')}.py"
    words = {
        "PATH": "/" + "/".join(parts),
        "FOLDER": os.path.basename(os.path.abspath(folder)),
        "FILE": file.relative_to(folder).as_posix(),
    }
    write_new({file: fill(BY_STYLE[arguments.style], words), test: fill(TEST, words)})
    style = style_for(sys.stdout, os.environ)
    for path in (file, test):
        print(f"{style('wrote', 'green')} {path}")
    print(style(f"pytest {test}   tests it; `wshub serve` serves it at /{'/'.join(parts)}", "dim"))
    return 0


def parse_name(text: str) -> list[str]:
    """The segments of the path. Raise `ArgumentTypeError`."""
    parts = text.removeprefix("/").removesuffix(".py").split("/")
    if not all(map(is_name, parts)):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a service: use letters, digits, _ and -, and / between folders"
        )
    return parts


def fill(template: str, words: dict[str, str]) -> str:
    """The template with its words replaced."""
    return re.sub("|".join(words), lambda word: words[word[0]], template)


def write_new(texts: dict[Path, str]) -> None:
    """Write files that must not exist yet, and the folders they are in. Raise `ConfigError`."""
    for path in texts:
        if os.path.lexists(path):
            raise ConfigError(f"{path} exists already: choose another name, or move it away")
    for path, text in texts.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as stream:
                stream.write(text)
        except OSError as error:
            raise ConfigError(f"{path} cannot be written: {error.strerror}") from None
