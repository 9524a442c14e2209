"""Routes: which handler serves a path. `/v1` may be omitted; paths of known but unsupported APIs are refused by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any, Final, Literal, NamedTuple, TypeAlias
from urllib.parse import unquote

import msgspec
from msgspec import Struct

from headrace.calls import (
    CHAT,
    COMPLETIONS,
    EMBEDDINGS,
    IMAGE_EDITS,
    IMAGE_VARIATIONS,
    IMAGES,
    MODERATIONS,
    OCR,
    RERANK,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    Operation,
)
from headrace.counted import COUNT
from headrace.errors import Kind
from headrace.gateway import bedrock, client_apis, cohere_chat, cohere_vectors, fim, invoke_model, message_batches, ollama
from headrace.gateway.context import ConvertedCall, Reply, RequestContext, RouterCall, wanted
from headrace.gateway.kept import (
    check_going_on,
    deleted_file,
    file_content,
    kept_batch,
    kept_file,
    kept_response,
    list_batches,
    list_files,
    new_batch,
    new_file,
)
from headrace.gateway.listing import models, one_model
from headrace.gateway.media import filed, heard, moderate, rank
from headrace.gateway.requests import IncomingRequest, refusal
from headrace.kept import BATCH, BATCH_CANCEL, BATCHES, FILE, FILES
from headrace.served import (
    COHERE_CHAT,
    CONTENT,
    CONVERSE,
    MESSAGES,
    OLLAMA_CHAT,
    RESPONSE,
    RESPONSE_CANCEL,
    RESPONSE_COMPACT,
    RESPONSE_DELETE,
    RESPONSE_ITEMS,
    RESPONSES,
)

Handler: TypeAlias = Callable[[RequestContext, IncomingRequest, dict[str, Any]], Reply]


class Endpoint(Struct, frozen=True, eq=False):
    """The handler of a request, and the body it takes."""

    make: Handler
    takes: Literal["json", "form", "nothing"] = "json"


@lru_cache(maxsize=1024)
def route_or_none(method: str, path: str) -> Endpoint | None:
    """The handler of a request; None if there is none."""
    path = plain(path)
    for row in ROUTES:
        if row.method == method and (found := row.path.fullmatch(path)):
            return Endpoint(partial(row.make, **{name: unquote(value) for name, value in found.groupdict().items()}), row.takes)
    return None


def route(method: str, path: str) -> Endpoint:
    """The handler of a request. Raises a refusal with status 404, 405 or 501."""
    found = route_or_none(method, path)
    if found is not None:
        return found
    allowed = [row.method for row in ROUTES if row.path.fullmatch(plain(path))]
    if allowed:
        raise refusal(405, Kind.BAD_REQUEST, f"{path} takes {', '.join(allowed)}, not {method}")
    if _LATER.match(path):
        raise refusal(501, Kind.NOT_FOUND, f"{path} is not supported by this gateway yet", code="unknown_url")
    raise refusal(404, Kind.NOT_FOUND, f"there is no {path} here", code="unknown_url")


_SLASHES: Final = re.compile("//+")
_AGAIN: Final = re.compile(r"((?:/anthropic|/openai)?)(/v1(?:beta|alpha)?)\2+(?=/)")
_VERTEX: Final = re.compile(r"(?:/v1(?:beta1?)?)?(?:/projects/[^/]+/locations/[^/]+)?/publishers/(google|anthropic)/models/")
_PUBLISHED: Final = {"google": "/v1beta/models/", "anthropic": "/publishers/anthropic/models/"}


def plain(path: str) -> str:
    """A path in its usual form, despite a base URL that ends in a slash or in the version that its client adds too.

    Vertex AI's paths of models are shortened, whatever the project.
    """
    path = _AGAIN.sub(r"\1\2", _SLASHES.sub("/", path), count=1)
    found = _VERTEX.match(path)
    return path if found is None else _PUBLISHED[found[1]] + path[found.end() :]


def plain_call(method: str, path: str) -> Operation | None:
    """The operation of a path that serves only one and has no model in the path; None for any other path."""
    found = route_or_none(method, path)
    made = found.make if found is not None else None
    return _PLAIN.get(made.func) if isinstance(made, partial) and not made.keywords.get("model") else None


_LATER: Final = re.compile(r"(/openai)?(/v1)?/(images|audio|fine_tuning|vector_stores|assistants|threads|uploads|videos)\b")


def _plain(operation: Operation) -> Callable[..., Reply]:
    def make(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> Reply:
        return wanted(operation, body, model)

    return make


def _chat(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> Reply:
    return wanted(CHAT, client_apis.as_chat(body, model), model)


def respond(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "", operation: Operation = RESPONSES) -> Reply:
    """A call of Responses. What it continues must be the caller's own, and its ids are sealed for the caller."""
    check_going_on(here, body, model or str(body.get("model") or ""))
    call = wanted(operation, body, model)
    return msgspec.structs.replace(call, options={**call.options, "seal": here.caller.seal})


