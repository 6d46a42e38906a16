"""Imports point strictly downward: the layers of the package, module by module."""

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parent.parent
PACKAGE = CHECKOUT / "wshub"
ARCHITECTURE = CHECKOUT / "docs" / "explanation" / "architecture.md"
PLUGIN = CHECKOUT / "twisted" / "plugins" / "wshub_plugin.py"

LAYERS = {
    0: ["wshub", "wshub.answers", "wshub.arena", "wshub.errors", "wshub.wire", "wshub.service"],
    1: [
        "wshub.accounting",
        "wshub.monitoring.admin_endpoint",
        "wshub.monitoring.authority",
        "wshub.monitoring.description",
        "wshub.door.admission",
        "wshub.sockets.backlog",
        "wshub.processes.pending",
        "wshub.config",
        "wshub.conversion",
        "wshub.processes.confinement",
        "wshub.processes.declared",
        "wshub.sockets.deflate",
        "wshub.sockets.frames",
        "wshub.door.handshake",
        "wshub.sockets.keepalive",
        "wshub.processes.generations",
        "wshub.monitoring.levels",
        "wshub.door.limits",
        "wshub.processes.life",
        "wshub.processes.lifetime",
        "wshub.processes.delivery",
        "wshub.processes.link",
        "wshub.processes.socket",
        "wshub.monitoring.views",
        "wshub.door.origins",
        "wshub.processes.outcome",
        "wshub.processes.outgoing",
        "wshub.door.port_holder",
        "wshub.door.proxies",
        "wshub.door.proxy_protocol",
        "wshub.sockets.rate",
        "wshub.recent",
        "wshub.processes.restart",
        "wshub.routing",
        "wshub.commands.styles",
        "wshub.terminal",
        "wshub.throttle",
    ],
    2: [
        "wshub.monitoring.admin",
        "wshub.door.certificate",
        "wshub.monitoring.admin_pages",
        "wshub.monitoring.console",
        "wshub.door.deadlines",
        "wshub.door.descriptors",
        "wshub.door.first_request",
        "wshub.hub",
        "wshub.monitoring.inspection",
        "wshub.monitoring.logs",
        "wshub.monitoring.metrics",
        "wshub.monitoring.notify",
        "wshub.sockets.factory",
        "wshub.sockets.inbound",
        "wshub.sockets.outbound",
        "wshub.processes.orphans",
        "wshub.processes.pipes",
        "wshub.poller",
        "wshub.door.ports",
        "wshub.processes.process",
        "wshub.monitoring.procfs",
        "wshub.monitoring.reload_page",
        "wshub.resource",
        "wshub.processes.eager",
        "wshub.processes.handover",
        "wshub.processes.idleness",
        "wshub.processes.run",
        "wshub.processes.records",
        "wshub.processes.reloads",
        "wshub.sockets.moving",
        "wshub.processes.supervisor",
        "wshub.tester",
        "wshub.testing",
        "wshub.commands.trial",
        "wshub.processes.warden",
        "wshub.processes.watchdog",
        "wshub.processes.watching",
        "wshub.development",
        "wshub.sockets.websocket",
    ],
    3: ["wshub.__main__", "wshub.cli", "wshub.commands", "wshub.tap"],
}
"""What is below a package's name is in its layer too."""

PACKAGES = {"wshub.door", "wshub.monitoring", "wshub.processes", "wshub.sockets"}
"""What only groups modules, by subject; they may be of any layer."""

SHELL = 2
"""From this layer up there is a reactor."""

ONLY = {
    "cryptography": {"wshub.door.certificate"},
    "prometheus_client": {"wshub.monitoring.metrics"},
    "autobahn": {"wshub.sockets.factory", "wshub.sockets.websocket"},
    "websockets": {"wshub.sockets.frames", "wshub.commands.bench", "wshub.commands.call", "wshub.commands.connection"},
}
"""Distributions that only these modules import."""

