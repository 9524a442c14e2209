"""Call arguments streamed in pieces, as Vertex AI sends them with `streamFunctionCallArguments`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

from headrace.dialects.gemini.names import camel
from headrace.types import Json

_STEP: Final = re.compile(r"\.([^.\[\]]+)|\[(\d{1,6})\]|\[['\"]([^'\"]*)['\"]\]")
_VALUES: Final = ("stringValue", "numberValue", "boolValue")
"""Fields that hold a piece's value; a piece without any of them is null."""
_MORE: Final = frozenset({"partialArgs", "willContinue"})


def in_pieces(part: Json) -> bool:
    """Whether a part is a piece of a function call rather than a complete one."""
    if type(part) is not dict or ("functionCall" not in part and "function_call" not in part):
        return False
    call = camel(part).get("functionCall")
    if not isinstance(call, Mapping):
        return False
    call = camel(call)
    return "name" not in call or bool(call.get("willContinue")) or "partialArgs" in call


class Pieces:
    """Assembles function calls from pieces, one at a time."""

    def __init__(self) -> None:
        self._part: dict[str, Json] | None = None

    def goes_on(self, part: Mapping[str, Json]) -> bool:
        """Fast path: adds a part that only continues the open call; False for any other part. Raises ValueError as `add` does."""
        call = part.get("functionCall")
        if self._part is None or len(part) != 1 or type(call) is not dict:
            return False
        if not call.keys() <= _MORE or call.get("willContinue") is not True:
            return False
        given: Any = self._part["functionCall"]
        for piece in call.get("partialArgs") or ():
            _set(given["args"], camel(piece))
        return True

    def add(self, part: Mapping[str, Json]) -> dict[str, Json] | None:
        """The complete part, once its last piece has arrived. Raises ValueError for an invalid path."""
        part = camel(part)
        call = camel(part["functionCall"])
        whole = self._part or {"functionCall": {"args": {}}}
        whole |= {name: value for name, value in part.items() if name != "functionCall"}
        inner: dict[str, Any] = whole["functionCall"]
        inner |= {name: value for name, value in call.items() if name not in ("args", "partialArgs", "willContinue")}
        inner["args"] |= call.get("args") or {}
        for piece in call.get("partialArgs") or ():
            _set(inner["args"], camel(piece))
        self._part = whole if call.get("willContinue") else None
        return None if self._part is not None or "name" not in inner else whole


@lru_cache(512)
def _steps(path: str) -> tuple[int | str, ...]:
    return tuple([int(place) if place else name or quoted for name, place, quoted in _STEP.findall(path)])


def _set(arguments: dict[str, Any], piece: Mapping[str, Json]) -> None:
    """Sets the value at the piece's path; strings are appended."""
    steps = _steps(str(piece.get("jsonPath")))
    if not steps:
        raise ValueError("a piece of the arguments has no path")
    value = next((piece[name] for name in _VALUES if name in piece), None)
    at: Any = arguments
    for number, step in enumerate(steps[1:]):
        at = _into(at, steps[number], step)
    known = _get(at, steps[-1])
    _put(at, steps[-1], known + value if isinstance(known, str) and isinstance(value, str) else value)


def _into(at: Any, step: int | str, following: int | str) -> Any:
    inner = _get(at, step)
    if inner is None:
        inner = [] if isinstance(following, int) else {}
        _put(at, step, inner)
    return inner


def _get(at: Any, step: int | str) -> Any:
    if type(step) is int and type(at) is list:
        return at[step] if step < len(at) else None
    if type(step) is str and type(at) is dict:
        return at.get(step)
    raise ValueError("a path in the arguments leads through a value")


def _put(at: Any, step: Any, value: Any) -> None:
    if isinstance(at, list):
        at += [None] * (step + 1 - len(at))
    at[step] = value
