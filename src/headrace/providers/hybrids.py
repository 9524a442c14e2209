"""Where a provider's wire differs from its dialect's: columns of a row, and the request as they make it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import parse_qsl, quote

import msgspec
from msgspec import Struct

from headrace.wire import HeaderPairs, HttpRequest


class Version(Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """Which version of its API a provider is asked for, in the address's query."""

    query: str = "api-version"
    env: tuple[str, ...] = ()
    default: str = ""
    """Asked for unless the caller, the address or the environment says another; empty for none."""


class Envelope(Struct, frozen=True, eq=False, forbid_unknown_fields=True):
    """What a body in the dialect's words becomes on its way to this provider."""

    drop: tuple[str, ...] = ()
    """Fields that the address says already: the model, whether to stream."""
    rename: dict[str, str] = {}
    add: dict[str, Any] = {}
    """Fields that the provider wants besides, unless the body has them."""
    headers: dict[str, str] = {}
    """Headers whose comma-separated values are a list in the body, by the field's name: their own the provider does not read."""


PLAIN: Final = Envelope()


def enveloped(envelope: Envelope, request: HttpRequest) -> HttpRequest:
    """`request` with the body and headers its provider takes."""
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
    """A path with its places taken: the model's name, the id of a file. An `@` stands for itself, as Vertex AI writes it.

    keep: what else of the model's name stands for itself.
    """
    if "{" not in path:
        return path
    return path.format_map({"model": quote(model, safe=f"@{keep}"), **{name: quote(value, safe="") for name, value in place.items()}})


def first_set(variables: str, environment: Mapping[str, str]) -> str:
    """What the first of `ONE,OTHER` says that is set; empty for none."""
    return next((value for name in variables.split(",") if (value := environment.get(name, "").strip())), "")


def split_query(address: str) -> tuple[str, dict[str, str]]:
    """An address without its query, and the query."""
    address, _, query = address.partition("?")
    return address, dict(parse_qsl(query))
