"""Values of the official clients' own types, made at random: everything an API may be told or may say, also what no recording shows."""

from __future__ import annotations

import enum
import types
from collections.abc import Callable, Iterable, Mapping
from functools import cache
from random import Random
from typing import Annotated, Any, Literal, NotRequired, Required, Union, get_args, get_origin, get_type_hints

import typing_extensions
from pydantic import BaseModel

WORDS = ("", "a", "hello world", "über\n", '{"city": "Uppsala"}', "id_1", "call_7")
ALIASES = (typing_extensions.TypeAliasType,)
_REQUIRED = (Required, typing_extensions.Required)
_LEFT_OUT = (NotRequired, typing_extensions.NotRequired)
_WRAPPERS = (Annotated, *_REQUIRED, *_LEFT_OUT)


class Maker:
    """Makes JSON of a type. full: how likely a field that may be left out is given."""

    def __init__(self, seed: int, *, full: float = 0.4, named: Mapping[str, Callable[[Random], Any]] | None = None) -> None:
        self._chance = Random(seed)
        self._full = full
        self._named = named or {}
        """What stands in fields of a name, never left out, where the type allows what nobody says."""

    def made(self, of: Any, depth: int = 0) -> Any:
        origin = get_origin(of)
        if isinstance(of, ALIASES):
            return self.made(of.__value__, depth)
        if origin in _WRAPPERS:
            return self.made(get_args(of)[0], depth)
        if origin is Literal:
            return self._chance.choice(get_args(of))
        if origin in (Union, types.UnionType):
            return self.made(self._chance.choice(get_args(of)), depth)
        if isinstance(origin, type) and issubclass(origin, Mapping):
            return {self._chance.choice(("key", "other")): self.made(get_args(of)[1], depth + 1)}
        if isinstance(origin, type) and issubclass(origin, Iterable):
            return [self.made(get_args(of)[0], depth + 1) for _ in range(self._chance.choice((1, 1, 2) if depth < 4 else (0, 1)))]
        return self._plain(of, depth)

    def _plain(self, of: Any, depth: int) -> Any:
        chance = self._chance
        if of in (None, type(None)):
            return None
        if of is bool:
            return chance.random() < 0.5
        if of is int:
            return chance.choice((1, 2, 7, 4096))
        if of is float:
            return chance.choice((0.0, 0.5, 1.0))
        if of is str:
            return chance.choice(WORDS)
        if of is bytes:
            return "aGk="
        if isinstance(of, type) and issubclass(of, enum.Enum):
            return chance.choice([one.value for one in of] or ["FROM_TOMORROW"])
        if isinstance(of, type) and issubclass(of, BaseModel):
            return self._fields(
                {
                    info.alias or name: (info.annotation, info.is_required() or isinstance(info.default, str))
                    for name, info in of.model_fields.items()
                },
                depth,
            )
        if hasattr(of, "__required_keys__"):
            return self._fields({name: (kind, needed(of, name, kind)) for name, kind in hints(of).items()}, depth)
        return chance.choice(("text", 1, {"type": "object", "properties": {}}, [1])) if depth < 3 else "text"

    def _fields(self, fields: Mapping[str, tuple[Any, bool]], depth: int) -> dict[str, Any]:
        kept = self._full / (1 + max(0, depth - 2))
        sure = [name for name, (_, needed) in fields.items() if needed or name in self._named]
        given = [(name, kind) for name, (kind, _) in fields.items() if name in sure or self._chance.random() < kept]
        return {name: self._named[name](self._chance) if name in self._named else self.made(kind, depth + 1) for name, kind in given}


def needed(of: Any, name: str, kind: Any) -> bool:
    return get_origin(kind) in _REQUIRED or (name in of.__required_keys__ and get_origin(kind) not in _LEFT_OUT)


@cache
def hints(of: type) -> dict[str, Any]:
    return get_type_hints(of, include_extras=True)
