"""Columns for providers whose requests differ from their dialect's, and the conversion of such requests."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import msgspec
from msgspec import Struct

from headrace.wire import HeaderPairs, HttpRequest


class Version(Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """A provider's API version, sent in the URL's query."""

    query: str = "api-version"
    env: tuple[str, ...] = ()
    default: str = ""
    """Used unless the caller, the URL or the environment gives another; "" for none."""


class Envelope(Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """Changes to a request body in the dialect's format."""

    drop: tuple[str, ...] = ()
    """Fields to remove because the URL carries them: the model, whether to stream."""
    rename: dict[str, str] = {}
    add: dict[str, Any] = {}
    """Fields to add unless the body has them."""
    headers: dict[str, str] = {}
    """Headers to move into the body, by field name, as lists split at commas: the provider does not read the headers."""


PLAIN: Final = Envelope()


def enveloped(envelope: Envelope, request: HttpRequest) -> HttpRequest:
    """`request` with the provider's changes to body and headers."""
    if envelope is PLAIN:
        return request
    body: dict[str, Any] = msgspec.json.decode(request.body)
    kept: HeaderPairs = tuple(pair for pair in request.headers if pair[0].lower() not in envelope.headers)
    listed = {envelope.headers[name.lower()]: _listed(value) for name, value in request.headers if name.lower() in envelope.headers}
    said = {envelope.rename.get(name, name): value for name, value in body.items() if name not in envelope.drop}
    written = {**envelope.add, **listed, **said}
    return msgspec.structs.replace(request, headers=kept, body=msgspec.json.encode(written))


def _listed(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


def filled(path: str, model: str, place: Mapping[str, str], *, keep: str = "") -> str:
    """A path with its placeholders filled: the model's name, a file's id. `@` is not escaped, as on Vertex AI.

    keep: further characters of the model's name that are not escaped.
    """
    if "{" not in path:
        return path
    return path.format_map({"model": quote(model, safe=f"@{keep}"), **{name: quote(value, safe="") for name, value in place.items()}})


def first_set(variables: str, environment: Mapping[str, str]) -> str:
    """The value of the first variable of `ONE,OTHER` that is set; "" if none is."""
    return next((value for name in variables.split(",") if (value := environment.get(name, "").strip())), "")


def split_query(address: str) -> tuple[str, dict[str, str]]:
    """A URL without its query, and the query."""
    address, _, query = address.partition("?")
    return address, dict(parse_qsl(query))
