"""Which services are to run before anybody asks for them, found without running them.

The hub never imports a service's module, and a process of its own only to find out what a class declares would start
what nobody has asked for. So ``lifetime = "eager"`` is read from the source, where it has to be a plain assignment.
"""

import ast
from pathlib import Path

from wshub.wire import LIFETIMES

MAX_SOURCE = 1 << 20  # bytes; a larger file is data, and not read for this


def read_lifetime(source: str) -> str:
    """What the class ``Service`` of a module declares as its `lifetime`; ``lazy`` if nothing that can be read."""
    try:
        module = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return LIFETIMES[0]  # whoever asks for it is told
    for node in module.body:
        if isinstance(node, ast.ClassDef) and node.name == "Service":
            for statement in node.body:
                value = _assigned(statement)
                if isinstance(value, ast.Constant) and value.value in LIFETIMES:
                    return str(value.value)
    return LIFETIMES[0]


def is_eager(module: Path) -> bool:
    """Whether the service in this file is to be started with the hub."""
    try:
        if module.stat().st_size > MAX_SOURCE:
            return False
        return read_lifetime(module.read_text()) == "eager"
    except (OSError, UnicodeDecodeError):
        return False


def _assigned(statement: ast.stmt) -> ast.expr | None:
    """The value of ``lifetime = ...``, with or without an annotation."""
    if isinstance(statement, ast.Assign):
        targets, value = statement.targets, statement.value
    elif isinstance(statement, ast.AnnAssign) and statement.value is not None:
        targets, value = [statement.target], statement.value
    else:
        return None
    return value if any(isinstance(each, ast.Name) and each.id == "lifetime" for each in targets) else None
