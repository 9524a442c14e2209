"""Conversion between Google's `Schema` (a subset of OpenAPI 3.0, with types in upper case) and JSON Schema."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.types import Json

_TYPES: Final = ("STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
"""Types by number, starting at 1: google-generativeai sends the numbers over REST."""
_LITERAL: Final = frozenset({"enum", "const", "default", "example", "examples", "required", "propertyOrdering"})
"""Keywords whose values are not schemas."""
_NAMED: Final = frozenset({"properties", "$defs", "definitions", "patternProperties", "dependentSchemas"})
"""Keywords whose values are objects of named schemas."""


def standard(schema: Json, deep: int = 0) -> Json:
    """A `Schema` as JSON Schema. What is already JSON Schema is unchanged, as is anything nested deeper than `_NESTED`."""
    if isinstance(schema, list) and deep < _NESTED:
        return [standard(item, deep + 1) for item in schema]
    if not isinstance(schema, Mapping) or deep >= _NESTED:
        return schema
    made = {name: _standard_value(name, value, deep + 1) for name, value in schema.items() if name != "nullable"}
    kind = made.get("type")
    if isinstance(kind, int) and 0 < kind <= len(_TYPES):
        kind = _TYPES[kind - 1]
    if isinstance(kind, str) and kind in _TYPES:
        made["type"] = kind = kind.lower()
    if "nullable" in schema and schema["nullable"] is not True:
        made["nullable"] = schema["nullable"]
    elif "nullable" in schema:
        made = {**made, "type": [kind, "null"]} if isinstance(kind, str) else {"anyOf": [made, {"type": "null"}]}
    return made


def _standard_value(name: str, value: Json, deep: int) -> Json:
    if name in _LITERAL:
        return value
    if name in _NAMED and isinstance(value, Mapping):
        return {inner: standard(schema, deep) for inner, schema in value.items()}
    return standard(value, deep)


_TAKEN: Final = frozenset({
    "type", "format", "title", "description", "enum", "items", "properties", "required", "minItems", "maxItems", "minProperties",
    "maxProperties", "minLength", "maxLength", "pattern", "minimum", "maximum", "anyOf", "nullable", "propertyOrdering", "default",
    "example",
})  # fmt: skip

_NESTED: Final = 100
"""Maximum depth of nested lists and objects."""
_DEEPEST: Final = 24
"""Maximum depth to which a recursive schema is expanded; anything is allowed below it."""


def reduced(schema: Json) -> Json:
    """JSON Schema as a `Schema`, for models that accept nothing else: references are expanded, unsupported keywords dropped."""
    definitions: dict[str, Json] = {}
    if isinstance(schema, Mapping):
        for name in ("$defs", "definitions"):
            held = schema.get(name)
            if isinstance(held, Mapping):
                definitions |= {f"#/{name}/{key}": value for key, value in held.items()}
    return _reduced(schema, definitions, 0)


def _reduced(schema: Json, definitions: Mapping[str, Json], depth: int) -> Json:
    if not isinstance(schema, Mapping) or depth > _DEEPEST:
        return {}
    reference = schema.get("$ref")
    if isinstance(reference, str):
        target = definitions.get(reference)
        own = {name: value for name, value in schema.items() if name != "$ref"}
        return _reduced({**target, **own} if isinstance(target, Mapping) else own, definitions, depth + 1)
    made = {name: _reduced_value(name, value, definitions, depth) for name, value in _merged(schema).items() if name in _TAKEN}
    return _nullable(made)


def _merged(schema: Mapping[str, Json]) -> dict[str, Any]:
    """`const`, `oneOf` and `allOf` expressed with keywords a `Schema` has."""
    made = dict(schema)
    if "const" in made:
        made["enum"] = [made["const"]]
    if isinstance(made.get("oneOf"), list):
        made.setdefault("anyOf", made["oneOf"])
    whole = made.get("allOf")
    if isinstance(whole, list):
        for part in whole:
            if isinstance(part, Mapping):
                made = {**part, **made}
    return made


def _reduced_value(name: str, value: Json, definitions: Mapping[str, Json], depth: int) -> Json:
    if name == "properties" and isinstance(value, Mapping):
        return {inner: _reduced(schema, definitions, depth + 1) for inner, schema in value.items()}
    if name == "items":
        return _reduced(value, definitions, depth + 1)
    if name == "anyOf" and isinstance(value, list):
        return [_reduced(schema, definitions, depth + 1) for schema in value]
    return value


def _nullable(made: dict[str, Any]) -> dict[str, Any]:
    """Null in a type union becomes `nullable`, since a `Schema` has a single type."""
    kinds, choices = made.get("type"), made.get("anyOf")
    if isinstance(kinds, list):
        said = [kind for kind in kinds if kind != "null"]
        if len(said) < len(kinds):
            made["nullable"] = True
        made.pop("type")
        if len(said) == 1:
            made["type"] = said[0]
        elif said:
            made["anyOf"] = [{"type": kind} for kind in said]
    elif isinstance(choices, list) and {"type": "null"} in choices:
        left = [choice for choice in choices if choice != {"type": "null"}]
        made["nullable"] = True
        made.pop("anyOf")
        if len(left) == 1:
            return {**left[0], **made}
        if left:
            made["anyOf"] = left
    return made
