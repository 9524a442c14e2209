"""The imports in headrace's source, read from its syntax trees without importing it."""

from __future__ import annotations

import ast
import gc
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "src" / "headrace"


@dataclass(frozen=True)
class Import:
    """One import of a module by another."""

    importer: str
    imported: str
    line: int
    late: bool
    """Whether it is inside a function and runs when that is called."""
    typing: bool
    """Whether it is under `if TYPE_CHECKING` and never runs."""
    explained: bool
    """Whether there is a comment on the line or on the one above it."""

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


@cache
def imports() -> tuple[Import, ...]:
    return tuple(found for name, path in modules().items() for found in read(name, path.read_text("utf-8")))


def read(name: str, text: str) -> list[Import]:
    """Every import of module `name` with the source `text`. Names imported from a package count as modules if they are."""
    lines = text.splitlines()
    found = []
    called = "import_module" in text or "__import__" in text
    for node, late, typing in walk(parsed(text), late=False, typing=False, called=called):
        explained = any("#" in line for line in lines[max(0, node.lineno - 2) : node.end_lineno or node.lineno])
        found += [Import(name, target, node.lineno, late, typing, explained) for target in targets(node)]
    return found


def parsed(text: str) -> ast.Module:
    """Parse without garbage collection: finalizing objects of other tests during a parse makes CPython 3.11 raise SystemError."""
    gc.disable()
    try:
        return ast.parse(text)
    finally:
        gc.enable()


def walk(tree: ast.AST, *, late: bool, typing: bool, called: bool) -> Iterator[tuple[ast.stmt | ast.expr, bool, bool]]:
    """called: whether to look for calls that import, which may be inside expressions."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import | ast.ImportFrom | ast.Call):
            yield node, late, typing
        if isinstance(node, ast.expr) and not called:
            continue
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        guard = isinstance(node, ast.If) and last_name(node.test) == "TYPE_CHECKING"
        yield from walk(node, late=late or inside, typing=typing or guard, called=called)


def last_name(node: ast.expr) -> str:
    """`c` of `a.b.c`; "" for anything that is not a name."""
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def targets(node: ast.stmt | ast.expr) -> list[str]:
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        assert node.module is not None, "imports are written out in full: `from . import x` hides where x lives"
        assert node.level == 0, "imports are written out in full: no leading dots"
        members = [f"{node.module}.{alias.name}" for alias in node.names]
        submodules = [member for member in members if member in modules()]
        return submodules if len(submodules) == len(members) else [node.module, *submodules]
    if isinstance(node, ast.Call) and last_name(node.func) in ("import_module", "__import__"):
        return [arg.value for arg in node.args[:1] if isinstance(arg, ast.Constant) and isinstance(arg.value, str)]
    return []
