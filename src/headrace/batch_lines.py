"""Batch input files: replaces the model group in every line with the provider's model name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO, Final

import msgspec

from headrace.errors import BadRequestError
from headrace.slices import Steps, at_once

LONGEST_LINE: Final = 32 << 20

_TAKEN = msgspec.json.Decoder(dict[str, msgspec.Raw])


def exchange(content: BinaryIO, group: str, own: str, written: BinaryIO) -> None:
    """Copy the lines of `content` to `written` with model `own` in place of `group`. Raises BadRequestError that names the line."""
    at_once(exchanging(content, group, own, written))


def exchanging(content: BinaryIO, group: str, own: str, written: BinaryIO) -> Steps[None]:
    """`exchange` as a generator that handles one line per step."""
    for number, line in enumerate(_lines(content), 1):
        written.write(_exchanged(line, number, group, own) + b"\n")
        yield
    written.seek(0)


def _lines(content: BinaryIO) -> Iterator[bytes]:
    while line := content.readline(LONGEST_LINE + 1):
        if len(line) > LONGEST_LINE:
            raise BadRequestError(f"file: a line is longer than {LONGEST_LINE} bytes")
        if line.strip():
            yield line.strip()


def _exchanged(line: bytes, number: int, group: str, own: str) -> bytes:
    try:
        fields = _TAKEN.decode(line)
        body = _TAKEN.decode(fields["body"])
        model = msgspec.json.decode(body["model"], type=str)
    except KeyError as missing:
        raise BadRequestError(f"file: line {number} has no {missing.args[0]}") from None
    except ValueError as error:
        raise BadRequestError(f"file: line {number} is not a request: {error}") from None
    if model not in (group, own):
        raise BadRequestError(f"file: line {number} names the model {model!r}, but the file is for {group!r}: name one model in all lines")
    body["model"] = msgspec.Raw(msgspec.json.encode(own))
    return msgspec.json.encode({**fields, "body": body})
