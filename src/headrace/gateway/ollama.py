"""Ollama's own paths, for programs that know no other API: chat, completion, embeddings and lists of models.

github.com/ollama/ollama/blob/main/docs/api.md, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import msgspec

from headrace.calls import EMBEDDINGS, shape
from headrace.errors import BadRequestError
from headrace.gateway.client_apis import OLLAMA
from headrace.gateway.context import ConvertedCall, Listed, Reply, RequestContext, RouterCall, wanted
from headrace.gateway.requests import IncomingRequest, Send
from headrace.routing.groups import facts_of
from headrace.served import OLLAMA_CHAT

_TAG: Final = ":latest"
"""Ollama's clients append this to a model name without a tag."""


def chat(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> RouterCall:
    """Handler for `/api/chat`, which streams unless told not to."""
    return wanted(OLLAMA_CHAT, {"stream": True, **_named(here, body)})


GENERATE: Final = "/api/generate"
_PROMPTED: Final = frozenset({"prompt", "system", "images", "raw", "template", "suffix", "context"})
"""Fields of a completion only; all others exist for a chat too."""
_OLLAMAS: Final = {
    "raw": "other providers always apply the model's own template",
    "template": "other providers have templates of their own",
    "suffix": "a chat has no suffix; OpenAI's /v1/completions takes one",
    "context": "other providers do not return the tokens of a conversation: send it as messages to /api/chat",
}


def generate(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Ollama's completion: a chat with one message, whose response has `response` in place of a message.

    Streams are converted on their way out, by `GenerateSend`.
    """
    for name, why in _OLLAMAS.items():
        if body.get(name):
            raise BadRequestError(f"{name} is not supported: {why}")
    prompt, system = _text(body, "prompt"), _text(body, "system")
    said = {name: value for name, value in body.items() if name not in _PROMPTED}
    if not prompt and not body.get("images"):  # how its clients load a model
        return Listed({"model": here.meant(_model(here, said)), "response": "", "done": True, "done_reason": "load"})
    question = {"role": "user", "content": prompt, **({"images": body["images"]} if body.get("images") else {})}
    messages = [*([{"role": "system", "content": system}] if system else []), question]
    call = chat(here, asked, {**said, "messages": messages})
    return call if call.stream else ConvertedCall(call, lambda made: _as_response(made.model_dump()))


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a string, got {shape(value)}")
    return value


def _as_response(line: Mapping[str, Any]) -> dict[str, Any]:
    """A response of a chat, or a line of its stream, in the format of a completion."""
    message = line.get("message")
    if not isinstance(message, Mapping):
        return dict(line)
    own = {name: value for name, value in message.items() if name not in ("role", "content")}
    return {**{name: value for name, value in line.items() if name != "message"}, "response": message.get("content") or "", **own}


class GenerateSend:
    """An ASGI `send` that converts the lines of a chat's stream to those of a completion. Other responses pass through."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._streams = False
        self._rest = b""

    async def __call__(self, message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.start":
            self._streams = (b"content-type", OLLAMA.kind.encode()) in message["headers"]
        elif self._streams:
            message = {**message, "body": self._lines(message.get("body", b""), last=not message.get("more_body"))}
        await self._send(message)

    def _lines(self, piece: bytes, *, last: bool) -> bytes:
        """The complete lines so far; an incomplete one is held back. White space, used as keep-alive, passes through at once."""
        if not piece.strip() and not self._rest:
            return piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if last and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return b"".join([msgspec.json.encode(_as_response(msgspec.json.decode(line))) + b"\n" for line in lines if line.strip()])


_RUNNING: Final = ("keep_alive", "truncate", "options")


def embed(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """`/api/embed`. Other providers have no equivalent for how the model is loaded and run or whether a text may be cut."""
    for name in _RUNNING:
        body.pop(name, None)
    call = wanted(EMBEDDINGS, _named(here, body))

    def finished(made: Any) -> dict[str, Any]:
        counted = {} if made.usage is None else {"prompt_eval_count": made.usage.prompt_tokens}
        return {"model": call.model, "embeddings": [one.embedding for one in made.data], **counted}

    return ConvertedCall(call, finished)


def embed_one(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """`/api/embeddings`, Ollama's older endpoint for a single text."""
    text = _text(body, "prompt")
    said = {name: value for name, value in body.items() if name not in ("prompt", *_RUNNING)}
    return ConvertedCall(wanted(EMBEDDINGS, _named(here, {**said, "input": text})), lambda made: {"embedding": made.data[0].embedding})


def tags(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for Ollama's list of models."""
    return Listed({"models": [_told(name) for name in here.names()]})


def show(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for Ollama's description of a model."""
    model = _model(here, {**body, "model": body.get("model") or body.get("name")})
    facts = _facts(here, model)
    able = [word for word, ability in _ABLE.items() if facts.get(f"supports_{ability}", ability in _SUPPOSED)]
    window = facts.get("max_input_tokens")
    known = {"general.architecture": _FAMILY, **({} if window is None else {f"{_FAMILY}.context_length": window})}
    return Listed({**_told(model), "model_info": known, "capabilities": ["completion", *able]})


_ABLE: Final = {"tools": "function_calling", "vision": "vision", "thinking": "reasoning"}
_SUPPOSED: Final = frozenset({"function_calling"})
"""Abilities that a model is assumed to have if nothing is known."""
_FAMILY: Final = "headrace"
"""Ollama prefixes a model's figures with its family's name."""


def _facts(here: RequestContext, model: str) -> Mapping[str, Any]:
    """The known facts about a model's first deployment. Raises a refusal if it does not exist or the caller may not use it."""
    deployment = here.router.get_deployment_by_model_group_name(here.meant(model))
    return {} if deployment is None else {**facts_of(deployment), **deployment.model_info}


def pull(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for `/api/pull`, by which clients fetch a model before use. One that may be called is there already."""
    here.meant(_model(here, {**body, "model": body.get("model") or body.get("name")}))
    return Listed({"status": "success"})


VERSION: Final = "0.23.0"
"""The Ollama version that is reported. Clients compare it with the oldest they support: VS Code's Copilot with 0.6.4."""


def version(here: RequestContext, asked: IncomingRequest, body: dict[str, Any]) -> Reply:
    """Handler for the reported version of Ollama."""
    return Listed({"version": VERSION})


def _named(here: RequestContext, body: dict[str, Any]) -> dict[str, Any]:
    """The body with its model's name as the gateway has it."""
    model = body.get("model")
    if isinstance(model, str) and model.endswith(_TAG) and not here.router.serves(model):
        return {**body, "model": model.removesuffix(_TAG)}
    return body


def _model(here: RequestContext, body: dict[str, Any]) -> str:
    model = _named(here, body).get("model")
    if not isinstance(model, str) or not model:
        raise BadRequestError("model must be the name of a model, such as those that /api/tags lists")
    return model


def _told(name: str) -> dict[str, Any]:
    details = {"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}
    return {"name": name, "model": name, "modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": details}
