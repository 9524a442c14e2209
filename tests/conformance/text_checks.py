"""What must hold of recorded text completions in forms of their providers' own: asked in OpenAI's words, and answered in them."""

from __future__ import annotations

import base64
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import unquote

from conformance.checks import differences
from conformance.corpus import Exchange
from conformance.endpoint_checks import Replay
from headrace import direct
from headrace.calls import COMPLETIONS
from headrace.dialects.base import Target
from headrace.dialects.forms import Formed, form_of
from headrace.dialects.packing import PACKINGS
from headrace.errors import TruncatedStream
from headrace.framing import EventStreamReader, SseReader
from headrace.wire import Headers, HttpRequest, HttpResponse

WORDS = {
    **dict.fromkeys(("maxTokenCount", "max_gen_len", "max_tokens_to_sample", "maxTokens"), "max_tokens"),
    **dict.fromkeys(("topP", "p"), "top_p"),
    **dict.fromkeys(("stopSequences", "stop_sequences"), "stop"),
}
"""The makers' words in OpenAI's."""

COMPLETING = re.compile(
    r"titan-t(?:ext|g1)|meta\.llama|mistral\.mi[sx]tral-(?:7b|8x7b)|cohere\.command-(?:light-)?text|ai21\.j2|claude-(?:instant|v2)"
)


def model_of(exchange: Exchange) -> str:
    return unquote((exchange.path or "").removeprefix("/model/").rpartition("/")[0])


def of_bedrock(exchanges: Iterable[Exchange]) -> list[Exchange]:
    them = [it for it in exchanges if it.provider == "bedrock" and it.endpoint.startswith("invoke") and isinstance(it.request_json, dict)]
    return [
        it for it in them if it.family == "bedrock-invoke-other" and COMPLETING.search(model_of(it)) and "messages" not in it.request_json
    ]


def asked(exchange: Exchange) -> dict[str, Any]:
    """The recorded request in OpenAI's words, by hand."""
    body = dict(exchange.request_json)
    body |= body.pop("textGenerationConfig", {})
    said = {WORDS.get(name, name): value for name, value in body.items()}
    return {
        "prompt": said.pop("inputText", None) or said.pop("prompt"),
        **{name: value for name, value in said.items() if name != "prompt"},
    }


def completed(exchange: Exchange) -> list[str]:
    """Called as a text completion, the recorded body goes to the recorded place, and the answer holds all that was recorded."""
    replay, body = Replay(exchange), asked(exchange)
    options = {**body, "api_key": "a-key-of-somebody", "base_url": "https://bedrock-runtime.us-east-1.amazonaws.com"}
    prompt = options.pop("prompt")
    answer = direct.blocking(replay, COMPLETIONS, f"bedrock/{model_of(exchange)}", prompt, False, options, {}).model_dump()
    assert replay.asked is not None
    path = unquote(replay.asked.url.partition(".com")[2])
    wrong = list(differences(exchange.request_json, json.loads(replay.asked.body)))
    wrong += [] if path == unquote(exchange.path or "") else [f"asked at {path}"]
    lost = Counter(leaves(exchange.response_json)) - Counter(leaves(answer))
    wrong += [f"{value[:60]} is lost" for value in lost]
    wrong += [] if answer["choices"][0]["finish_reason"] in ("stop", "length") else ["it does not say why it ended"]
    counted = [exchange.headers.get(f"x-amzn-bedrock-{name}-token-count") for name in ("input", "output")]
    told = [str(answer["usage"][name]) for name in ("prompt_tokens", "completion_tokens")] if answer.get("usage") else [None, None]
    return wrong + ([] if told == counted else [f"it counts {told}, the headers {counted}"])


def leaves(value: Any) -> Iterator[str]:
    """Every text and number, numbers of any kind alike."""
    match value:
        case dict():
            for inner in value.values():
                yield from leaves(inner)
        case list():
            for inner in value:
                yield from leaves(inner)
        case int() | float() if not isinstance(value, bool):
            yield f"{value:.12g}"
        case None:
            return
        case _:
            yield str(value)


