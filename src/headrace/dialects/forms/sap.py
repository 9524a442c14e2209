"""SAP's orchestration: OpenAI's chats and embeddings wrapped in modules.

help.sap.com/docs/sap-ai-core, orchestration v2, as LiteLLM 1.106.2 has it.

`grounding`, `masking`, `filtering` and `translation` are modules next to the prompt; `placeholder_values` fill `{{?…}}`
in it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, given, posted
from headrace.dialects.openai_stream import ChunkReader, Said
from headrace.errors import UnsupportedParamsError
from headrace.types import Json
from headrace.wire import Frame, HttpRequest

PLACE: Final = "/inference/orchestration"
"""Placeholder for the deployment's URL, which is found with the credentials (`providers.sap`)."""

_MODULES: Final = ("grounding", "masking", "filtering", "translation")
_PROMPT: Final = ("tools", "response_format")
_OURS: Final = ("model", "messages", "stream", "stream_options", "tool_choice", "model_version", "placeholder_values")


class Chats:
    def write(self, body: Body, target: Target) -> HttpRequest:
        if body.get("tool_choice") not in (None, "auto"):
            raise UnsupportedParamsError(f"{target.provider} does not support tool_choice: remove it", target.model, target.provider)
        prompt = {"template": body["messages"], **{name: body[name] for name in _PROMPT if body.get(name) is not None}}
        params = given(body, *_OURS, *_PROMPT, *_MODULES)
        model = {"name": target.model, "version": body.get("model_version", "latest"), "params": params}
        beside = {name: body[name] for name in _MODULES if body.get(name) is not None}
        config: dict[str, Json] = {"modules": {"prompt_templating": {"prompt": prompt, "model": model}, **beside}}
        if body.get("stream"):
            options = body.get("stream_options") or {}
            config["stream"] = {"enabled": True, **{name: options[name] for name in ("chunk_size", "delimiters") if name in options}}
        said: dict[str, Json] = {"config": config}
        if body.get("placeholder_values") is not None:
            said["placeholder_values"] = body["placeholder_values"]
        return posted(target, f"{PLACE}/v2/completion", said)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "final_result"}
        return {**answer["final_result"], **rest}

    def read_stream(self, body: Body, target: Target) -> Chunks:
        return Chunks(target)


class Chunks:
    """Unwraps events whose `final_result` is OpenAI's chunk."""

    def __init__(self, target: Target) -> None:
        self._reader = ChunkReader(provider=target.provider, model=target.model)

    @property
    def usage(self) -> dict[str, Any] | None:
        return self._reader.usage

    @property
    def said(self) -> Said | None:
        return self._reader.said

    @said.setter
    def said(self, said: Said | None) -> None:
        self._reader.said = said

    def chunks(self, frame: Frame, *, last: bool = False) -> Sequence[dict[str, Any]]:
        return self._reader.chunks(self._unwrapped(frame), last=last)

    @staticmethod
    def _unwrapped(frame: Frame) -> Frame:
        try:
            event = msgspec.json.decode(frame.data)
        except (msgspec.DecodeError, UnicodeDecodeError):
            return frame  # [DONE], or invalid data that the reader reports
        inner = event.get("final_result") if isinstance(event, Mapping) else None
        return frame if not isinstance(inner, Mapping) else msgspec.structs.replace(frame, data=msgspec.json.encode(inner))

    def rest(self) -> Sequence[dict[str, Any]]:
        return self._reader.rest()


class Vectors:
    def write(self, body: Body, target: Target) -> HttpRequest:
        params = given(body, "model", "input", "input_type", "masking", "model_version")
        model = {"name": target.model, "version": body.get("model_version", "latest"), "params": params}
        masking = {"masking": body["masking"]} if body.get("masking") is not None else {}
        text = {"text": body["input"], **({"type": body["input_type"]} if body.get("input_type") else {})}
        said = {"config": {"modules": {"embeddings": {"model": model}, **masking}}, "input": text}
        return posted(target, f"{PLACE}/v2/embeddings", said)

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        rest = {name: value for name, value in answer.items() if name != "final_result"}
        return {**answer["final_result"], **rest}


FORMS: Final[Mapping[tuple[str, str], Form]] = {("chat", "sap"): Chats(), ("embeddings", "sap"): Vectors()}
