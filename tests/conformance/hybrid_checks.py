"""Clouds that serve others' dialects: what was recorded goes to the same address, in the same envelope, and is unpacked to the same."""

from __future__ import annotations

import base64
import json
import random
import re
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from conformance import anthropic_checks
from conformance.checks import differences
from conformance.corpus import Exchange, everything
from headrace.calls import CHAT, EMBEDDINGS, prepare
from headrace.destinations import Destination, destination
from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.packing import PACKINGS
from headrace.errors import HeadraceError
from headrace.framing import SseReader
from headrace.providers.hybrids import enveloped
from headrace.types import EmbeddingRequest, Finished, StreamEvent
from headrace.wire import Headers, HttpResponse
from headrace.writing import translation_of, write

CLOUDS = ("azure", "vertex", "bedrock", "bedrock-mantle", "databricks", "snowflake", "cloudflare")


def asked(*providers: str) -> list[Exchange]:
    return [it for it in everything() if it.provider in (providers or CLOUDS) and it.status < 300 and isinstance(it.request_json, dict)]


# ---- addresses ----------------------------------------------------------------------------------------------------------------------

PLACES: tuple[tuple[str, str], ...] = (
    # path of the recording, `base` of which is the address, and the prefix that names its model
    (r"(?P<base>)/+openai/deployments/(?P<model>[^/]+)/(?:chat/completions|embeddings|completions)$", "azure/"),
    (r"(?P<base>/openai/v1)/(?:chat/completions|embeddings|responses)$", "azure/"),
    (r"(?P<base>)/openai/responses$", "azure/"),
    (r"(?P<base>)/models/chat/completions$", "azure_ai/"),
    (r"(?P<base>/v1(?:beta1)?(?:/projects/[^/]+/locations/[^/]+)?)/publishers/google/models/(?P<model>[^:]+):\w+$", "vertex_ai/"),
    (r"(?P<base>/v1(?:beta1)?/projects/[^/]+/locations/[^/]+)/publishers/anthropic/models/(?P<model>[^:]+):\w+$", "vertex_ai/"),
    (r"(?P<base>)/model/(?P<model>.+)/converse(?:-stream)?$", "bedrock/"),
    (r"(?P<base>)/model/(?P<model>[\w.]*anthropic\.claude[^/]*)/invoke(?:-with-response-stream)?$", "bedrock/invoke/"),
    (r"(?P<base>)/model/(?P<model>[^/]*embed[^/]*)/invoke$", "bedrock/"),
    (r"(?P<base>(?:/openai)?/v1)/(?:chat/completions|responses)$", "bedrock_mantle/"),
    (r"(?P<base>/serving-endpoints)/chat/completions$", "databricks/"),
    (r"(?P<base>/api/v2/cortex/v1)/chat/completions$", "snowflake/"),
    (r"(?P<base>/client/v4/accounts/[^/]+/ai/v1)/chat/completions$", "cloudflare/"),
)


def place(exchange: Exchange) -> tuple[str, str] | None:
    """The model's name as a caller writes it, and the address he gives; None for what is no call of a model."""
    for pattern, prefix in PLACES:
        found = re.match(pattern, exchange.path or "")
        if found is not None and _of(prefix, exchange.provider):
            named = found.groupdict().get("model") or (exchange.request_json or {}).get("model", "m")
            return prefix + unquote(named), f"https://{exchange.host or 'host.example'}{found['base']}"
    return None


def _of(prefix: str, provider: str) -> bool:
    return prefix.split("/")[0].removesuffix("_ai").replace("_", "-") == provider


def sent_to(exchange: Exchange) -> Destination:
    name, address = place(exchange) or ("", "")
    return destination(name, {"base_url": address, "api_key": "a-key-of-somebody"})


def address(exchange: Exchange) -> list[str]:
    """The path is the recorded one. Which version was asked for is the caller's to say."""
    body = exchange.request_json
    call, to = called(exchange), sent_to(exchange)
    written = urlsplit(write(call, to, translation_of(call, to)).url)
    path = re.sub("^/+", "/", exchange.path or "")
    wrong = [] if unquote(written.path) == unquote(path) else [f"it goes to {written.path}"]
    streams = dict(parse_qsl(written.query)).get("alt") == "sse"
    return wrong + ([] if streams == ("streamGenerate" in path) else [f"its stream is asked for by {written.query}: {list(body)}"])


def called(exchange: Exchange) -> Any:
    path, stream = exchange.path or "", "stream" in (exchange.path or "").lower() or bool((exchange.request_json or {}).get("stream"))
    if "embed" in path:
        return prepare(EMBEDDINGS, "m", "text", False, {})
    return prepare(CHAT, "m", [{"role": "user", "content": "hi"}], stream, {})


OTHERS = frozenset({"responses", "completions", "count_tokens", "cachedContents"})
"""Endpoints that no chat and no embedding goes to."""


def places() -> list[Exchange]:
    return [it for it in asked() if not it.reply_only and it.endpoint not in OTHERS and place(it) is not None]


# ---- Claude in an envelope ----------------------------------------------------------------------------------------------------------


