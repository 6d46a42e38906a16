"""Lists the services of a folder: URL, style and file.

The files are read and not run, so this is safe in any folder; `wshub check` starts them.
"""

import argparse
import json
import os
import sys

from wshub.commands.folder import add_folder_arguments, read_settings
from wshub.commands.styles import Found, read_style
from wshub.routing import ServiceFolder, format_route
from wshub.terminal import escape, format_table, style_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add_folder_arguments(parser)
    parser.add_argument("--json", action="store_true", help="print a JSON list of objects instead of a table")


def run(arguments: argparse.Namespace) -> int:
    """Print the list; the status is 0 whatever the files are like."""
    folder = ServiceFolder(read_settings(arguments).document_root)
    found = [(route, folder.module(route)) for route in sorted(folder.routes())]
    services = [(format_route(route), str(file.relative_to(folder.root)), read_style(file)) for route, file in found]
    if arguments.json:
        print(json.dumps([as_json(*service) for service in services], indent=2))
        return 0
    style = style_for(sys.stdout, os.environ)
    if not services:
        print(f"no services in {folder.root}: `wshub new NAME` writes one", file=sys.stderr)
        return 0
    heading, *lines = format_table(
        ("URL", "STYLE", "FILE"), [(path, found.style or "?", escape(file)) for path, file, found in services]
    )
    print(style(heading, "bold"))
    for line, (_, _, found_style) in zip(lines, services, strict=True):
        print(line + (style(f"  ({escape(found_style.problem)})", "yellow") if found_style.problem else ""))
    return 0


def as_json(path: str, file: str, found: Found) -> dict[str, str | None]:
    """One service as the JSON list has it."""
    return {"path": path, "file": file, "style": found.style or None, "problem": found.problem or None}
