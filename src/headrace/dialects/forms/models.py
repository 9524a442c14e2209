"""Model lists in OpenAI's format, plus the provider's own fields, for Anthropic and Gemini, which have list APIs of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

from headrace.dialects.anthropic_messages.requests import VERSION
from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given
from headrace.dialects.forms.dates import epoch
from headrace.errors import BadRequestError
from headrace.types import Json
from headrace.wire import HeaderPairs, HttpRequest


def _asked(target: Target, query: Mapping[str, Json], headers: HeaderPairs) -> HttpRequest:
    place = f"{target.base_url.rstrip('/')}/models"
    return HttpRequest("GET", f"{place}?{urlencode(query)}" if query else place, headers)


def _renamed(body: Body, names: Mapping[str, str]) -> dict[str, Json]:
    return {names.get(name, name): value for name, value in given(body).items()}


def _listed(answer: Json, field: str) -> list[Mapping[str, Any]]:
    models = answer[field]
    if not isinstance(models, list) or not all(isinstance(model, Mapping) for model in models):
        raise BadRequestError(f"{field} must be a list of objects")
    return models


class Anthropic:
    """`limit`, `after_id` and `before_id` are supported; OpenAI's `after` becomes `after_id` (exchange 0632574c2c4ab970)."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        names = {name.lower() for name, _ in target.headers}
        version = () if "anthropic-version" in names else (("anthropic-version", VERSION),)
        return _asked(target, _renamed(body, {"after": "after_id", "before": "before_id"}), (*version, *target.headers))

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        data = [
            {**model, "id": model["id"], "object": "model", "created": epoch(model.get("created_at")) or 0, "owned_by": "anthropic"}
            for model in _listed(answer, "data")
        ]
        return {**answer, "object": "list", "data": data}


class Gemini:
    """OpenAI's `limit` and `after` become `pageSize` and `pageToken` (exchanges 1fad30f65f2df5ec, 5649ea77cde0d4d5).

    A response's `nextPageToken` is the next call's `after`.
    """

    def write(self, body: Body, target: Target) -> HttpRequest:
        return _asked(target, _renamed(body, {"limit": "pageSize", "after": "pageToken"}), target.headers)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        data = [
            {**model, "id": model["name"].removeprefix("models/"), "object": "model", "created": 0, "owned_by": "google"}
            for model in _listed(answer, "models")
        ]
        rest = {name: value for name, value in answer.items() if name != "models"}
        return {**rest, "object": "list", "data": data, "has_more": bool(answer.get("nextPageToken"))}


FORMS: Final[Mapping[tuple[str, str], Form]] = {("models", "anthropic"): Anthropic(), ("models", "gemini"): Gemini()}
