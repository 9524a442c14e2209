"""Parses `.env` files."""

from __future__ import annotations

import re
from typing import Final

from headrace.errors import ConfigurationError

_BLANK: Final = re.compile(r"[^\S\n]*(?:#[^\n]*)?(?:\n|\Z)")
_ASSIGNED: Final = re.compile(r"[^\S\n]*(?:export[^\S\n]+)?(?P<name>[A-Za-z_][\w.-]*)[^\S\n]*=", re.ASCII)
_QUOTED: Final = re.compile(r"""[^\S\n]*(?:'(?P<single>(?:\\.|[^'\\])*)'|"(?P<double>(?:\\.|[^"\\])*)")""", re.S)
_LINE: Final = re.compile(r"[^\n]*(?:\n|\Z)")
_ESCAPES: Final = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\", "$": "$"}


def parse(text: str, *, where: str = ".env") -> dict[str, str]:
    """Names and values of a `.env` file; the last of equal names wins.

    Supports NAME=value, `export ` before it, `#` comments, and 'literal' and "escaped \\n" quotes, which may span
    lines. Nothing is interpolated: `$` is an ordinary character. Raises ConfigurationError that lists every unreadable
    line by number, without its text.
    """
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    values: dict[str, str] = {}
    problems: list[str] = []
    at = 0
    while at < len(text):
        if blank := _BLANK.match(text, at):
            at = blank.end()
            continue
        found, at = _assignment(text, at)
        if isinstance(found, str):
            problems.append(found)
        else:
            values[found[0]] = found[1]
    if problems:
        raise ConfigurationError(f"{where} cannot be read: {'; '.join(problems)}")
    return values


def _assignment(text: str, at: int) -> tuple[tuple[str, str] | str, int]:
    """A name with its value, or the problem with the line; and the position where the next line begins."""
    number, next_line = text.count("\n", 0, at) + 1, _end(text, at)
    assigned = _ASSIGNED.match(text, at)
    if assigned is None:
        return f"line {number} must read NAME=value", next_line
    if not text[assigned.end() :].lstrip(" \t").startswith(("'", '"')):
        bare = text[assigned.end() : next_line]
        return (assigned["name"], re.sub(r"\s#.*", "", bare).strip()), next_line
    quoted = _QUOTED.match(text, assigned.end())
    if quoted is None:
        return f"line {number} opens a quote that is never closed", len(text)
    rest = _BLANK.match(text, quoted.end())
    if rest is None:
        return f"line {number} has text after its closing quote: put \\ before a quote that belongs to the value", _end(text, quoted.end())
    return (assigned["name"], _unquoted(quoted)), rest.end()


def _end(text: str, at: int) -> int:
    line = _LINE.match(text, at)
    return line.end() if line else len(text)


def _unquoted(quoted: re.Match[str]) -> str:
    if (literal := quoted["single"]) is not None:
        return re.sub(r"\\(['\\])", r"\1", literal)
    return re.sub(r"\\(.)", lambda found: _ESCAPES.get(found[1], found[0]), quoted["double"], flags=re.S)
