"""Output of the command line: colours and tables on a terminal, plain text otherwise.

Plain means one record per line, tab-separated columns, no heading and no escape codes.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, TextIO

import msgspec

from headrace.objects import JsonObject
from headrace.settings import Secret

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

MINT: Final = "dark_cyan"
"""The accent colour; everything else is default, dim, green, yellow or red."""

_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")

_secrets: set[str] = set()


def pretty(stream: TextIO | None = None) -> bool:
    """Whether `stream` (default: standard output) is a terminal, and not a dumb one."""
    target = stream or sys.stdout
    return target.isatty() and os.environ.get("TERM") != "dumb"


def colourful(stream: TextIO | None = None) -> bool:
    """Whether to use escape codes: on a terminal, unless NO_COLOR (no-color.org) is set to a non-empty value."""
    return pretty(stream) and not os.environ.get("NO_COLOR")


def console(stream: TextIO | None = None) -> Console:
    """A rich console for the current `stream`. Only the stream decides about colours, regardless of FORCE_COLOR."""
    from rich.console import Console  # late: plain output does not need rich

    target = stream or sys.stdout
    return Console(
        file=target,
        force_terminal=pretty(target),
        color_system="auto" if colourful(target) else None,
        highlight=False,
        emoji=False,
        soft_wrap=not pretty(target),
    )


def clean(text: str) -> str:
    """The text of a model or provider without control characters that could affect the terminal."""
    return _CONTROL.sub("", text)


def say(text: str, style: str = "") -> None:
    """Print one line to standard output."""
    if pretty():
        from rich.text import Text  # late: see `console`

        console().print(Text(text, style=style))
    else:
        print(text)


def note(text: str) -> None:
    """Print a dim remark to standard error if that is a terminal; otherwise nothing."""
    if pretty(sys.stderr):
        from rich.text import Text  # late: see `console`

        console(sys.stderr).print(Text(text, style="dim"))


def complain(message: str, several: Sequence[str] = ()) -> None:
    """Print an error to standard error. `several`: its parts, on a line each."""
    first, *others = [" ".join(hidden(clean(part.replace("\n", " "))).split()) for part in (message, *several)]
    line = "\n- ".join([f"headrace: {first}", *others])
    if colourful(sys.stderr):
        from rich.text import Text  # late: see `console`

        console(sys.stderr).print(Text.assemble(("headrace: ", "bold red"), line.removeprefix("headrace: ")), soft_wrap=True)
    else:
        print(line, file=sys.stderr)


def hide(secret: object) -> None:
    """Mask `secret` in all later messages. Ignores non-strings and strings too short to be a key."""
    if isinstance(secret, str) and len(secret) >= 8:
        _secrets.add(str(secret))


def hidden(text: str) -> str:
    """`text` with every known secret masked."""
    for secret in _secrets:
        text = text.replace(secret, Secret(secret).masked)
    return text


def write_json(value: Any) -> None:
    """Print JSON: indented on a terminal, otherwise on one line."""
    plain = value.model_dump() if isinstance(value, JsonObject) else value
    encoded = msgspec.json.encode(plain)
    print((msgspec.json.format(encoded, indent=2) if pretty() else encoded).decode())


def write_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), title: str = "") -> None:
    """A table on a terminal; otherwise tab-separated lines without a heading. Cells are text or rich Text."""
    if not pretty():
        for row in rows:
            print("\t".join(_plain(cell) for cell in row))
        return
    console().print(make_table(columns, rows, right=right, title=title))


def make_table(columns: Sequence[str], rows: Iterable[Sequence[Any]], *, right: Sequence[str] = (), title: str = "") -> Table:
    from rich import box  # late: see `console`
    from rich.table import Table  # late: see `console`
    from rich.text import Text  # late: see `console`

    table = Table(box=box.SIMPLE_HEAD, title=title or None, title_justify="left", title_style="bold", header_style="dim", pad_edge=False)
    for name in columns:
        table.add_column(name, justify="right" if name in right else "left", overflow="fold")
    for row in rows:
        table.add_row(*(cell if isinstance(cell, Text) else Text(clean(str(cell))) for cell in row))
    return table


def _plain(cell: Any) -> str:
    return clean(str(cell)).replace("\t", " ").replace("\n", " ")