IMPURE = {"time", "datetime", "socket", "select", "selectors", "threading", "subprocess", "asyncio"}
"""What layer 1 does without, so that it needs no patience to test."""


def find_modules():
    """Every module of the package with its syntax tree."""
    modules = {}
    for file in sorted(PACKAGE.rglob("*.py")):
        parts = file.relative_to(CHECKOUT).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        modules[name] = ast.parse(file.read_text(), str(file))
    return modules


MODULES = find_modules()


def find_imports(name):
    """The modules that a module imports, wherever in it."""
    for node in ast.walk(MODULES[name]):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name} has a relative import"
            for alias in node.names:
                submodule = f"{node.module}.{alias.name}"
                yield submodule if submodule in MODULES else node.module


def find_layer(name):
    """The layer of a module; the packages of modules of several layers have nothing but a docstring."""
    if name in PACKAGES:
        return 0
    for layer, names in LAYERS.items():
        if any(name == each or (each != "wshub" and name.startswith(f"{each}.")) for each in names):
            return layer
    return pytest.fail(f"{name} is in no layer: add it to LAYERS in {Path(__file__).name}, as low as its imports allow")


def test_every_listed_module_is_there():
    """The table has no module that is gone."""
    assert {each for names in LAYERS.values() for each in names} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_downward(name):
    """A module imports from its own layer and from those below."""
    layer = find_layer(name)
    upward = {each for each in find_imports(name) if each.split(".")[0] == "wshub" and find_layer(each) > layer}
    assert upward == set(), f"{name} is in layer {layer}"


@pytest.mark.parametrize("name", MODULES)
def test_what_comes_from_elsewhere(name):
    """Below the shell there is the standard library alone, and in layer 1 not all of that; the shell has Twisted."""
    layer = find_layer(name)
    allowed = set(sys.stdlib_module_names) | {"wshub"} | {other for other, users in ONLY.items() if name in users}
    if layer >= SHELL:
        allowed |= {"twisted", "zope"}
    if layer == 1:
        allowed -= IMPURE
    assert {each.split(".")[0] for each in find_imports(name)} <= allowed


def test_the_architecture_has_the_layers():
    """The table of layers in the documentation is this one."""
    rows = re.findall(r"^\| (\d): .*\|(.*)\|$", ARCHITECTURE.read_text(), re.MULTILINE)
    listed = {int(layer): set(re.findall(r"`(?:wshub\.)?(\w+)`", cell)) for layer, cell in rows}
    assert listed == {layer: {name.split(".")[-1] for name in names} for layer, names in LAYERS.items()}


def test_no_cycles():
    """No module imports itself by a detour, not even inside a function."""
    graph = {name: {each for each in find_imports(name) if each in MODULES} for name in MODULES}
    try:
        order = list(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"these import each other: {' -> '.join(error.args[1])}")
    assert len(order) == len(MODULES)


def test_who_spawns():
    """spawnProcess is called for services in one module, and for the warden."""
    users = {
        name
        for name, tree in MODULES.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and node.attr == "spawnProcess"
    }
    assert users == {"wshub.processes.process", "wshub.processes.warden"}


def test_only_tap_has_the_global_reactor():
    """The global reactor is imported in one module, and only inside its functions."""
    users = set()
    for name, tree in MODULES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (
                node.module == "twisted.internet.reactor"
                or (node.module == "twisted.internet" and any(alias.name == "reactor" for alias in node.names))
            ):
                users.add(name)
                assert node.col_offset > 0, f"{name} imports the reactor at once, which chooses it for twistd"
            elif isinstance(node, ast.Import):
                assert all(alias.name != "twisted.internet.reactor" for alias in node.names), name
    assert users == {"wshub.tap"}


def test_the_plugin_is_one_service_maker():
    """The plugin file has at most eight lines, and twisted/plugins is no package."""
    assert len(PLUGIN.read_text().splitlines()) <= 8
    assert not list(PLUGIN.parent.parent.rglob("__init__.py"))
