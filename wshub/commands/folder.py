"""What the commands that look at a folder of services have in common."""

import argparse
from dataclasses import replace
from pathlib import Path

from wshub.config import Settings, make_settings
from wshub.conversion import parse_folder
from wshub.errors import ConfigError, ServiceNotFound
from wshub.routing import Route, ServiceFolder, parse_route, split_path


def add_folder_arguments(parser: argparse.ArgumentParser) -> None:
    """The options that say which folder."""
    parser.add_argument(
        "-d",
        "--document-root",
        metavar="FOLDER",
        help="folder of services (default: ./services, else the packaged examples)",
    )
    parser.add_argument("-c", "--config", metavar="FILE", help="TOML file of settings, as the hub reads it")


def read_settings(arguments: argparse.Namespace) -> Settings:
    """The settings that these options ask for. Raise `ConfigError`."""
    options = {}
    if arguments.document_root is not None:
        options["document_root"] = parse_path("--document-root", arguments.document_root)
    settings = make_settings(options, parse_path("--config", arguments.config) if arguments.config else None)
    return replace(settings, document_root=settings.document_root.resolve())


def parse_path(option: str, text: str) -> Path:
    """The path that an option has. Raise `ConfigError`."""
    try:
        return parse_folder(text)
    except ValueError as error:
        raise ConfigError(f"{option} {error}") from None


def find_routes(folder: ServiceFolder, paths: list[str]) -> list[Route]:
    """The routes that are written as `paths`, or all; in the order of their names. Raise `ConfigError`."""
    if not paths:
        return sorted(folder.routes())
    routes = []
    for path in paths:
        try:
            route = parse_route(split_path(path.encode()))
            folder.module(route)
        except ServiceNotFound:
            raise ConfigError(f"there is no service {path!r} in {folder.root}: `wshub routes` lists them") from None
        routes.append(route)
    return routes