def claudes() -> list[Exchange]:
    return [it for it in asked("vertex", "bedrock") if it.family == "anthropic"]


def envelope(exchange: Exchange) -> list[str]:
    """Read as Anthropic's and put in the row's envelope, a body is the recorded one, version and all."""
    body, to = exchange.request_json, sent_to(exchange)
    bare = {name: value for name, value in body.items() if name != "anthropic_version"}
    request = anthropic_checks.requests.read_request({"model": to.model, **bare})
    written = enveloped(to.provider.envelope, anthropic_checks.MESSAGES.write_request(request, Target("x", to.model, to.base_url)))
    return list(differences(anthropic_checks.same_words(body), anthropic_checks.same_words(json.loads(written.body))))


# ---- packed streams -----------------------------------------------------------------------------------------------------------------


def packed() -> list[Exchange]:
    return [it for it in everything() if it.endpoint == "invoke-stream" and it.eventstream_b64 and it.family in ("anthropic", "converse")]


def dialect_of(exchange: Exchange) -> Any:
    return load("anthropic_messages" if exchange.family == "anthropic" else "bedrock_converse")


def events(exchange: Exchange, data: bytes, size: int) -> list[StreamEvent]:
    """The events of a packed stream that comes in pieces of `size` bytes. Raises HeadraceError."""
    target = Target("bedrock", "m")
    frames, reader = PACKINGS["aws_chunks"](SseReader(), "bedrock", "m"), dialect_of(exchange).read_stream(anthropic_checks.ASKED, target)
    told: list[StreamEvent] = []
    for at in range(0, len(data), size):
        for frame in frames.feed(data[at : at + size]):
            told += reader.feed(frame)
    for frame in frames.close():
        told += reader.feed(frame, last=True)
    return told + reader.close()


def unpacked(exchange: Exchange) -> list[str]:
    """However its bytes are cut, a packed stream tells the same; Claude's tells what its events tell as server-sent ones."""
    data = base64.b64decode(exchange.eventstream_b64 or "")
    whole = events(exchange, data, len(data))
    wrong = [f"in pieces of {size} bytes it tells something else" for size in (1, 7, 1000) if events(exchange, data, size) != whole]
    if exchange.family == "anthropic":
        plain = anthropic_checks.events_of(anthropic_checks.data_of(exchange), exchange)
        return wrong + ([] if plain == whole else ["as server-sent events it tells something else"])
    return wrong + ([] if any(isinstance(event, Finished) for event in whole) else ["it does not finish"])


def cuts(exchange: Exchange) -> list[str]:
    """Cut anywhere before the last event, a packed stream fails and has not finished."""
    data = base64.b64decode(exchange.eventstream_b64 or "")
    chance, wrong = random.Random(exchange.id), []
    for at in sorted(chance.sample(range(1, len(data) - 2000), min(40, len(data) - 2001))) if len(data) > 2100 else []:
        try:
            told = events(exchange, data[:at], 512)
        except HeadraceError:
            continue
        wrong.append(f"cut at {at} of {len(data)} it ends well: {told[-1:]}")
    return wrong


# ---- embeddings ---------------------------------------------------------------------------------------------------------------------


def embeddings() -> list[Exchange]:
    return [it for it in asked("bedrock") if it.endpoint == "invoke" and "embed" in (it.path or "")]


def embedded(exchange: Exchange) -> list[str]:
    """The recorded request is written from a caller's words, and the reply's vectors and count are read."""
    body, to = exchange.request_json, sent_to(exchange)
    form: Any = load(to.provider.embedder)
    request = EmbeddingRequest(model=to.model, **said(body))
    written = json.loads(enveloped(to.provider.envelope, form.write_embedding_request(request, Target("bedrock", to.model))).body)
    written.pop("embedding_types", None)  # asked for beside, where the recording relies on what is usual
    reply = HttpResponse(200, Headers.of(exchange.headers), json.dumps(exchange.response_json).encode())
    read = form.read_embedding_response(reply, request, Target("bedrock", to.model))
    wrong = list(differences(body, written))
    wrong += [] if [list(it.values) for it in read.data] == vectors(exchange.response_json) else ["other vectors are read"]
    counted = exchange.headers.get("x-amzn-bedrock-input-token-count") if to.provider.embedder != "cohere" else None
    return wrong + ([] if counted is None or (read.usage and read.usage.input == int(counted)) else [f"it counts {read.usage}"])


def said(body: dict[str, Any]) -> dict[str, Any]:
    """The request in a caller's words, by hand."""
    if "singleEmbeddingParams" in body:
        own = dict(body["singleEmbeddingParams"])
        text = own.pop("text")
        return {"input": text["value"], "extra": {**own, "truncationMode": text["truncationMode"]}}
    rest = dict(body)
    given = rest.pop("inputText", None) or rest.pop("texts")
    return {"input": given, "dimensions": rest.pop("output_dimension", None), "extra": rest}


def vectors(body: dict[str, Any]) -> list[list[float]]:
    if "embedding" in body:
        return [body["embedding"]]
    found: Any = body["embeddings"]
    if isinstance(found, dict):
        found = found["float"]
    return [it["embedding"] if isinstance(it, dict) else it for it in found]
