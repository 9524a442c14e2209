"""Generates values that satisfy a JSON schema: the subset that providers accept for structured output and tools."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.simulator.text import OPENINGS, QUALITIES, THINGS

DEEP: Final = 6
"""Nesting depth from which optional parts are omitted and lists kept minimal, so that recursive schemas end."""

Json = Any
Schema = Mapping[str, Any]

FORMATS: Final[Mapping[str, Callable[[random.Random], str]]] = {
    "date": lambda rng: f"20{rng.randint(10, 29)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}",
    "time": lambda rng: f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}:00Z",
    "date-time": lambda rng: f"{FORMATS['date'](rng)}T{FORMATS['time'](rng)}",
    "email": lambda rng: f"{rng.choice(THINGS)}@example.com",
    "uuid": lambda rng: f"{rng.getrandbits(32):08x}-0000-4000-8000-{rng.getrandbits(48):012x}",
    "uri": lambda rng: f"https://example.com/{rng.choice(THINGS)}",
    "hostname": lambda rng: f"{rng.choice(THINGS)}.example.com",
    "ipv4": lambda rng: f"192.0.2.{rng.randint(1, 254)}",
}


def instance(schema: Schema, rng: random.Random) -> Json:
    """A value valid for `schema`. Raises ValueError for an invalid schema. `pattern` and `not` are ignored."""
    try:
        return _Maker(schema, rng).make(schema, 0)
    except (TypeError, AttributeError, KeyError, IndexError, ArithmeticError, RecursionError) as error:
        # A keyword with a value of the wrong type fails where it is used; schemas are not validated otherwise.
        raise ValueError(f"schema is not valid ({error})") from None


def instance_tokens(schema: Schema, rng: random.Random) -> list[str]:
    """`instance` as JSON, token by token."""
    made = instance(schema, rng)
    try:
        return tokens_of(msgspec.json.encode(made).decode())
    except TypeError:
        raise ValueError("schema is not valid (a name that is not a string)") from None


def tokens_of(text: str) -> list[str]:
    """JSON split as a tokenizer might: short words and runs of punctuation, lossless."""
    return re.findall(r"\s*\w{1,6}|\s*[^\w\s]{1,2}|\s+", text)


class _Maker:
    def __init__(self, root: Schema, rng: random.Random) -> None:
        self.root = root
        self.rng = rng

    def make(self, schema: Schema | bool, depth: int) -> Json:
        if isinstance(schema, bool) or not schema:
            return self.rng.choice(THINGS)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.rng.choice(schema["enum"])
        if "$ref" in schema:
            return self.make(self._resolve(schema["$ref"]), depth + 1)
        for several in ("anyOf", "oneOf"):
            if several in schema:
                return self.make(self._one_of(schema[several], depth), depth + 1)
        if "allOf" in schema:
            return self.make(self._merged(schema), depth + 1)
        return self._typed(schema, depth)

    def _typed(self, schema: Schema, depth: int) -> Json:
        kind = schema.get("type", "object" if "properties" in schema else "array" if "items" in schema else "string")
        if not isinstance(kind, str):
            kind = "null" if "null" in kind and depth > DEEP else self.rng.choice(kind)
        make: Callable[[Schema, int], Json] | None = {
            "object": self._object, "array": self._array, "string": self._string, "integer": self._integer, "number": self._number,
            "boolean": lambda schema, depth: self.rng.random() < 0.5, "null": lambda schema, depth: None,
        }.get(kind)  # fmt: skip
        if make is None:
            raise ValueError(f"schema type {kind!r}")
        return make(schema, depth)

    def _object(self, schema: Schema, depth: int) -> Json:
        required = schema.get("required", ())
        properties = schema.get("properties", {})
        wanted = [name for name in properties if name in required or (depth < DEEP and self.rng.random() < 0.7)]
        made = {name: self.make(properties[name], depth + 1) for name in wanted}
        extra = schema.get("additionalProperties")
        for name in required:
            if name not in made:
                made[name] = self.make(extra if isinstance(extra, Mapping) else {}, depth + 1)
        if not properties and isinstance(extra, Mapping) and depth < DEEP:
            made[self.rng.choice(THINGS)] = self.make(extra, depth + 1)
        return made

    def _array(self, schema: Schema, depth: int) -> Json:
        if "prefixItems" in schema:
            return [self.make(item, depth + 1) for item in schema["prefixItems"]]
        least = schema.get("minItems", 0)
        most = schema.get("maxItems", max(least, 3))
        count = least if depth >= DEEP else self.rng.randint(max(least, min(1, most)), max(least, min(most, least + 2)))
        items = [self.make(schema.get("items", {}), depth + 1) for _ in range(count)]
        if schema.get("uniqueItems"):
            distinct = {repr(item): item for item in items}
            return list(distinct.values()) if len(distinct) >= least else items
        return items

    def _string(self, schema: Schema, depth: int) -> str:
        if schema.get("format") in FORMATS:
            return FORMATS[schema["format"]](self.rng)
        text = self.rng.choice(THINGS) if self.rng.random() < 0.6 else f"{self.rng.choice(QUALITIES)} {self.rng.choice(THINGS)}"
        least, most = schema.get("minLength", 0), schema.get("maxLength", 10_000)
        while len(text) < least:
            text += f" {self.rng.choice(OPENINGS).lower()}"
        return text[:most]

    def _integer(self, schema: Schema, depth: int) -> int:
        step = int(schema.get("multipleOf", 1)) or 1
        low, high = _bounds(schema, 1)
        return step * self.rng.randint(-(-int(low) // step), max(-(-int(low) // step), int(high) // step))

    def _number(self, schema: Schema, depth: int) -> float:
        low, high = _bounds(schema, 0.01)
        if "multipleOf" in schema:
            step = schema["multipleOf"]
            return float(step * self.rng.randint(int(-(-low // step)), int(max(-(-low // step), high // step))))
        return min(high, max(low, round(low + (high - low) * self.rng.random(), 2)))

    def _one_of(self, options: Sequence[Schema], depth: int) -> Schema:
        if depth < DEEP:
            return self.rng.choice(options)
        return min(options, key=lambda option: ("$ref" in option, option.get("type") in ("object", "array"), option.get("type") != "null"))

    def _merged(self, schema: Schema) -> Schema:
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            part = self._resolve(part["$ref"]) if "$ref" in part else part
            for key, value in part.items():
                if key == "properties":
                    merged[key] = {**merged.get(key, {}), **value}
                elif key == "required":
                    merged[key] = [*merged.get(key, []), *value]
                else:
                    merged[key] = value
        return merged

    def _resolve(self, reference: str) -> Schema:
        found: Any = self.root
        for part in reference.removeprefix("#").split("/"):
            if part:
                found = found.get(part.replace("~1", "/").replace("~0", "~")) if isinstance(found, Mapping) else None
        if not isinstance(found, Mapping):
            raise ValueError(f"schema reference {reference!r} does not exist")
        return found


def _bounds(schema: Schema, step: float) -> tuple[float, float]:
    """Lowest and highest allowed number; 0 to 100 by default."""
    low = schema.get("minimum", schema["exclusiveMinimum"] + step if "exclusiveMinimum" in schema else None)
    high = schema.get("maximum", schema["exclusiveMaximum"] - step if "exclusiveMaximum" in schema else None)
    if low is None:
        low = 0 if high is None or high >= 0 else high - 100
    return low, max(low, low + 100 if high is None else high)
