"""Replicate's predictions: texts and images, polled until done; texts also as a stream.

replicate.com/docs/reference/http (read 2026-11), exchanges fa9928467dc86ca2 and 14b94a3763a5ad4b. Each model has its
own parameters, which pass through.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import quote

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, Next, given, posted
from headrace.dialects.forms.images import pixels, shown
from headrace.dialects.forms.said import answer_of, prompt_of, usage_of
from headrace.dialects.forms.tasks import broken, fetched, with_key
from headrace.dialects.openai_stream import Said
from headrace.errors import Failure, Kind, error_of
from headrace.types import Json
from headrace.wire import Frame, HttpRequest, HttpResponse

_WAIT: Final = ("prefer", "wait=10")
"""Lets the first request wait up to 10 seconds for the result of a fast model."""


def _predicted(target: Target, said: Mapping[str, Json], *, stream: bool = False) -> HttpRequest:
    """A prediction request for a model, a version (`owner/name:version`) or a deployment (`deployments/owner/name`)."""
    name, _, version = target.model.partition(":")
    place = "" if version else f"/{quote(name, safe='/')}" if name.startswith("deployments/") else f"/models/{quote(name, safe='/')}"
    body = {"input": said, **({"version": version} if version else {}), **({"stream": True} if stream else {})}
    asked = posted(target, f"{place}/predictions", body)
    return asked if stream else msgspec.structs.replace(asked, headers=(*asked.headers, _WAIT))


def _after(response: HttpResponse, target: Target) -> Next | None:
    told = msgspec.json.decode(response.body)
    match told["status"]:
        case "succeeded":
            return None
        case "failed" | "canceled" | "aborted" as status:
            why = str(told.get("error") or "no reason given")[:500]
            raise broken(_kind(why), f"the prediction has {status}: {why}", target)
    urls = told["urls"]
    return Next("prediction", with_key(target, "GET", urls["get"]), 0.5, undo=(with_key(target, "POST", urls["cancel"]),))


def _kind(why: str) -> Kind:
    """The kind of an error by Replicate's code at the end of its message: `(E005)` is the content filter, `(E003)` a full queue."""
    code = re.search(r"\((E\d{3,4})\)\s*$", why)
    known = {"E005": Kind.CONTENT_POLICY, "E003": Kind.OVERLOADED, "E004": Kind.OVERLOADED}
    return known.get(code[1], Kind.SERVER) if code else Kind.SERVER


class Texts:
    """System messages go into `system_prompt`. A conversation longer than one message becomes a single text that labels the speakers."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        system, prompt = prompt_of(body, target)
        said = {"prompt": prompt, **({"system_prompt": system} if system else {})}
        return _predicted(target, {**said, **given(body, "model", "messages", "prompt", "stream")}, stream=bool(body.get("stream")))

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        return _after(response, target)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        output = answer.get("output") or ""
        text = output if isinstance(output, str) else "".join(output)
        metrics = answer.get("metrics") or {}
        usage = usage_of(metrics.get("input_token_count"), metrics.get("output_token_count"))
        rest = {name: answer[name] for name in ("id", "metrics", "version", "urls") if name in answer}
        return answer_of(body, text, usage=usage, **rest)

    def opening(self, response: HttpResponse, body: Body, target: Target) -> tuple[HttpRequest, tuple[HttpRequest, ...]]:
        """The request for the stream, and the one that cancels the prediction if the caller leaves."""
        urls = msgspec.json.decode(response.body)["urls"]
        if "stream" not in urls:
            raise broken(Kind.BAD_REQUEST, "the model does not support streaming: remove stream", target)
        stream = msgspec.structs.replace(fetched(target, urls["stream"]), headers=(("accept", "text/event-stream"),))
        return stream, (with_key(target, "POST", urls["cancel"]),)

    def read_stream(self, body: Body, target: Target) -> TextChunks:
        return TextChunks(body, target)


class TextChunks:
    """Turns `output`, `error` and `done` events into OpenAI's chunks."""

    def __init__(self, body: Body, target: Target) -> None:
        self._chat = "messages" in body
        self._model = target.model
        self._target = target
        self._ended = False
        self.usage: dict[str, Any] | None = None
        self.said: Said | None = None

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        if last or self._ended:
            return ()
        data = frame.data.decode("utf-8", "replace")
        match frame.event:
            case "output":
                return [self._noted(self._chunk(data))]
            case "error":
                raise broken(_kind(data), f"the prediction has failed: {data[:500]}", self._target)
            case "done":
                self._ended = True
                return [self._noted(self._chunk("", self._finish(data)))]
        return ()

    def _finish(self, data: str) -> str:
        try:
            reason = msgspec.json.decode(data).get("reason")
        except (msgspec.DecodeError, UnicodeDecodeError, AttributeError):
            reason = None
        if reason in ("canceled", "error"):
            raise broken(Kind.SERVER, f"the prediction has ended early: {reason}", self._target)
        return "stop"

    def rest(self) -> Sequence[dict[str, Any]]:
        if not self._ended:
            text = f"{self._target.provider}: the stream ended early"
            raise error_of(Failure(Kind.TRUNCATED, text, provider=self._target.provider, model=self._model))
        return ()

    def _chunk(self, text: str, finish: str | None = None) -> dict[str, Any]:
        said = {"delta": {"content": text} if finish is None else {}} if self._chat else {"text": text, "logprobs": None}
        kind = "chat.completion.chunk" if self._chat else "text_completion"
        choice = {"index": 0, **said, "finish_reason": finish}
        return {"id": "", "object": kind, "created": 0, "model": self._model, "choices": [choice]}

    def _noted(self, chunk: dict[str, Any]) -> dict[str, Any]:
        if self.said is not None:
            self.said.note(chunk)
        return chunk


class Images:
    """`n` becomes `num_outputs`, and `size` becomes `width` and `height`. Models without these parameters reject them."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        said = given(body, "model", "n", "size", "quality", "response_format", "user")
        if body.get("n") not in (None, 1):
            said.setdefault("num_outputs", body["n"])
        if size := pixels(body):
            said = {"width": size[0], "height": size[1], **said}
        return _predicted(target, said)

    def then(self, response: HttpResponse, step: str, body: Body, target: Target) -> Next | None:
        return _after(response, target)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        output = answer["output"]
        images = output if isinstance(output, list) else [output]
        rest = {name: value for name, value in answer.items() if name not in ("output", "input", "logs", "model")}
        return {"created": 0, "data": [shown(image) for image in images], **rest}


FORMS: Final[Mapping[tuple[str, str], Form]] = {
    ("chat", "replicate"): Texts(),
    ("completions", "replicate"): Texts(),
    ("images", "replicate"): Images(),
}
