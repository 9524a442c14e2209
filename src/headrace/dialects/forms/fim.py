"""Text completions by Mistral: `/fim/completions` takes a prompt and a suffix, and responds in chat format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from headrace.dialects import load
from headrace.dialects.base import Target
from headrace.dialects.forms import Body, Form, posted
from headrace.dialects.openai_chat import responses
from headrace.dialects.translate import TranslatedChunks, as_text
from headrace.errors import BadRequestError
from headrace.types import ChatRequest, Json
from headrace.wire import HttpRequest


class Mistral:
    """Mistral's own `min_tokens`, `random_seed` and others pass through."""

    def write(self, body: Body, target: Target) -> HttpRequest:
        prompt = body.get("prompt")
        if isinstance(prompt, list) and len(prompt) == 1:
            prompt = prompt[0]
        if not isinstance(prompt, str):
            raise BadRequestError("prompt: Mistral completes one text at a time: pass a string", target.model, target.provider)
        return posted(target, "/fim/completions", {**body, "prompt": prompt})

    def read(self, answer: Json, body: Body) -> dict[str, Json]:
        return as_text(responses.write_response(responses.read_response(answer)))

    def read_stream(self, body: Body, target: Target) -> Any:
        asked = ChatRequest(model=target.model, messages=(), stream=True, include_usage=True)
        return TranslatedChunks(load("openai_chat").read_stream(asked, target), asked, "completions")


FORMS: Final[Mapping[tuple[str, str], Form]] = {("completions", "mistral"): Mistral()}
