"""Lists a deployment's models with GET /models."""

from __future__ import annotations

from typing import Any, Final

import msgspec

from headrace.bridge import complete
from headrace.core import explain
from headrace.destinations import Destination
from headrace.dialects.openai_chat import read_error
from headrace.errors import APIResponseValidationError, HeadraceError, error_of
from headrace.ports import Transport
from headrace.runtime.worlds import RealWorlds
from headrace.wire import HttpRequest, Timeouts, TransportError

PATIENCE: Final = 30.0
"""Seconds to wait for a list of models."""


def list_models(to: Destination, timeout: float | None = None, transport: Transport | None = None) -> list[dict[str, Any]]:
    """The models that `to` lists under /models, unchanged. Raises HeadraceError."""
    carrier = transport or RealWorlds().blocking().transport
    request = HttpRequest("GET", to.base_url + to.provider.path("models"), to.headers)
    try:
        response = complete(carrier.fetch(request, Timeouts(connect=10.0, total=timeout or PATIENCE)))
    except TransportError as error:
        raise explain(error, to) from error
    if not 200 <= response.status < 300:
        raise _listing_failed(error_of(read_error(response, provider=to.provider.name, model="")), to)
    return _listed(response.body, to)


def _listing_failed(error: HeadraceError, to: Destination) -> HeadraceError:
    if error.status_code in (404, 405):
        error.message = f"{to.provider.name} does not list its models at {to.base_url}{to.provider.path('models')}"
    return error


def _listed(body: bytes, to: Destination) -> list[dict[str, Any]]:
    """OpenAI's `{"data": [...]}`; a few providers send the bare list, or name it `models`."""
    try:
        content = msgspec.json.decode(body)
    except msgspec.DecodeError:
        content = None
    found = content.get("data", content.get("models")) if isinstance(content, dict) else content
    if not isinstance(found, list):
        raise APIResponseValidationError(f"{to.host} answered /models with something that is not a list of models", to.provider.name)
    return [model if isinstance(model, dict) else {"id": model} for model in found]
