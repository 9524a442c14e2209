"""The calls of each client. Every peer's own interpreter imports this file, so peers are imported late.

A call returns a number that proves it read the result: the text's length, the number of streamed text chunks, or of
floats.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

KEY = "sk-benchmark"
HEADERS = {"authorization": f"Bearer {KEY}", "content-type": "application/json"}
CHAT_MODEL, EMBEDDING_MODEL = "gpt-4o-mini", "text-embedding-3-small"
MESSAGES = [
    {"role": "system", "content": "You answer in one short paragraph, without lists, and you keep to what was asked."},
    {"role": "user", "content": "Why does a mill need a headrace, and what happens when more water comes than the wheel can take?"},
]
TEXT = "One fast, fair channel to every model."
BODIES: dict[str, dict[str, Any]] = {
    "chat": {"model": CHAT_MODEL, "messages": MESSAGES, "temperature": 0.2},
    "stream": {"model": CHAT_MODEL, "messages": MESSAGES, "temperature": 0.2, "stream": True},
    "embedding": {"model": EMBEDDING_MODEL, "input": TEXT},
}

PATHS = {"chat": "/v1/chat/completions", "stream": "/v1/chat/completions", "embedding": "/v1/embeddings"}


@dataclass(frozen=True)
class Client:
    """A client to measure."""

    label: str
    peer: str
    """Its name for --peers."""
    home: str
    """The environment it runs in."""
    package: str
    open: Callable[[str, str], Any]
    """(url, kind) -> the call; a coroutine function for async clients."""


def _text(body: Any) -> int:
    return len(body["choices"][0]["message"]["content"])


def _floats(body: Any) -> int:
    return len(body["data"][0]["embedding"])


def _content(chunk: Any) -> int:
    choices = chunk.choices
    return 1 if choices and choices[0].delta.content else 0


def _embedding(item: Any) -> Any:
    """LiteLLM returns a dict, the others an object."""
    return item["embedding"] if isinstance(item, dict) else item.embedding


READ: Mapping[str, Callable[[Any], int]] = {"chat": _text, "embedding": _floats}
READ_OBJECT: Mapping[str, Callable[[Any], int]] = {
    "chat": lambda answer: len(answer.choices[0].message.content),
    "embedding": lambda answer: len(_embedding(answer.data[0])),
}


class Lines:
    """The minimal reader of server-sent events: split at blank lines, json.loads each."""

    def __init__(self) -> None:
        self.rest = b""
        self.count = 0

    def feed(self, data: bytes) -> None:
        *events, self.rest = (self.rest + data).split(b"\n\n")
        for event in events:
            if event != b"data: [DONE]" and json.loads(event[6:])["choices"][0]["delta"].get("content"):
                self.count += 1


# ---- async -----------------------------------------------------------------------------------------------------------------


async def aiohttp_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    import aiohttp

    session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0))
    url, body = address + PATHS[kind], BODIES[kind]

    async def whole() -> int:
        async with session.post(url, data=json.dumps(body).encode(), headers=HEADERS) as response:
            return READ[kind](json.loads(await response.read()))

    async def stream() -> int:
        lines = Lines()
        async with session.post(url, data=json.dumps(body).encode(), headers=HEADERS) as response:
            async for data in response.content.iter_any():
                lines.feed(data)
        return lines.count

    return stream if kind == "stream" else whole


async def httpx2_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    import httpx2

    client = httpx2.AsyncClient(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None), timeout=60)
    url, body = address + PATHS[kind], BODIES[kind]

    async def whole() -> int:
        response = await client.post(url, content=json.dumps(body).encode(), headers=HEADERS)
        return READ[kind](json.loads(response.content))

    async def stream() -> int:
        lines = Lines()
        async with client.stream("POST", url, content=json.dumps(body).encode(), headers=HEADERS) as response:
            async for data in response.aiter_bytes():
                lines.feed(data)
        return lines.count

    return stream if kind == "stream" else whole


def _object_async(kind: str, call: Callable[..., Awaitable[Any]]) -> Callable[[], Awaitable[int]]:
    """Read the result of an SDK's call."""

    async def whole() -> int:
        return READ_OBJECT[kind](await call())

    async def stream() -> int:
        count = 0
        async for chunk in await call():
            count += _content(chunk)
        return count

    return stream if kind == "stream" else whole


async def openai_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    import openai

    client = openai.AsyncOpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0)
    if kind == "embedding":
        return _object_async(kind, lambda: client.embeddings.create(model=EMBEDDING_MODEL, input=TEXT, encoding_format="float"))
    return _object_async(kind, lambda: client.chat.completions.create(**BODIES[kind]))


async def litellm_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    litellm = _litellm()
    return _object_async(kind, _direct(litellm.acompletion, litellm.aembedding, address, kind))


async def litellm_router_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    router = _litellm().Router(model_list=_model_list(address))
    return _object_async(kind, _routed(router.acompletion, router.aembedding, kind))


async def headrace_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    import headrace

    return _object_async(kind, _direct(headrace.acompletion, headrace.aembedding, address, kind))


async def headrace_router_async(address: str, kind: str) -> Callable[[], Awaitable[int]]:
    import headrace

    router = headrace.Router(model_list=_model_list(address))
    return _object_async(kind, _routed(router.acompletion, router.aembedding, kind))


# ---- blocking --------------------------------------------------------------------------------------------------------------


