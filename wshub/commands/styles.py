"""In which style a service is written, by its source alone: nothing of it runs."""

import ast
from dataclasses import dataclass
from pathlib import Path

STYLES = ("handlers", "async", "classic")
"""The three ways to write a service, as the commands call them."""

_BASES = {
    "wshub.Service": "handlers",
    "wshub.service.handlers.Service": "handlers",
    "wshub.AsyncService": "async",
    "wshub.service.coroutines.AsyncService": "async",
    "Services.Service": "classic",
    "wshub.service.queues.ClassicService": "classic",
}


@dataclass(frozen=True)
class Found:
    """What a source says: `style` is one of `STYLES`, or empty, and then `problem` says why."""

    style: str = ""
    problem: str = ""


def read_style(file: Path) -> Found:
    """The style of the service in a file."""
    try:
        source = file.read_bytes()
    except OSError as error:
        return Found(problem=f"cannot be read: {error.strerror}")
    return find_style(source)


def find_style(source: str | bytes) -> Found:
    """The style of the service in a module's source."""
    try:
        tree = ast.parse(source)
    except SyntaxError as error:
        return Found(problem=f"line {error.lineno or 1}: {error.msg}")
    except (ValueError, RecursionError, MemoryError) as error:  # a NUL; what no person writes
        return Found(problem=str(error) or "too deeply nested")
    names = _Names(tree)
    if "Service" not in names.meanings:
        return Found(problem="no class Service")
    if style := names.style_of("Service"):
        return Found(style)
    return Found(problem="its base class is not to be seen here")


class _Names:
    """What the names at the top level of a module stand for: dotted names of elsewhere, or classes with bases."""

    def __init__(self, tree: ast.Module) -> None:
        self.meanings: dict[str, str | list[str]] = {}
        self._read(tree.body)

    def _read(self, statements: list[ast.stmt]) -> None:
        for statement in statements:
            if isinstance(statement, ast.Import):
                for alias in statement.names:
                    self.meanings[alias.asname or alias.name.split(".")[0]] = (
                        alias.name if alias.asname else alias.name.split(".")[0]
                    )
            elif isinstance(statement, ast.ImportFrom):
                for alias in statement.names:
                    self.meanings[alias.asname or alias.name] = f"{statement.module or ''}.{alias.name}"
            elif isinstance(statement, ast.ClassDef):
                self.meanings[statement.name] = [self._resolve(base) for base in statement.bases]
            elif isinstance(statement, ast.Assign):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        self.meanings[target.id] = [self._resolve(statement.value)]
            else:
                for part in ("body", "orelse", "finalbody"):  # of if, try, with
                    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
                        self._read(getattr(statement, part, []))

    def _resolve(self, node: ast.expr) -> str:
        """The dotted name that an expression is, from where it was imported; empty if it is something else."""
        if isinstance(node, ast.Subscript):
            node = node.value  # Generic[T]
        if isinstance(node, ast.Attribute):
            before = self._resolve(node.value)
            return f"{before}.{node.attr}" if before else ""
        if isinstance(node, ast.Name):
            meaning = self.meanings.get(node.id)
            return meaning if isinstance(meaning, str) else node.id
        return ""

    def style_of(self, name: str, seen: frozenset[str] = frozenset()) -> str:
        """The style of the class that a name stands for; empty if that cannot be told."""
        if name in _BASES and name not in self.meanings:
            return _BASES[name]
        meaning = self.meanings.get(name)
        if isinstance(meaning, str):
            return _BASES.get(meaning, "")
        if meaning is None or name in seen:
            return ""
        return next(filter(None, (self.style_of(base, seen | {name}) for base in meaning)), "")
