"""OpenAI's realtime sessions, relayed between two WebSockets.

Events pass unchanged, credentials are exchanged, usage is counted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlencode

import msgspec

from headrace.calls import Operation
from headrace.destinations import Destination
from headrace.errors import BadRequestError
from headrace.gateway.requests import IncomingRequest
from headrace.gateway.sessions import PendingSession, Session, beginning, counts, opened
from headrace.objects import JsonObject

REALTIME: Final = Operation("realtime", "", JsonObject, None, named=False)

_OURS: Final = ("model", "deployment", "key", "user")


async def serve(visit: PendingSession) -> None:
    """Serve a session. Raises HeadraceError if it cannot begin."""
    asked = visit.asked
    model = _model_of(asked)
    entry = visit.entry()
    with beginning(entry):
        held = await visit.hold(REALTIME, model, entry)
    beta = {"openai-beta": said} if (said := asked.headers.get("openai-beta")) else {}
    offered = [name for name in visit.protocols if not name.startswith("openai-")]
    with beginning(entry, held):
        provider = await opened(held.to, _address(held.to, asked), beta, offered)
    session = Session(visit, provider, _used)
    await visit.accept(provider.subprotocol)
    await session.last(model, held, entry)


def _model_of(asked: IncomingRequest) -> str:
    model = asked.query.get("model") or asked.query.get("deployment")
    if not model:
        raise BadRequestError("model is missing: /v1/realtime?model=…")
    return model


def _address(to: Destination, asked: IncomingRequest) -> str:
    query = {name: value for name, value in asked.query.items() if name not in _OURS}
    return f"{to.base_url}/realtime?{urlencode({**query, **to.query, 'model': to.model})}".replace("http", "ws", 1)


def _used(message: str | bytes) -> dict[str, int] | None:
    """The usage of a response, from the event that ends it."""
    if isinstance(message, bytes) or '"response.done"' not in message:
        return None
    try:
        event = msgspec.json.decode(message)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    response = event.get("response") if isinstance(event, Mapping) and event.get("type") == "response.done" else None
    usage = response.get("usage") if isinstance(response, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    details = usage.get("input_token_details") or {}
    return {**counts(usage, input="input_tokens", output="output_tokens"), **counts(details, cached="cached_tokens")}
