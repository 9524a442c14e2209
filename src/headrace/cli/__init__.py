"""The `headrace` command. Importing this package loads no optional dependency, so that it can report a missing one."""

from __future__ import annotations

import io
import os
import sys
from importlib.util import find_spec

MISSING = 'headrace: the command line needs two more packages: pip install "headrace[cli]"'


def installed() -> bool:
    return find_spec("click") is not None and find_spec("rich") is not None


def main() -> None:
    """Run the command line and exit: 0 success, 1 the call failed, 2 bad usage or configuration, 130 interrupted."""
    if not installed():
        sys.exit(_missing())
    from headrace.cli.app import run  # late: it imports click and rich, which are optional

    _mend_streams()
    sys.exit(run(sys.argv[1:]))


def _mend_streams() -> None:
    """Replace closed standard streams by the null device, and print characters the terminal cannot encode as question marks."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115 - for the rest of the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _missing() -> int:
    print(MISSING, file=sys.stderr)
    return 2
