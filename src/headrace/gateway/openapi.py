"""The gateway's API as an OpenAPI document, built from the routes, the fields of operations and those of the admin API."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import msgspec

from headrace import __version__, options
from headrace.gateway.requests import KEPT
from headrace.gateway.routes import ROUTES, Row
from headrace.gateway.state import AdminRoutes, Desired

_WAYS: Final = (
    (r"(?:/openai)?(?:/v1)?", "/v1"),
    (r"(?:/anthropic)?(?:/v1)?", "/v1"),
    (r"(?:/openai)?(?:/v1|/v1beta)?", "/v1"),
    (r"/(?:openai/deployments|engines)", "/openai/deployments"),
    (r"/v1(?:beta|alpha)?", "/v1beta"),
)
"""Alternative beginnings of paths, and the one that is documented."""

_OPTIONS: Final[Mapping[str, type]] = {
    "chat": options.ChatOptions, "completions": options.TextOptions, "embeddings": options.EmbeddingOptions,
}  # fmt: skip

_KINDS: Final = {
    "str": "string",
    "int": "integer",
    "float": "number",
    "bool": "boolean",
    "list": "array",
    "Mapping": "object",
    "Sequence": "array",
}


def described(admin: AdminRoutes | None) -> dict[str, Any]:
    """The document. desk: the admin API, if there is a database."""
    paths: dict[str, dict[str, Any]] = {}
    for path, method, said in (*_calls(), *(_asked(admin.described()) if admin is not None else ()), *_seen()):
        paths.setdefault(path, {})[method] = said
    return {
        "openapi": "3.1.0",
        "info": {"title": "headrace", "version": __version__, "description": "One address for every LLM."},
        "paths": paths,
        "components": {"securitySchemes": {"key": {"type": "http", "scheme": "bearer"}}},
        "security": [{"key": []}],
    }


def _calls() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for row in ROUTES:
        for path in _templates(row.path.pattern):
            yield path, row.method.lower(), _operation(path, row.asks.name if row.asks else "stored objects", _body(row, path))


def _asked(desired: Iterable[Desired]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    for one in desired:
        body = {"application/json": {"schema": {"type": "object", "properties": one.words}}} if one.words else None
        for method in one.methods:
            yield one.path, method.lower(), {**_operation(one.path, "administration", body), **_described(one.what)}


def _described(what: str) -> dict[str, str]:
    """The first paragraph of a docstring as `summary`, in one line, and the rest as `description`."""
    summary, _, more = what.partition("\n\n")
    return {"summary": " ".join(summary.split()), **({"description": more} if more else {})}


def _seen() -> Iterator[tuple[str, str, dict[str, Any]]]:
    for path in ("/health/liveliness", "/health/readiness", "/metrics", "/openapi.json"):
        yield path, "get", _operation(path, "operations", None)


def _operation(path: str, tag: str, body: Mapping[str, Any] | None) -> dict[str, Any]:
    names = re.findall(r"{(\w+)}", path)
    said: dict[str, Any] = {"tags": [tag], "responses": {"200": {"description": "the response"}, "4XX": {"description": "an error"}}}
    if names:
        said["parameters"] = [{"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names]
    return said if body is None else {**said, "requestBody": {"required": True, "content": body}}


def _templates(pattern: str) -> Iterator[str]:
    """A route's path with its parameters in braces, one for each verb it lists."""
    for begins, told in _WAYS:
        if pattern.startswith((begins + "/", begins + "(")):
            pattern = told + pattern.removeprefix(begins)
            break
    verbs = re.search(r"\(\?P<verb>([^)]*)\)", pattern)
    for verb in verbs[1].split("|") if verbs else ("",):
        whole = pattern.replace(verbs[0], verb) if verbs else pattern
        yield re.sub(r"\(\?P<(\w+)>[^)]*\)", r"{\1}", whole)


def _body(row: Row, path: str) -> dict[str, Any] | None:
    if row.takes == "nothing":
        return None
    asks = row.asks
    words: dict[str, Any] = {} if asks is None else _words(_OPTIONS.get(asks.name))
    required = []
    if asks is not None:
        words[asks.prompt] = {}
        required.append(asks.prompt)
        if asks.named and "{model}" not in path:
            words["model"] = {"type": "string"}
            required.append("model")
        if asks.chunk is not None and "{model}:" not in path:
            words["stream"] = {"type": "boolean"}
        words |= {name: {"type": "string", "format": "binary"} for name in asks.files}
    schema = {"type": "object", "properties": words, "required": required}
    return {"multipart/form-data" if row.takes == "form" else "application/json": {"schema": schema}}


def _words(kind: type | None) -> dict[str, Any]:
    """The options of an operation that a caller may set, as JSON schemas."""
    if kind is None:
        return {}
    return {name: _schema(str(said)) for name, said in sorted(_said(kind)) if name not in KEPT}


def _said(kind: type) -> Iterator[tuple[str, str]]:
    for name, said in kind.__annotations__.items():
        yield name, getattr(said, "__forward_arg__", str(said))


def _schema(said: str) -> dict[str, Any]:
    """`str | list[str] | None` as a JSON schema; an empty one, which allows anything, for types without an equivalent."""
    kinds = [_KINDS.get(part.strip().partition("[")[0]) for part in said.split(" | ") if part.strip() != "None"]
    known = [kind for kind in kinds if kind is not None]
    if len(known) != len(kinds):
        return {}
    return {"type": [*known, "null"]}


def encoded(admin: AdminRoutes | None) -> bytes:
    """The document as JSON."""
    return msgspec.json.encode(described(admin))
