"""Run a program written for litellm: `python -m headrace.compat.litellm script.py …`, or `-m module …`."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import headrace

USAGE = "usage: python -m headrace.compat.litellm (script.py | -m module) [arguments …]"


def main(arguments: list[str]) -> None:
    headrace.install_as_litellm()
    if arguments[:1] == ["-m"] and len(arguments) > 1:
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    elif arguments and not arguments[0].startswith("-"):
        sys.argv = arguments
        sys.path[0] = str(Path(arguments[0]).resolve().parent)
        runpy.run_path(arguments[0], run_name="__main__")
    else:
        sys.exit(USAGE)


if __name__ == "__main__":
    main(sys.argv[1:])
