"""Generates type stubs under litellm's names, from the table of what headrace offers there: `python -m tools.litellm_stubs`.

Type checkers do not run import hooks. With these stubs they resolve `from litellm import Router` to headrace's class.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

from headrace.compat.litellm.globals import DEFAULTS
from headrace.compat.litellm.names import NAMES, PATHS, home_of

STUBS: Final = Path(__file__).resolve().parents[1] / "src" / "litellm-stubs"
ALL: Final = "_names"
"""The module that contains every name."""

_REST: Final = "\ndef __getattr__(name: str) -> Any: ...\n"


def files() -> dict[str, str]:
    """The text of each file by its path below `STUBS`."""
    packages = {path.rpartition(".")[0] for path in PATHS}
    found = {"py.typed": "partial\n", f"{ALL}.pyi": _exports({name: home_of("litellm", name) or ("", "") for name in NAMES})}
    for path in PATHS:
        inner = path.removeprefix("litellm").removeprefix(".").replace(".", "/")
        name = f"{inner}/__init__.pyi".removeprefix("/") if path in packages else f"{inner}.pyi"
        found[name] = _module(path)
    return found


def _module(path: str) -> str:
    if path == "litellm":
        settings = "".join(f"{name}: Any\n" for name in sorted(DEFAULTS))
        return f"from typing import Any\n\nfrom litellm.{ALL} import *\n\n{settings}{_REST}"
    if PATHS[path] == ("*",):
        return f"from typing import Any\n\nfrom litellm.{ALL} import *\n{_REST}"
    homes = {name: home for name in PATHS[path] if (home := home_of(path, name)) is not None}
    return f"from typing import Any\n\n{_exports(homes)}{_REST}"


def _exports(homes: Mapping[str, tuple[str, str]]) -> str:
    lines = [f"from {home} import {attribute} as {name}\n" for name, (home, attribute) in sorted(homes.items())]
    hidden = [name for name in sorted(homes) if name.startswith("_")]
    return "".join(lines) + ("\n__all__ = [" + ", ".join(f'"{name}"' for name in sorted(homes)) + "]\n" if hidden else "")


def main() -> None:
    for name, text in files().items():
        path = STUBS / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
