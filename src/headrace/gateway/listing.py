"""Lists of models, in the format of each kind of client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from headrace.gateway.client_apis import ANTHROPIC, GOOGLE, ClientApi, front_of
from headrace.gateway.context import Listed, Reply, RequestContext
from headrace.gateway.requests import IncomingRequest


def models(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for the list of models that the caller may call."""
    return Listed(listed(front_of(asked), here.names()))


def one_model(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str) -> Reply:
    """One model, including those that only match a pattern. Raises the refusal that a call of it would get."""
    here.meant(model)
    return Listed(_told(front_of(asked), model))


def listed(front: ClientApi, names: Sequence[str]) -> dict[str, Any]:
    """The list of models in the front end's format."""
    told = [_told(front, name) for name in names]
    if front is GOOGLE:
        return {"models": told}
    if front is ANTHROPIC:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return {"data": told, "has_more": False, **ends}
    return {"object": "list", "data": told}


def _told(front: ClientApi, name: str) -> dict[str, Any]:
    if front is GOOGLE:
        verbs = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"]
        return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": verbs}
    if front is ANTHROPIC:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "headrace"}
