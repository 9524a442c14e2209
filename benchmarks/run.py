"""Lists the benchmarks and their commands: `make bench`."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent


def commands() -> list[tuple[str, str]]:
    """Every benchmark's module, and the first line of its docstring."""
    found = []
    for path in sorted(HERE.glob("*/*.py")):
        source = path.read_text()
        if path.parent.name == "common" or '__name__ == "__main__"' not in source or path.stem == "worker":
            continue
        module = f"benchmarks.{path.parent.name}" + ("" if path.stem == "__main__" else f".{path.stem}")
        said = (ast.get_docstring(ast.parse(source)) or "").partition("\n")[0]
        found.append((module, said.partition(": ")[2] or said))
    return found


def main() -> int:
    listed = commands()
    width = max(len(module) for module, _ in listed)
    for module, said in listed:
        print(f"  .venv/bin/python -m {module:<{width}}  {said}")
    print("Each takes --help; most take --quick. Each peer has its own environment under .peers/, created when it is first needed.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