def _message(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """A call of Messages. The `anthropic-beta` header, which affects the format of the body, is passed on as its `betas`."""
    if body.get("thread") is not None:
        raise client_apis.no_threads()
    if words := betas_of(asked.headers):
        given = body.get("betas")
        body["betas"] = list(dict.fromkeys([*([word for word in given if word] if isinstance(given, list) else []), *words]))
    return wanted(MESSAGES, body)


def _predict(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str, verb: str) -> Reply:
    """Claude in Vertex AI's format: model in the path, API version and betas in the body.

    docs.claude.com/en/api/claude-on-vertex-ai, read 2026-11.
    """
    if model == "count-tokens":
        return _count(here, asked, body)
    said = {name: value for name, value in body.items() if name not in ("anthropic_version", "anthropic_beta")}
    return _message(here, asked, {**said, "model": model, "betas": body.get("anthropic_beta")})


def _invoke(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str, verb: str) -> Reply:
    """InvokeModel, in Claude's or another vendor's format. The path says whether it is streamed."""
    stream = verb.endswith("stream")
    if not bedrock.is_claudes(body):
        return invoke_model.invoke(here, asked, body, model, stream=stream)
    return _message(here, asked, {**bedrock.claudes(body, model), "stream": stream})


def betas_of(headers: Mapping[str, str]) -> list[str]:
    """The beta names in the `anthropic-beta` header."""
    return [word for part in headers.get("anthropic-beta", "").split(",") if (word := part.strip())]


_embed_plainly: Final = _plain(EMBEDDINGS)

_PLAIN: Final[Mapping[Callable[..., Reply], Operation]] = {
    _chat: CHAT, _message: MESSAGES, respond: RESPONSES, _embed_plainly: EMBEDDINGS,
}  # fmt: skip


# ---- Google ----------------------------------------------------------------------------------------------------------------------


def _generate(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str, verb: str) -> Reply:
    return client_apis.content_wanted(body, model, stream=verb == "streamGenerateContent")


def _embed(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str, verb: str) -> Reply:
    many = verb == "batchEmbedContents"
    call = client_apis.embed_wanted(body, model, many=many)
    if not _is_googles(here, model):
        call = msgspec.structs.replace(call, options={name: call.options[name] for name in call.options if name not in client_apis.GOOGLES})
    return ConvertedCall(call, partial(client_apis.embedded, many=many))


def _is_googles(here: RequestContext, model: str) -> bool:
    deployment = here.router.get_deployment_by_model_group_name(here.meant(model))
    return deployment is not None and deployment.model.partition("/")[0] in ("gemini", "vertex_ai")


# ---- token counts
# ----------------------------------------------------------------------------------------------------------------


def _count(here: RequestContext, asked: IncomingRequest, body: dict[str, Any], model: str = "") -> Reply:
    google = bool(model)
    model = model or str(body.get("model") or "")
    question = (client_apis.google_question if google else client_apis.anthropic_question)(body, model)
    field = "totalTokens" if google else "input_tokens"
    call = RouterCall(COUNT, model, question.pop("messages"), False, question)
    return ConvertedCall(call, lambda made: {field: made.total_tokens})


def _count_input(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """The input tokens of a call of Responses."""
    model = str(body.get("model") or "")
    question = client_apis.chat_of("openai_responses", {"input": [], **body}, model)
    call = RouterCall(COUNT, model, question.pop("messages"), False, question)
    return ConvertedCall(call, lambda made: {"object": "response.input_tokens", "input_tokens": made.total_tokens})


# ---- the table -------------------------------------------------------------------------------------------------------------------


class Row(NamedTuple):
    """One route."""

    method: str
    path: re.Pattern[str]
    make: Callable[..., Reply]
    takes: Literal["json", "form", "nothing"] = "json"
    asks: Operation | None = None
    """The operation whose body it takes, in OpenAI's format or the dialect's own."""


_OPENAI: Final = r"(?:/openai)?(?:/v1)?"
_AZURE: Final = r"/(?:openai/deployments|engines)/(?P<model>.+)"
_GEMINI: Final = r"/v1(?:beta|alpha)?/models/(?P<model>.+)"
_BEDROCK: Final = "/model/(?P<model>.+)"
_ID: Final = "/(?P<id>[^/]+)"
_MESSAGE_BATCHES: Final = r"(?:/anthropic)?(?:/v1)?/messages/batches"


def _post(path: str, make: Callable[..., Reply], takes: Literal["json", "form", "nothing"] = "json", asks: Operation | None = None) -> Row:
    return Row("POST", re.compile(path), make, takes, asks)


def _get(path: str, make: Callable[..., Reply]) -> Row:
    return Row("GET", re.compile(path), make, "nothing")


def _delete(path: str, make: Callable[..., Reply]) -> Row:
    return Row("DELETE", re.compile(path), make, "nothing")


def _by_model(path: str, asks: Operation, make: Callable[..., Reply] | None = None) -> tuple[Row, Row]:
    """Routes at OpenAI's path, and at Azure's with the model in the path."""
    handler = make or (filed if asks.files else _plain)(asks)
    takes: Literal["json", "form"] = "form" if asks.files else "json"
    return _post(_OPENAI + path, handler, takes, asks), _post(_AZURE + path, handler, takes, asks)


ROUTES: Final[tuple[Row, ...]] = (
    *_by_model("/chat/completions", CHAT, _chat),
    *_by_model("/responses", RESPONSES, respond),
    _post(_OPENAI + "/responses/compact", partial(respond, operation=RESPONSE_COMPACT), asks=RESPONSE_COMPACT),
    _post(_OPENAI + "/responses/input_tokens", _count_input, asks=RESPONSES),
    _post("/v2/chat", _plain(COHERE_CHAT), asks=COHERE_CHAT),
    _post(cohere_chat.PATH, cohere_chat.chat),
    _post("/v1/fim/completions", fim.complete, asks=COMPLETIONS),
    _post(_OPENAI + "/ocr", _plain(OCR), asks=OCR),
    _post("/v2/embed", cohere_vectors.embed),
    _post("/v1/embed", cohere_vectors.embed_plainly),
    _post("/api/chat", ollama.chat, asks=OLLAMA_CHAT),
    _post(ollama.GENERATE, ollama.generate),
    _post("/api/embed", ollama.embed),
    _post("/api/embeddings", ollama.embed_one),
    _post("/api/show", ollama.show),
    _post("/api/pull", ollama.pull),
    _get("/api/tags", ollama.tags),
    _get("/api/ps", ollama.tags),
    _get("/api/version", ollama.version),
    _post(r"(?:/anthropic)?(?:/v1)?/messages", _message, asks=MESSAGES),
    *_by_model("/embeddings", EMBEDDINGS, _embed_plainly),
    *_by_model("/completions", COMPLETIONS),
    _post(_GEMINI + ":(?P<verb>generateContent|streamGenerateContent)", _generate, asks=CONTENT),
    _post(_GEMINI + ":(?P<verb>embedContent|batchEmbedContents)", _embed),
    _post("/publishers/anthropic/models/(?P<model>[^:]+):(?P<verb>rawPredict|streamRawPredict)", _predict, asks=MESSAGES),
    _post(_BEDROCK + "/(?P<verb>converse|converse-stream)", bedrock.converse, asks=CONVERSE),
    _post(_BEDROCK + "/(?P<verb>invoke|invoke-with-response-stream)", _invoke, asks=MESSAGES),
    _post(_BEDROCK + "/count-tokens", bedrock.count),
    _post(_GEMINI + ":countTokens", _count, asks=CONTENT),
    _post(r"(?:/anthropic)?(?:/v1)?/messages/count_tokens", _count, asks=MESSAGES),
    _post(_MESSAGE_BATCHES, message_batches.order),
    _get(_MESSAGE_BATCHES, message_batches.listed),
    _get(_MESSAGE_BATCHES + _ID, message_batches.kept),
    _delete(_MESSAGE_BATCHES + _ID, message_batches.kept),
    _get(_MESSAGE_BATCHES + _ID + "/(?P<verb>results)", message_batches.kept),
    _post(_MESSAGE_BATCHES + _ID + "/(?P<verb>cancel)", message_batches.kept, "nothing"),
    *_by_model("/images/generations", IMAGES),
    *_by_model("/images/edits", IMAGE_EDITS),
    *_by_model("/images/variations", IMAGE_VARIATIONS),
    *_by_model("/audio/speech", SPEECH),
    *_by_model("/audio/transcriptions", TRANSCRIPTIONS, heard(TRANSCRIPTIONS)),
    *_by_model("/audio/translations", TRANSLATIONS, heard(TRANSLATIONS)),
    *_by_model("/moderations", MODERATIONS, moderate),
    *_by_model("/rerank", RERANK, rank),
    _post("/v2/rerank", rank, asks=RERANK),
    _get(_OPENAI + "/responses" + _ID, kept_response(RESPONSE)),
    _delete(_OPENAI + "/responses" + _ID, kept_response(RESPONSE_DELETE)),
    _post(_OPENAI + "/responses" + _ID + "/cancel", kept_response(RESPONSE_CANCEL), "nothing"),
    _get(_OPENAI + "/responses" + _ID + "/input_items", kept_response(RESPONSE_ITEMS)),
    _post(_OPENAI + "/files", new_file, "form", FILES),
    _get(_OPENAI + "/files", list_files),
    _get(_OPENAI + "/files" + _ID, kept_file(FILE)),
    _delete(_OPENAI + "/files" + _ID, deleted_file),
    _get(_OPENAI + "/files" + _ID + "/content", file_content),
    _post(_OPENAI + "/batches", new_batch, asks=BATCHES),
    _get(_OPENAI + "/batches", list_batches),
    _get(_OPENAI + "/batches" + _ID, kept_batch(BATCH)),
    _post(_OPENAI + "/batches" + _ID + "/cancel", kept_batch(BATCH_CANCEL), "nothing"),
    _get(r"(?:/openai)?(?:/v1|/v1beta)?/models", models),
    _get(r"(?:/openai)?(?:/v1|/v1beta)?/models/(?P<model>.+)", one_model),
)