def httpx2_sync(address: str, kind: str) -> Callable[[], int]:
    import httpx2

    client = httpx2.Client(limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None), timeout=60)
    url, body = address + PATHS[kind], BODIES[kind]

    def whole() -> int:
        response = client.post(url, content=json.dumps(body).encode(), headers=HEADERS)
        return READ[kind](json.loads(response.content))

    def stream() -> int:
        lines = Lines()
        with client.stream("POST", url, content=json.dumps(body).encode(), headers=HEADERS) as response:
            for data in response.iter_bytes():
                lines.feed(data)
        return lines.count

    return stream if kind == "stream" else whole


def _object_sync(kind: str, call: Callable[..., Any]) -> Callable[[], int]:
    def stream() -> int:
        chunks: Iterable[Any] = call()
        return sum(map(_content, chunks))

    return stream if kind == "stream" else lambda: READ_OBJECT[kind](call())


def openai_sync(address: str, kind: str) -> Callable[[], int]:
    import openai

    client = openai.OpenAI(api_key=KEY, base_url=f"{address}/v1", max_retries=0)
    if kind == "embedding":
        return _object_sync(kind, lambda: client.embeddings.create(model=EMBEDDING_MODEL, input=TEXT, encoding_format="float"))
    return _object_sync(kind, lambda: client.chat.completions.create(**BODIES[kind]))


def litellm_sync(address: str, kind: str) -> Callable[[], int]:
    litellm = _litellm()
    return _object_sync(kind, _direct(litellm.completion, litellm.embedding, address, kind))


def litellm_router_sync(address: str, kind: str) -> Callable[[], int]:
    router = _litellm().Router(model_list=_model_list(address))
    return _object_sync(kind, _routed(router.completion, router.embedding, kind))


def headrace_sync(address: str, kind: str) -> Callable[[], int]:
    import headrace

    return _object_sync(kind, _direct(headrace.completion, headrace.embedding, address, kind))


def headrace_router_sync(address: str, kind: str) -> Callable[[], int]:
    import headrace

    router = headrace.Router(model_list=_model_list(address))
    return _object_sync(kind, _routed(router.completion, router.embedding, kind))


# ---- shared by headrace and LiteLLM: the same arguments for both --------------------------------------------------------------


def _litellm() -> Any:
    import litellm

    litellm.suppress_debug_info = True
    litellm.telemetry = False
    return litellm


def _direct(complete: Callable[..., Any], embed: Callable[..., Any], address: str, kind: str) -> Callable[[], Any]:
    where = {"api_base": f"{address}/v1", "api_key": KEY}
    if kind == "embedding":
        return lambda: embed(model=f"openai/{EMBEDDING_MODEL}", input=TEXT, encoding_format="float", **where)
    arguments = {**BODIES[kind], "model": f"openai/{CHAT_MODEL}", **where}
    return lambda: complete(**arguments)


def _routed(complete: Callable[..., Any], embed: Callable[..., Any], kind: str) -> Callable[[], Any]:
    if kind == "embedding":
        return lambda: embed(model="embed", input=TEXT, encoding_format="float")
    arguments = {**BODIES[kind], "model": "chat"}
    return lambda: complete(**arguments)


def _model_list(address: str) -> list[dict[str, Any]]:
    """Three deployments per model, with limits too large to ever wait: the accounting itself is measured."""
    return [
        {
            "model_name": group,
            "litellm_params": {
                "model": f"openai/{model}", "api_base": f"{address}/v1", "api_key": f"{KEY}-{number}",
                "rpm": 100_000_000, "tpm": 1_000_000_000_000,
            },
        }
        for group, model in (("chat", CHAT_MODEL), ("embed", EMBEDDING_MODEL))
        for number in range(3)
    ]  # fmt: skip


ASYNC = {
    "aiohttp": Client("aiohttp (floor)", "aiohttp", "http", "aiohttp", aiohttp_async),
    "httpx2": Client("httpx2", "httpx2", "http", "httpx2", httpx2_async),
    "openai": Client("openai SDK", "openai", "openai", "openai", openai_async),
    "litellm": Client("LiteLLM acompletion", "litellm", "litellm", "litellm", litellm_async),
    "litellm-router": Client("LiteLLM Router", "litellm", "litellm", "litellm", litellm_router_async),
    "headrace": Client("headrace acompletion", "headrace", "headrace", "headrace", headrace_async),
    "headrace-router": Client("headrace Router, limits", "headrace", "headrace", "headrace", headrace_router_async),
}
SYNC = {
    "httpx2": Client("httpx2.Client (floor)", "httpx2", "http", "httpx2", httpx2_sync),
    "openai": Client("openai SDK", "openai", "openai", "openai", openai_sync),
    "litellm": Client("LiteLLM completion", "litellm", "litellm", "litellm", litellm_sync),
    "litellm-router": Client("LiteLLM Router", "litellm", "litellm", "litellm", litellm_router_sync),
    "headrace": Client("headrace completion", "headrace", "headrace", "headrace", headrace_sync),
    "headrace-router": Client("headrace Router, limits", "headrace", "headrace", "headrace", headrace_router_sync),
}
CLIENTS = {"async": ASYNC, "sync": SYNC}
EXPECTED = {"chat": 126, "stream": 500, "embedding": 1536}
"""The number that each kind of call must return."""
