"""Splits a dialect's JSON objects into fields the hub knows and fields it does not."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import msgspec
from msgspec import UNSET

from headrace.errors import BadRequestError
from headrace.types import Extra, Json

_NOTHING: Final[Mapping[str, Json]] = {}

OWN: Final = "openai_responses"
"""The `extra` key under which hub values keep what only Responses can express. No other dialect writes it."""


def rest(
    source: Mapping[str, Json], known: frozenset[str], usual: Mapping[str, Json] = _NOTHING, *, exact: frozenset[str] = frozenset()
) -> dict[str, Json]:
    """The fields of `source` to keep in `extra`: unknown ones, and empty ones that the hub cannot tell from absent.

    usual: what the dialect writes by default. Fields equal to it are not kept; a missing one is recorded as UNSET.
    exact: known fields for which the hub does tell an empty string from an absent one.
    """
    kept = {name: value for name, value in source.items() if name not in known or (not value and _hollow(value, exact=name in exact))}
    for name, value in usual.items():
        if name not in source:
            kept[name] = UNSET
        elif name in kept and kept[name] == value:
            del kept[name]
    return kept


def _hollow(value: Json, *, exact: bool) -> bool:
    return value is None or value == [] or value == {} or (value == "" and not exact)


def merged(usual: Mapping[str, Json], extra: Extra, said: Mapping[str, Json]) -> dict[str, Json]:
    """The object to write: `usual`, overridden by `extra`, then by `said`; without None in `said`, UNSET and `OWN`."""
    written = {**usual, **extra}
    written.pop(OWN, None)
    for name, value in said.items():
        if value is not None:
            written[name] = value
    return {name: value for name, value in written.items() if value is not UNSET} if UNSET in written.values() else written


def common(extra: Extra) -> Extra:
    """`extra` without `OWN`."""
    return {name: value for name, value in extra.items() if name != OWN} if OWN in extra else extra


def shape(value: Json) -> str:
    """Describes a bad value without revealing its content."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return f"a string of {len(value)} characters"
        case list() | tuple():
            return f"a list of {len(value)} items"
        case Mapping():
            return f"an object with {len(value)} fields"
    return f"a {type(value).__name__}"


def bad(field: str, expected: str, value: Any) -> BadRequestError:
    return BadRequestError(f"{field} must be {expected}, got {shape(value)}")


def obj(value: Json, field: str) -> Mapping[str, Json]:
    if type(value) is not dict and not isinstance(value, Mapping):  # isinstance with an ABC costs as much as ten fields
        raise bad(field, "an object", value)
    return value


def string(value: Json, field: str) -> str:
    if not isinstance(value, str):
        raise bad(field, "a string", value)
    return value


def items(value: Json, field: str) -> list[Json]:
    """The items of a list; null counts as an empty one."""
    if value is None:
        return []
    if not isinstance(value, list | tuple):
        raise bad(field, "a list", value)
    return list(value)


def listed(source: Mapping[str, Json], field: str) -> list[Json]:
    """The list that `source` must have under `field`."""
    value = source.get(field)
    if not isinstance(value, list):
        raise bad(field, "a list", value)
    return value


def number(value: Json, field: str) -> float | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
        raise bad(field, "a number", value)
    return value


def whole(value: Json, field: str) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if value is not None and (isinstance(value, bool) or not isinstance(value, int)):
        raise bad(field, "a whole number", value)
    return value


_MOST: Final = 2**63
"""Larger token counts are not real: some providers send them for "unlimited"."""


def count(value: Json) -> int:
    """A provider's count: a number, or one sent as a string. Anything else is 0, as is a negative number."""
    if value is None:
        return 0
    if type(value) is int:
        return value if 0 < value < _MOST else 0
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdecimal() and len(value) < 20 else 0
    if isinstance(value, bool) or not isinstance(value, int | float):
        return 0
    return int(value) if 0 < value < _MOST else 0


def flag(value: Json, field: str) -> bool | None:
    if value is not None and not isinstance(value, bool):
        raise bad(field, "true or false", value)
    return value


def optional(value: Json, field: str) -> str | None:
    return None if value is None else string(value, field)


def json_text(value: Json, at: str = "tool arguments or results") -> str:
    """`value` as JSON. Raises BadRequestError for what cannot be encoded, such as a lone surrogate."""
    try:
        return msgspec.json.encode(value).decode()
    except (TypeError, ValueError, OverflowError, RecursionError):
        raise bad(at, "valid JSON without lone surrogates", value) from None


def sent(body: Json) -> bytes:
    """A request body as JSON. Raises BadRequestError for what JSON or UTF-8 cannot represent, such as a lone surrogate."""
    try:
        return msgspec.json.encode(body)
    except (TypeError, ValueError, RecursionError) as error:
        raise BadRequestError(f"the request cannot be written as JSON: {error}") from None
