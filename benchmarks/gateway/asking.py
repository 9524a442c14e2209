"""One request for each of the gateway's endpoints, and a provider for every dialect that accepts requests and never responds."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from headrace.gateway.kept import marked_id
from headrace.served import marked_id as response_id

JSON: Final = "application/json"
FORM: Final = "multipart/form-data; boundary=b"

CHAT: Final = {"messages": [{"role": "user", "content": "hi"}]}
MESSAGES: Final = {**CHAT, "max_tokens": 20}
CONTENTS: Final = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}]}
CALLS: Final = {"endpoint": "/v1/chat/completions", "completion_window": "24h"}
KEPT_FILE: Final = marked_id("o", "file-1")
KEPT_BATCH: Final = marked_id("o", "batch_1")
KEPT_RESPONSE: Final = response_id("o", "resp_1")


@dataclass(frozen=True)
class Asking:
    """One request. `body`: fields of JSON, or of a form with a file named `file`."""

    path: str
    body: Mapping[str, Any] | None = None
    method: str = "POST"
    file: str = ""


def _both(name: str, path: str, body: Mapping[str, Any]) -> dict[str, Asking]:
    return {f"{name}, {how}": Asking(path, {**body, "stream": how == "streamed"}) for how in ("whole", "streamed")}


def _azure(name: str, path: str, body: Mapping[str, Any], file: str = "") -> dict[str, Asking]:
    """At OpenAI's path, and at Azure's, which contains the model."""
    at = f"/openai/deployments/o/{path}?api-version=2024-10-21"
    return {name: Asking(f"/v1/{path}", {**body, "model": "o"}, file=file), f"{name}, Azure's": Asking(at, body, file=file)}


EVERYWHERE: Final[Mapping[str, Asking]] = {
    **_both("chat", "/v1/chat/completions", {**CHAT, "model": "o"}),
    **_both("chat, Azure's", "/openai/deployments/o/chat/completions?api-version=2024-10-21", CHAT),
    **_both("chat with a Responses body", "/v1/chat/completions", {"input": "hi", "model": "o"}),
    **_both("chat, translated", "/v1/chat/completions", {**CHAT, "model": "a"}),
    **_both("completions", "/v1/completions", {"prompt": "hi", "model": "o"}),
    **_both("completions, Azure's", "/openai/deployments/o/completions?api-version=2024-10-21", {"prompt": "hi"}),
    **_azure("embeddings", "embeddings", {"input": "hi"}),
    **_both("responses", "/v1/responses", {"input": "hi", "model": "o"}),
    "response": Asking(f"/v1/responses/{KEPT_RESPONSE}", method="GET"),
    "response deleted": Asking(f"/v1/responses/{KEPT_RESPONSE}", method="DELETE"),
    "response cancelled": Asking(f"/v1/responses/{KEPT_RESPONSE}/cancel"),
    "response's input items": Asking(f"/v1/responses/{KEPT_RESPONSE}/input_items", method="GET"),
    **_both("messages", "/v1/messages", {**MESSAGES, "model": "a"}),
    **_both("messages, translated", "/v1/messages", {**MESSAGES, "model": "o"}),
    "count_tokens": Asking("/v1/messages/count_tokens", {**CHAT, "model": "a"}),
    "generateContent": Asking("/v1beta/models/g:generateContent", CONTENTS),
    "streamGenerateContent": Asking("/v1beta/models/g:streamGenerateContent?alt=sse", CONTENTS),
    "streamGenerateContent, JSON array": Asking("/v1beta/models/g:streamGenerateContent", CONTENTS),
    "countTokens": Asking("/v1beta/models/g:countTokens", CONTENTS),
    "embedContent": Asking("/v1beta/models/o:embedContent", {"content": {"parts": [{"text": "hi"}]}}),
    "batchEmbedContents": Asking("/v1beta/models/o:batchEmbedContents", {"requests": [{"content": {"parts": [{"text": "hi"}]}}]}),
    **_azure("images", "images/generations", {"prompt": "hi"}),
    **_azure("edits", "images/edits", {"prompt": "hi"}, file="image"),
    **_azure("variations", "images/variations", {}, file="image"),
    **_azure("speech", "audio/speech", {"input": "hi", "voice": "alloy"}),
    **_azure("transcription", "audio/transcriptions", {}, file="file"),
    **_azure("translation", "audio/translations", {}, file="file"),
    **_azure("moderation", "moderations", {"input": "hi"}),
    "rerank": Asking("/v1/rerank", {"query": "hi", "documents": ["a"], "model": "c"}),
    "rerank v2": Asking("/v2/rerank", {"query": "hi", "documents": ["a"], "model": "c"}),
    "file uploaded": Asking("/v1/files", {"purpose": "user_data"}, file="file"),
    "files": Asking("/v1/files", method="GET"),
    "file": Asking(f"/v1/files/{KEPT_FILE}", method="GET"),
    "file's content": Asking(f"/v1/files/{KEPT_FILE}/content", method="GET"),
    "file deleted": Asking(f"/v1/files/{KEPT_FILE}", method="DELETE"),
    "batch created": Asking("/v1/batches", {**CALLS, "input_file_id": KEPT_FILE}),
    "batches": Asking("/v1/batches", method="GET"),
    "batch": Asking(f"/v1/batches/{KEPT_BATCH}", method="GET"),
    "batch cancelled": Asking(f"/v1/batches/{KEPT_BATCH}/cancel"),
    "passed through": Asking("/openai/v1/evals", {"name": "x"}),
    "passed through, GET": Asking("/gemini/v1beta/cachedContents", method="GET"),
}
"""By description."""


@dataclass(frozen=True)
class Request:
    """The bytes of one request, and where to send them."""

    host: str
    port: int
    data: bytes


def request_of(address: str, key: str, asked: Asking) -> Request:
    at = urlsplit(address)
    host, port = str(at.hostname), int(at.port or 80)
    content, kind = _written(asked)
    head = (
        f"{asked.method} {asked.path} HTTP/1.1\r\nhost: {host}:{port}\r\nauthorization: Bearer {key}\r\n"
        f"content-type: {kind}\r\ncontent-length: {len(content)}\r\n\r\n"
    )
    return Request(host, port, head.encode() + content)


def _written(asked: Asking) -> tuple[bytes, str]:
    if asked.file:
        texts = [f'form-data; name="{name}"\r\n\r\n{value}' for name, value in (asked.body or {}).items()]
        parts = [*texts, f'form-data; name="{asked.file}"; filename="x.png"\r\n\r\nx']
        return ("".join(f"--b\r\ncontent-disposition: {part}\r\n" for part in parts) + "--b--\r\n").encode(), FORM
    return (b"" if asked.body is None else json.dumps(asked.body).encode()), JSON


def models_over(provider: str, **limits: int) -> list[dict[str, Any]]:
    """A model of each dialect: `o` OpenAI's, `a` Anthropic's, `g` Google's, `c` Cohere's."""
    models = {"o": "openai/own", "a": "anthropic/own", "g": "gemini/own", "c": "cohere/own"}
    return [
        {
            "model_name": name,
            "litellm_params": {"model": model, "api_key": f"sk-{name}", "base_url": f"{provider}/v1", **limits},
            "model_info": {"id": name},
        }
        for name, model in models.items()
    ]


class Silent:
    """A provider that accepts requests and never responds; counts the connected callers."""

    def __init__(self) -> None:
        self.in_flight = 0
        """Connections whose request has begun to arrive and whose caller is still connected."""
        self.address = ""
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self.left_at = 0.0
        """When the last caller had disconnected, by `time.perf_counter`."""
        self._over = asyncio.Event()
        self._thread = threading.Thread(target=self._loop.run_until_complete, args=(self._serve(),), daemon=True)

    def __enter__(self) -> Silent:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._over.set)
        self._thread.join()
        self._loop.close()

    async def _serve(self) -> None:
        server = await asyncio.start_server(self._hear, "127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        self._ready.set()
        await self._over.wait()
        server.close()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await reader.read(1):
            return
        self.in_flight += 1
        try:
            while await reader.read(1 << 16):
                pass
        except ConnectionResetError:
            pass
        finally:
            self.left_at = time.perf_counter()
            self.in_flight -= 1
            writer.close()
