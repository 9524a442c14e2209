"""The `headrace` command. This package itself loads nothing, so that it can say what is missing."""

from __future__ import annotations

import io
import sys
from importlib.util import find_spec

MISSING = 'headrace: the command line needs two more packages: pip install "headrace[cli]"'


def installed() -> bool:
    return find_spec("click") is not None and find_spec("rich") is not None


def main() -> None:
    """Run the command line on the program's arguments and exit: 0 done, 1 the call failed, 2 bad usage, 130 interrupted."""
    if not installed():
        sys.exit(_missing())
    from headrace.cli.app import run  # late: it imports click and rich, which the library alone does not bring

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")  # a terminal that cannot show a character shows a question mark
    sys.exit(run(sys.argv[1:]))


def _missing() -> int:
    print(MISSING, file=sys.stderr)
    return 2
