"""Starts every service once, in a process of its own as the hub would, and says what is wrong.

Each is asked to finish as soon as it is ready, so `on_start` and `on_stop` run, and no client comes. The exit status is
1 if a service does not start, or does not finish.
"""

import argparse
import os
import sys
from dataclasses import replace

from wshub.commands.folder import add_folder_arguments, find_routes, read_settings
from wshub.commands.trial import Outcome, try_service
from wshub.config import Settings
from wshub.processes.confinement import make_confinement
from wshub.routing import ServiceFolder, format_route
from wshub.terminal import CLEAR_LINE, escape, style_for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("services", nargs="*", metavar="PATH", help="which ones, such as /foo/bar (default: all)")
    add_folder_arguments(parser)


def run(arguments: argparse.Namespace) -> int:
    """Check them one after the other; return 1 if anything is wrong."""
    settings = read_settings(arguments)
    settings = replace(settings, service_user=usable_user(settings))
    folder = ServiceFolder(settings.document_root)
    confinement = make_confinement(settings, os.environ)
    routes = find_routes(folder, arguments.services)
    style, failures = style_for(sys.stdout, os.environ), 0
    for number, route in enumerate(routes, 1):
        path = format_route(route)
        progress(f"[{number}/{len(routes)}] {path}")
        outcome = try_service(
            folder.root, path, folder.module(route), confinement, settings.start_timeout, settings.stop_timeout
        )
        progress("")
        if not outcome.problem:
            print(f"{style('ok', 'green')}      {path}  {style(f'{outcome.seconds:.2f} s', 'dim')}", flush=True)
            continue
        failures += 1
        print(f"{style('FAILED', 'red', 'bold')}  {path}: {escape(outcome.problem)}")
        for line in describe(outcome):
            print(f"        {style(line, 'dim')}")
        sys.stdout.flush()
    if not routes:
        print(f"no services in {folder.root}: `wshub new NAME` writes one", file=sys.stderr)
    elif failures:
        print(f"{failures} of {len(routes)} services failed", file=sys.stderr)
    return 1 if failures else 0


def describe(outcome: Outcome) -> list[str]:
    """The lines below a failure: the traceback, and what the service printed."""
    texts = [outcome.traceback if outcome.traceback != outcome.problem else "", outcome.output]
    return [escape(line) for text in texts if text for line in text.rstrip("\n").split("\n")]


def usable_user(settings: Settings) -> str:
    """The user that services run as; only root can have another, and a check by anybody else is better than none."""
    if settings.service_user and os.geteuid() != 0:
        print(f"checking as yourself: only root can run services as {settings.service_user}", file=sys.stderr)
        return ""
    return settings.service_user


def progress(text: str) -> None:
    """Say on a terminal what is being done, in the place of what was said before."""
    if sys.stderr.isatty():
        print(CLEAR_LINE + text, end="", file=sys.stderr, flush=True)
