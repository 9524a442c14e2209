"""The `headrace` command. This package itself loads nothing, so that it can say what is missing."""

from __future__ import annotations

import io
import os
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

    _mend_streams()
    sys.exit(run(sys.argv[1:]))


def _mend_streams() -> None:
    """Streams that were closed lead nowhere, and what a terminal cannot show is shown as a question mark."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _missing() -> int:
    print(MISSING, file=sys.stderr)
    return 2
