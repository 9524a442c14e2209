"""OpenAI's realtime sessions, passed on between two WebSockets: their words as they are, credentials exchanged, usage counted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from headrace.calls import Operation
from headrace.destinations import Destination
from headrace.errors import BadRequestError, Failure, Kind, error_of
from headrace.gateway.requests import Asked, Receive, Send
from headrace.objects import JsonObject

REALTIME: Final = Operation("realtime", "", JsonObject, None, named=False)

LARGEST: Final = 16 << 20
"""Bytes of one message: sound comes in pieces of that size at most."""

KEY_PROTOCOL: Final = "openai-insecure-api-key."
"""How browsers, which can set no headers, show a key (platform.openai.com/docs/guides/realtime-websocket, from memory)."""


def with_key(asked: Asked, protocols: list[str]) -> Asked:
    """The request with the key that its subprotocols show."""
    shown = next((name.removeprefix(KEY_PROTOCOL) for name in protocols if name.startswith(KEY_PROTOCOL)), None)
    return asked if shown is None else msgspec.structs.replace(asked, headers={**asked.headers, "authorization": f"Bearer {shown}"})


def model_of(asked: Asked) -> str:
    model = asked.query.get("model") or asked.query.get("deployment")
    if not model:
        raise BadRequestError("model is missing: /v1/realtime?model=…")
    return model


async def opened(to: Destination, asked: Asked, protocols: list[str]) -> ClientConnection:
    """The provider's side of a session. Raises HeadraceError."""
    query = {name: value for name, value in asked.query.items() if name not in ("model", "deployment", "key", "user")}
    url = f"{to.base_url}/realtime?{urlencode({**query, **to.query, 'model': to.model})}".replace("http", "ws", 1)
    headers = {name: value for name, value in to.headers if name not in ("content-type", "accept")}
    if beta := asked.headers.get("openai-beta"):
        headers["openai-beta"] = beta
    offered: Any = [name for name in protocols if not name.startswith("openai-")] or None
    try:
        return await connect(url, additional_headers=headers, subprotocols=offered, max_size=LARGEST, user_agent_header=None)
    except InvalidStatus as error:
        raise error_of(_refused(error.response.status_code, to)) from None
    except (OSError, WebSocketException, TimeoutError) as error:
        message = f"{to.provider.name}: no realtime session could be opened ({type(error).__name__})"
        raise error_of(Failure(Kind.CONNECTION, message, provider=to.provider.name, model=to.model)) from None


def _refused(status: int, to: Destination) -> Failure:
    kinds = {401: Kind.AUTHENTICATION, 403: Kind.PERMISSION, 404: Kind.NOT_FOUND, 429: Kind.RATE_LIMIT}
    kind = kinds.get(status, Kind.BAD_REQUEST if 400 <= status < 500 else Kind.SERVER)
    message = f"{to.provider.name} refused the realtime session with status {status}"
    return Failure(kind, message, status=status, provider=to.provider.name, model=to.model)


class Session:
    """Two open WebSockets: what comes at one leaves at the other."""

    def __init__(self, receive: Receive, send: Send, provider: ClientConnection) -> None:
        self._receive = receive
        self._send = send
        self._provider = provider
        self._used = {"input_tokens": 0, "output_tokens": 0, "cached_tokens": 0}
        self.left = False
        """Whether it was the caller who ended it."""

    @property
    def usage(self) -> dict[str, Any] | None:
        """Of all responses so far, in OpenAI's form; None while none was finished."""
        input, output = self._used["input_tokens"], self._used["output_tokens"]
        if not input and not output:
            return None
        details = {"cached_tokens": self._used["cached_tokens"]}
        return {"prompt_tokens": input, "completion_tokens": output, "total_tokens": input + output, "prompt_tokens_details": details}

    async def last(self) -> None:
        """Until one of the two ends it; then the other is told."""
        sides = (asyncio.create_task(self._from_caller()), asyncio.create_task(self._from_provider()))
        try:
            done, _ = await asyncio.wait(sides, return_when=asyncio.FIRST_COMPLETED)
            for side in done:
                await side
        finally:
            for side in sides:
                side.cancel()
            await asyncio.gather(*sides, return_exceptions=True)
            await self._provider.close()

    async def _from_caller(self) -> None:
        while (message := await self._receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            await self._provider.send(message["bytes"] if text is None else text)
        self.left = True

    async def _from_provider(self) -> None:
        try:
            async for message in self._provider:
                if isinstance(message, str):
                    self._look(message)
                    await self._send({"type": "websocket.send", "text": message})
                else:
                    await self._send({"type": "websocket.send", "bytes": message})
        except ConnectionClosed:
            pass
        code = self._provider.close_code or 1011
        reason = self._provider.close_reason or ""
        await self._send({"type": "websocket.close", "code": 1011 if code in (1005, 1006) else code, "reason": reason[:120]})

    def _look(self, message: str) -> None:
        if '"response.done"' not in message:
            return
        try:
            event = msgspec.json.decode(message)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return
        response = event.get("response") if isinstance(event, Mapping) and event.get("type") == "response.done" else None
        usage = response.get("usage") if isinstance(response, Mapping) else None
        if isinstance(usage, Mapping):
            details = usage.get("input_token_details") or {}
            for name, value in {**usage, "cached_tokens": details.get("cached_tokens")}.items():
                if name in self._used and isinstance(value, int):
                    self._used[name] += value


async def refuse(send: Send, status: int, body: bytes) -> None:
    """The answer to who asked for a session and gets none."""
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
    await send({"type": "websocket.http.response.body", "body": body})
