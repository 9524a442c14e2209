"""Ollama's own paths, for programs that speak to nothing else: its chat, its completion, its vectors, and the models it is asked for.

github.com/ollama/ollama/blob/main/docs/api.md, read 2026-11.
"""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import msgspec

from headrace import __version__
from headrace.calls import EMBEDDINGS, shape
from headrace.errors import BadRequestError
from headrace.gateway.asking import Finished, Here, Listed, Reply, Wanted, wanted
from headrace.gateway.fronts import OLLAMA
from headrace.gateway.requests import Asked, Send
from headrace.models.info import supports
from headrace.served import OLLAMA_CHAT

_TAG: Final = ":latest"
"""What its programs add to a name without a tag."""


def chat(here: Here, asked: Asked, body: dict[str, Any]) -> Wanted:
    """Ollama streams unless it is told not to."""
    return wanted(OLLAMA_CHAT, {"stream": True, **_named(here, body)})


GENERATE: Final = "/api/generate"
_PROMPTED: Final = frozenset({"prompt", "system", "images", "raw", "template", "suffix", "context"})
"""Words of a completion alone. Its others are a chat's."""
_OLLAMAS: Final = {
    "raw": "it would leave out the model's own template, which other providers put around every prompt",
    "template": "other providers have templates of their own",
    "suffix": "a chat has nothing that comes after its answer; OpenAI's /v1/completions takes one",
    "context": "other providers do not give the tokens of a conversation back: send it in messages to /api/chat",
}


def generate(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    """Ollama's completion: a chat of one question, whose answers say `response` where those of chats have a message. Streams are put in
    these words on their way out, by `GenerateSend`.
    """
    for name, why in _OLLAMAS.items():
        if body.get(name):
            raise BadRequestError(f"{name} cannot be done here: {why}")
    prompt, system = _text(body, "prompt"), _text(body, "system")
    said = {name: value for name, value in body.items() if name not in _PROMPTED}
    if not prompt and not body.get("images"):  # its programs load a model so
        return Listed({"model": here.meant(_model(here, said)), "response": "", "done": True, "done_reason": "load"})
    question = {"role": "user", "content": prompt, **({"images": body["images"]} if body.get("images") else {})}
    messages = [*([{"role": "system", "content": system}] if system else []), question]
    call = chat(here, asked, {**said, "messages": messages})
    return call if call.stream else Finished(call, lambda made: _as_response(made.model_dump()))


def _text(body: Mapping[str, Any], name: str) -> str:
    value = body.get(name) or ""
    if not isinstance(value, str):
        raise BadRequestError(f"{name} must be a text, got {shape(value)}")
    return value


def _as_response(line: Mapping[str, Any]) -> dict[str, Any]:
    """An answer of a chat, or a line of its stream, as a completion's."""
    message = line.get("message")
    if not isinstance(message, Mapping):
        return dict(line)
    own = {name: value for name, value in message.items() if name not in ("role", "content")}
    return {**{name: value for name, value in line.items() if name != "message"}, "response": message.get("content") or "", **own}


class GenerateSend:
    """An ASGI `send` that says the lines of a chat's stream as a completion's. Answers that are no streams pass as they are."""

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
        """What has come, in whole lines; what is no line yet waits. White space, a sign of life, goes out at once."""
        if not piece.strip() and not self._rest:
            return piece
        *lines, self._rest = (self._rest + piece).split(b"\n")
        if last and self._rest:
            lines, self._rest = [*lines, self._rest], b""
        return b"".join([msgspec.json.encode(_as_response(msgspec.json.decode(line))) + b"\n" for line in lines if line.strip()])


def embed(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    """How long a model stays loaded, and whether a text may be cut, other providers cannot be told."""
    for name in ("keep_alive", "truncate"):
        body.pop(name, None)
    call = wanted(EMBEDDINGS, _named(here, body))

    def finished(made: Any) -> dict[str, Any]:
        counted = {} if made.usage is None else {"prompt_eval_count": made.usage.prompt_tokens}
        return {"model": call.model, "embeddings": [one.embedding for one in made.data], **counted}

    return Finished(call, finished)


def tags(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    return Listed({"models": [_told(name) for name in here.names()]})


def show(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    model = _model(here, {**body, "model": body.get("model") or body.get("name")})
    meant = here.meant(model)
    deployment = here.router.get_deployment_by_model_group_name(meant)
    own = meant if deployment is None else deployment.model
    able = [word for word, what in _ABLE.items() if supports(what, own)]
    return Listed({**_told(model), "model_info": {}, "capabilities": ["completion", *able]})


_ABLE: Final = {"tools": "function_calling", "vision": "vision", "thinking": "reasoning"}


def version(here: Here, asked: Asked, body: dict[str, Any]) -> Reply:
    return Listed({"version": __version__})


def _named(here: Here, body: dict[str, Any]) -> dict[str, Any]:
    """A body that names its model as the gateway does."""
    model = body.get("model")
    if isinstance(model, str) and model.endswith(_TAG) and not here.router.serves(model):
        return {**body, "model": model.removesuffix(_TAG)}
    return body


def _model(here: Here, body: dict[str, Any]) -> str:
    model = _named(here, body).get("model")
    if not isinstance(model, str) or not model:
        raise BadRequestError("model must be the name of a model, such as those that /api/tags lists")
    return model


def _told(name: str) -> dict[str, Any]:
    details = {"parent_model": "", "format": "", "family": "", "families": [], "parameter_size": "", "quantization_level": ""}
    return {"name": name, "model": name, "modified_at": "1970-01-01T00:00:00Z", "size": 0, "digest": "", "details": details}