def chunks(exchange: Exchange, data: bytes, size: int) -> list[dict[str, Any]]:
    """A stream's chunks, its bytes coming in pieces. Raises HeadraceError."""
    model = model_of(exchange)
    form = Formed(form_of("completions", "bedrock"), Target("bedrock", model), {"model": model, **asked(exchange)}, "completions")
    frames, reader = PACKINGS[form.packing](SseReader(), "bedrock", model), form.read_stream()
    told: list[dict[str, Any]] = []
    for at in range(0, len(data), size):
        for frame in frames.feed(data[at : at + size]):
            told += reader.chunks(frame)
    for frame in frames.close():
        told += reader.chunks(frame, last=True)
    return [*told, *reader.rest()]


def streamed(exchange: Exchange) -> list[str]:
    """A stream says the texts of its events, ends as they do, and fails where it is cut off before."""
    data = base64.b64decode(exchange.eventstream_b64 or "")
    events = [json.loads(base64.b64decode(json.loads(frame.data)["bytes"])) for frame in EventStreamReader().feed(data)]
    texts = [event.get("outputText") or event.get("completion") or event.get("generation") or "" for event in events]
    whole = chunks(exchange, data, len(data))
    told = [choice for chunk in whole for choice in chunk["choices"]]
    wrong = [] if "".join(choice["text"] for choice in told) == "".join(texts) else ["it says something else"]
    blocked = any("INTERVENED" in str(event) for event in events)
    wrong += [] if blocked or told[-1]["finish_reason"] in ("stop", "length") else ["it does not say why it ended"]
    wrong += [] if chunks(exchange, data, 7) == whole else ["in small pieces it says something else"]
    try:
        chunks(exchange, data[: len(data) // 3], 512)
    except TruncatedStream:
        return wrong
    return [*wrong, "cut off it ends well"]


# ---- others ------------------------------------------------------------------------------------------------------------------------


def of_watsonx(exchanges: Iterable[Exchange]) -> list[Exchange]:
    them = [it for it in exchanges if it.provider == "watsonx" and it.sse_text and isinstance(it.request_json, dict)]
    return [it for it in them if "generation" in (it.path or "")]


def generated(exchange: Exchange) -> list[str]:
    """watsonx: the recorded body is written, and the stream's texts and counts are read."""
    body = dict(exchange.request_json)
    said = {"prompt": body.pop("input"), **body.pop("parameters", {}), **body}
    form = Formed(form_of("completions", "watsonx"), Target("watsonx", body["model_id"]), {"model": "m", **said}, "completions")
    written = {name: value for name, value in json.loads(form.write().body).items() if name != "model"}
    reader = form.read_stream()
    told = [chunk for frame in exchange.frames() for chunk in reader.chunks(frame)] + list(reader.rest())
    results = [json.loads(frame.data)["results"][0] for frame in exchange.frames()]
    wrong = list(differences(exchange.request_json, written))
    texts = "".join(choice["text"] for chunk in told for choice in chunk["choices"])
    wrong += [] if texts == "".join(result["generated_text"] for result in results) else ["it says something else"]
    counts = [max(result[name] for result in results) for name in ("input_token_count", "generated_token_count")]
    read = [reader.usage[name] for name in ("prompt_tokens", "completion_tokens")]
    return wrong + ([] if read == counts else [f"it counts {read}, the stream {counts}"])


def of_replicate(exchanges: Iterable[Exchange]) -> list[Exchange]:
    them = [it for it in exchanges if it.provider == "replicate" and it.method == "POST" and isinstance(it.request_json, dict)]
    return [it for it in them if (it.path or "").endswith("/predictions")]


def predicted(exchange: Exchange) -> list[str]:
    """Replicate: the recorded body goes to the recorded place, and its answer says where to ask next, or where the stream is."""
    body = exchange.request_json
    model = (exchange.path or "").removeprefix("/v1/models/").removesuffix("/predictions")
    model = f"owner/name:{body['version']}" if "version" in body else model
    said = {"model": model, **body["input"], **({"stream": True} if body.get("stream") else {})}
    form = Formed(form_of("completions", "replicate"), Target("replicate", model, "https://api.replicate.com/v1"), said, "completions")
    asked, reply = form.write(), HttpResponse(exchange.status, Headers(), json.dumps(exchange.response_json).encode())
    wrong = list(differences(body, json.loads(asked.body)))
    wrong += [] if asked.url.endswith(f".com{exchange.path}") else [f"asked at {asked.url}"]
    then = form.opening(reply)[0] if body.get("stream") else form.then(reply, "")
    url = then.url if isinstance(then, HttpRequest) else then and then.request.url
    return wrong + ([] if url in exchange.response_json["urls"].values() else [f"it goes on at {url}"])
