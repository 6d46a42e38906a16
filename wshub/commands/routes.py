"""Lists the services of a folder: URL, style, file, and what a hub on this machine is doing with them.

The files are read and not run, so this is safe in any folder; `wshub check` starts them.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass

from wshub.commands.folder import add_folder_arguments, read_settings
from wshub.commands.states import Doing, ask_hub, find_port
from wshub.commands.styles import Found, read_style
from wshub.routing import ServiceFolder, format_route
from wshub.terminal import escape, format_table, style_for


@dataclass(frozen=True)
class Line:
    """One service."""

    path: str
    file: str
    found: Found
    doing: Doing | None
    """None if no hub says."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_folder_arguments(parser)
    parser.add_argument("-p", "--port", help="port of the hub that serves the folder (default: that of FILE, or 12345)")
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the list; the status is 0 whatever the files are like. Raise `ConfigError`."""
    settings = read_settings(arguments)
    folder, port = ServiceFolder(settings.document_root), find_port(settings, arguments.port)
    files = {format_route(route): folder.module(route) for route in sorted(folder.routes())}
    doing, said = None, ""
    if port:
        doing = ask_hub(settings, port)
        if doing is None:
            said = f"no hub answers at port {port}: what the services are doing is not known"
        elif doing.keys() != files.keys():
            doing, said = None, f"the hub at port {port} serves other services than these"
    lines = [
        Line(path, str(file.relative_to(folder.root)), read_style(file), doing[path] if doing else None)
        for path, file in files.items()
    ]
    if arguments.json:
        print(json.dumps([as_json(line) for line in lines], indent=2))
    elif lines:
        print_table(lines)
    else:
        said = f"no services in {folder.root}: `wshub new NAME` writes one"
    if said and not arguments.json:
        print(style_for(sys.stderr, os.environ)(said, "dim"), file=sys.stderr)
    return 0


def print_table(lines: list[Line]) -> None:
    """Print them as a table, with what is wrong at the end of a line."""
    style = style_for(sys.stdout, os.environ)
    table = [
        (line.path, line.found.style or "?", *(describe(line.doing) if line.doing else ()), escape(line.file))
        for line in lines
    ]
    states = ("STATE", "CLIENTS") if lines[0].doing else ()
    heading, *rows = format_table(("URL", "STYLE", *states, "FILE"), table)
    print(style(heading, "bold"))
    for row, line in zip(rows, lines, strict=True):
        print(row + (style(f"  ({escape(line.found.problem)})", "yellow") if line.found.problem else ""))


def describe(doing: Doing) -> tuple[str, str]:
    """What a service is doing, as two cells."""
    return escape(doing.state), str(doing.clients)


def as_json(line: Line) -> dict[str, str | int | None]:
    """One service as the JSON list has it."""
    return {
        "path": line.path,
        "file": line.file,
        "style": line.found.style or None,
        "problem": line.found.problem or None,
        "state": line.doing.state if line.doing else None,
        "clients": line.doing.clients if line.doing else None,
    }
