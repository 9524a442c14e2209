"""Records as rows of `calls`, built column by column.

Values that a whole batch shares are written into the statement instead of bound.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import astuple

from headrace.gateway.records import Outcome, Record
from headrace.runtime.sql_drivers import Connection

PROMPT: Final = frozenset({"input", "cached", "cache_write", "cache_write_hour", "audio_input", "image_input"})
ANSWER: Final = frozenset({"output", "reasoning", "audio_output", "image_output"})
USUAL: Final[Mapping[str, tuple[Any, str]]] = {
    **dict.fromkeys(("name", "team", "user", "customer", "error", "session"), ("", "''")),
    **dict.fromkeys(("first", "content"), (None, "NULL")),
    "tags": ("[]", "'[]'"),
    "metadata": ("{}", "'{}'"),
    "waited": (0.0, "0.0"),
    "stream": (False, "FALSE"),
    "outcome": (Outcome.ANSWERED.value, f"'{Outcome.ANSWERED.value}'"),
    "status": (200, "200"),
    "attempts": (1, "1"),
}
"""Columns in which most calls have the same value, usually an empty one: that value, and its SQL."""

_lines: Final = msgspec.json.Encoder().encode_lines


def insert(connection: Connection, records: Sequence[Record]) -> None:
    """Write records to the table."""
    columns = _columns(records)
    usual = {name: sql for name, (value, sql) in USUAL.items() if columns[name].count(value) == len(records)}
    said = [name for name in columns if name not in usual]
    connection.insert("calls", said, list(zip(*[columns[name] for name in said], strict=True)), fixed=usual)


def _columns(records: Sequence[Record]) -> dict[str, Sequence[Any]]:
    """The values of each column, by name."""
    columns: dict[str, Sequence[Any]] = dict(zip(Record.__struct_fields__, zip(*map(astuple, records), strict=True), strict=True))
    usages: Sequence[Mapping[str, float]] = columns["usage"]
    columns["outcome"] = [outcome.value for outcome in columns["outcome"]]
    columns["content"] = [None if content is None else _json(content) for content in columns["content"]]
    columns |= {name: _texts(columns[name]) for name in ("tags", "usage", "metadata")}
    columns["input"], columns["output"] = zip(*map(_tokens, usages), strict=True)
    return columns


def _texts(values: Iterable[Any]) -> list[str]:
    """Each value as JSON, encoded in one go; no JSON line contains a line break."""
    return _lines(values).decode().split("\n")[:-1]


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _tokens(usage: Mapping[str, float]) -> tuple[int, int]:
    """Input and output tokens."""
    input: float = 0
    output: float = 0
    for name, count in usage.items():
        if name in PROMPT:
            input += count
        elif name in ANSWER:
            output += count
    return int(input), int(output)
