"""Google's Live and music sessions, relayed between two WebSockets.

Credentials and the model's name are exchanged, usage is counted per turn. ai.google.dev/api/live, and the WebSocket of
google-genai 3.6; read 2026-11.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec
from websockets.asyncio.client import ClientConnection

from headrace.calls import Operation
from headrace.destinations import Destination
from headrace.errors import BadRequestError, HeadraceError
from headrace.gateway.owned import home_of
from headrace.gateway.sessions import PendingSession, Session, beginning, closed_for, counts, opened
from headrace.objects import JsonObject
from headrace.wire import HttpRequest

LIVE: Final = Operation("live", "", JsonObject, None, named=False)

_GEMINIS: Final = "google.ai.generativelanguage"
_OF_GEMINI: Final = "/ws/google.ai.generativelanguage.v1beta.GenerativeService.BidiGenerateContent"
_OF_VERTEX: Final = "/ws/google.cloud.aiplatform.v1beta1.LlmBidiService/BidiGenerateContent"

_VERSION: Final = re.compile(r"/v\d\w*$")
_TOP: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])


async def serve(visit: PendingSession) -> None:
    """Serve a session.

    Only its first message names the model, so errors up to then are sent in the close frame, as Google does.
    """
    await visit.accept()
    try:
        setup = _Setup(await _first(visit))
        entry = visit.entry()
        with beginning(entry):
            held = await visit.hold(LIVE, setup.model, entry)
        with beginning(entry, held):
            provider = await _opened(visit, held.to, setup)
    except HeadraceError as error:
        await visit.send(closed_for(error.failure))
        return
    await _Live(visit, provider, _used).last(setup.model, held, entry)


async def _first(visit: PendingSession) -> bytes:
    try:
        message = await asyncio.wait_for(visit.receive(), visit.gateway.settings.slow_client)
    except TimeoutError:
        raise BadRequestError("the first message, with setup, did not arrive in time") from None
    text = message.get("text")
    return message.get("bytes") or b"" if text is None else str(text).encode()


class _Setup:
    """The first message, which names the model."""

    def __init__(self, content: bytes) -> None:
        """Raises BadRequestError."""
        try:
            self._whole = _TOP.decode(content)
            self._setup = _TOP.decode(self._whole["setup"])
            self.model = msgspec.json.decode(self._setup["model"], type=str).rpartition("models/")[2]
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
            raise BadRequestError("the first message must be JSON with setup.model, such as models/gemini-live") from None

    def with_model(self, model: str) -> str:
        """The message with another model's name."""
        setup = {**self._setup, "model": msgspec.Raw(msgspec.json.encode(model))}
        return msgspec.json.encode({**self._whole, "setup": setup}).decode()


async def _opened(visit: PendingSession, to: Destination, setup: _Setup) -> ClientConnection:
    """Connect to the Gemini API or to Vertex AI, whose messages are the same, whichever path was called."""
    path = re.sub("/+", "/", visit.asked.path)
    if to.provider.name == "vertex_ai":
        provider = await _opened_at_vertex(visit, to)
        model = f"{_project(to)}publishers/google/models/{to.model}"
    elif to.provider.name == "gemini":
        place = path if _GEMINIS in path else _OF_GEMINI
        provider, model = await opened(to, _VERSION.sub("", to.base_url).replace("http", "ws", 1) + place), f"models/{to.model}"
    else:
        raise BadRequestError(f"{to.provider.name} has no Live sessions: only Google does", setup.model)
    await provider.send(setup.with_model(model))
    return provider


async def _opened_at_vertex(visit: PendingSession, to: Destination) -> ClientConnection:
    at = urlsplit(to.base_url)
    url = f"{at.scheme}://{at.netloc}{_OF_VERTEX}".replace("http", "ws", 1)
    if to.signer is None:
        return await opened(to, url)
    signed = await to.signer.sign(HttpRequest("GET", url, to.headers), visit.gateway.router.worlds.suspending().clock)
    return await opened(to, url, dict(signed.headers))


def _project(to: Destination) -> str:
    """The project and location of its models in Vertex AI; "" if the base URL does not name them."""
    found = re.search(r"projects/[^/]+/locations/[^/]+", to.base_url)
    return "" if found is None else f"{found[0]}/"


class _Live(Session):
    """A session whose caller may refer to its own files only."""

    async def said(self, message: str | bytes) -> None:
        """Check the files that a message of the client refers to."""
        content = message.encode() if isinstance(message, str) else message
        if b"fileUri" in content or b"file_uri" in content:
            await home_of(self.visit.here, {"contents": _turns(content)})


def _turns(content: bytes) -> Any:
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return []
    turns = said.get("clientContent", said.get("client_content")) if isinstance(said, Mapping) else None
    return turns.get("turns") if isinstance(turns, Mapping) else []


def _used(message: str | bytes) -> dict[str, int] | None:
    """The usage of one turn. Google reports it once per turn, with the conversation so far as part of the input."""
    content = message.encode() if isinstance(message, str) else message
    if b'"usageMetadata"' not in content:
        return None
    try:
        said = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    usage = said.get("usageMetadata") if isinstance(said, Mapping) else None
    if not isinstance(usage, Mapping):
        return None
    input = counts(usage, prompt="promptTokenCount", tools="toolUsePromptTokenCount")
    output = counts(usage, said="responseTokenCount", thought="thoughtsTokenCount")
    cached = counts(usage, cached="cachedContentTokenCount")
    return {"input": sum(input.values()), "output": sum(output.values()), **cached}
