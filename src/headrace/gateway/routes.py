"""Where each request belongs: paths in, calls out. `/v1` may be left out; what is not built is refused by its name."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, Final, TypeAlias
from urllib.parse import unquote

from msgspec import Struct

from headrace.api import Router
from headrace.calls import CHAT, COMPLETIONS, EMBEDDINGS, EMPTY, Operation
from headrace.counted import COUNT
from headrace.errors import Kind
from headrace.gateway import fronts
from headrace.gateway.fronts import ANTHROPIC, GOOGLE, OPENAI, RESPONDING, Front, Wanted, wanted
from headrace.gateway.requests import Asked, refusal
from headrace.served import MESSAGES, RESPONSE, RESPONSE_CANCEL, RESPONSE_DELETE, RESPONSE_ITEMS, RESPONSES, read_id


class Listed(Struct, frozen=True, eq=False):
    """An answer that needs no call."""

    body: Any


class Finished(Struct, frozen=True, eq=False):
    """A call whose answer is said in another way, or that asks for what is kept."""

    wanted: Wanted
    finish: Callable[[Any], Any] = lambda made: made
    place: Mapping[str, str] = EMPTY


Reply: TypeAlias = Listed | Wanted | Finished
Handler: TypeAlias = Callable[[Router, Asked, dict[str, Any]], Reply]


def front_of(asked: Asked) -> Front:
    """Who calls, by where and with what: also for what does not exist."""
    if asked.path.startswith(("/v1beta", "/v1alpha")) or "x-goog-api-key" in asked.headers:
        return GOOGLE
    if "/messages" in asked.path or "anthropic-version" in asked.headers:
        return ANTHROPIC
    return RESPONDING if "/responses" in asked.path else OPENAI


def route(asked: Asked) -> Handler:
    """What answers a request. Raises refusals with status 404, 405 and 501."""
    allowed = []
    for method, pattern, make in _ROUTES:
        found = pattern.fullmatch(asked.path)
        if found and method == asked.method:
            return partial(make, **{name: unquote(value) for name, value in found.groupdict().items()})
        if found:
            allowed.append(method)
    if allowed:
        raise refusal(405, Kind.BAD_REQUEST, f"{asked.path} takes {', '.join(allowed)}, not {asked.method}")
    if _LATER.match(asked.path):
        raise refusal(501, Kind.NOT_FOUND, f"{asked.path} is not offered by this gateway yet")
    raise refusal(404, Kind.NOT_FOUND, f"there is no {asked.path} here")


_LATER: Final = re.compile(
    r"(/openai)?(/v1)?/(images|audio|moderations|rerank|files|batches|realtime|fine_tuning|vector_stores|assistants)\b"
)


def _plain(operation: Operation) -> Callable[..., Reply]:
    def make(router: Router, asked: Asked, body: dict[str, Any], model: str = "") -> Reply:
        return wanted(operation, body, model)

    return make


def _kept(operation: Operation) -> Callable[..., Reply]:
    def make(router: Router, asked: Asked, body: dict[str, Any], id: str) -> Reply:
        if read_id(id) is None:
            raise refusal(404, Kind.NOT_FOUND, f"no response {id!r} was given out here", "response_id")
        options = {name: value for name, value in asked.query.items() if name in ("include", "limit", "order", "after", "before")}
        return Finished(Wanted(operation, "-", None, False, {"extra_query": options} if options else {}), place={"id": id})

    return make


# ---- Google ----------------------------------------------------------------------------------------------------------------------


def _generate(router: Router, asked: Asked, body: dict[str, Any], model: str, verb: str) -> Reply:
    stream = verb == "streamGenerateContent"
    if stream and asked.query.get("alt") != "sse":
        raise refusal(501, Kind.BAD_REQUEST, "streamGenerateContent is offered as server-sent events alone: add ?alt=sse")
    return fronts.content_wanted(body, model, stream=stream)


def _embed(router: Router, asked: Asked, body: dict[str, Any], model: str, verb: str) -> Reply:
    many = verb == "batchEmbedContents"
    return Finished(fronts.embed_wanted(body, model, many=many), partial(fronts.embedded, many=many))


# ---- counts of tokens ------------------------------------------------------------------------------------------------------------


def _count(router: Router, asked: Asked, body: dict[str, Any], model: str = "") -> Reply:
    google = bool(model)
    model = model or str(body.get("model") or "")
    question = (fronts.google_question if google else fronts.anthropic_question)(body, model)
    field = "totalTokens" if google else "input_tokens"
    call = Wanted(COUNT, model, question.pop("messages"), False, question)
    return Finished(call, lambda made: {field: made.total_tokens})


# ---- models ----------------------------------------------------------------------------------------------------------------------


def _models(router: Router, asked: Asked, body: dict[str, Any]) -> Reply:
    names = router.get_model_names()
    if front_of(asked) is GOOGLE:
        return Listed({"models": [_for_google(name) for name in names]})
    data = [_model(asked, name) for name in names]
    if front_of(asked) is ANTHROPIC:
        ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
        return Listed({"data": data, "has_more": False, **ends})
    return Listed({"object": "list", "data": data})


def _one_model(router: Router, asked: Asked, body: dict[str, Any], model: str) -> Reply:
    if model not in router.get_model_names():
        raise refusal(404, Kind.NOT_FOUND, f"there is no model {model!r} here", "model")
    return Listed(_for_google(model) if front_of(asked) is GOOGLE else _model(asked, model))


def _model(asked: Asked, name: str) -> dict[str, Any]:
    if front_of(asked) is ANTHROPIC:
        return {"type": "model", "id": name, "display_name": name, "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "created": 0, "owned_by": "headrace"}


def _for_google(name: str) -> dict[str, Any]:
    verbs = ["generateContent", "streamGenerateContent", "countTokens", "embedContent"]
    return {"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": verbs}


def _paths(*rows: tuple[str, str, Callable[..., Reply]]) -> list[tuple[str, re.Pattern[str], Callable[..., Reply]]]:
    return [(method, re.compile(path), make) for method, path, make in rows]


_AZURE: Final = r"/openai/deployments/(?P<model>[^/]+)"
_GEMINI: Final = r"/v1(?:beta|alpha)?/models/(?P<model>.+)"
_RESPONSES: Final = r"(?:/openai)?(?:/v1)?/responses"

_ROUTES: Final = _paths(
    ("POST", r"(?:/openai)?(?:/v1)?/chat/completions", _plain(CHAT)),
    ("POST", _AZURE + "/chat/completions", _plain(CHAT)),
    ("POST", r"(?:/openai)?(?:/v1)?/completions", _plain(COMPLETIONS)),
    ("POST", _AZURE + "/completions", _plain(COMPLETIONS)),
    ("POST", r"(?:/openai)?(?:/v1)?/embeddings", _plain(EMBEDDINGS)),
    ("POST", _AZURE + "/embeddings", _plain(EMBEDDINGS)),
    ("POST", _RESPONSES, _plain(RESPONSES)),
    ("GET", _RESPONSES + "/(?P<id>[^/]+)", _kept(RESPONSE)),
    ("DELETE", _RESPONSES + "/(?P<id>[^/]+)", _kept(RESPONSE_DELETE)),
    ("POST", _RESPONSES + "/(?P<id>[^/]+)/cancel", _kept(RESPONSE_CANCEL)),
    ("GET", _RESPONSES + "/(?P<id>[^/]+)/input_items", _kept(RESPONSE_ITEMS)),
    ("POST", r"(?:/v1)?/messages", _plain(MESSAGES)),
    ("POST", r"(?:/v1)?/messages/count_tokens", _count),
    ("POST", _GEMINI + ":(?P<verb>generateContent|streamGenerateContent)", _generate),
    ("POST", _GEMINI + ":(?P<verb>embedContent|batchEmbedContents)", _embed),
    ("POST", _GEMINI + ":countTokens", _count),
    ("GET", r"(?:/openai)?(?:/v1|/v1beta)?/models", _models),
    ("GET", r"(?:/openai)?(?:/v1|/v1beta)?/models/(?P<model>.+)", _one_model),
)
