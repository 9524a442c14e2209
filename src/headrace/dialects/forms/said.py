"""Conversations flattened for models that take a single text, and their texts as responses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from headrace.dialects.base import Target
from headrace.dialects.forms import Body
from headrace.errors import BadRequestError
from headrace.types import Json

_SPEAKERS: Final = {"user": "User", "assistant": "Assistant"}


def turns_of(body: Body, target: Target) -> tuple[str, list[tuple[str, str]]]:
    """The system prompt, and the other messages as (role, text). Raises BadRequestError for content other than text."""
    system, turns = [], []
    for number, message in enumerate(body["messages"]):
        role, text = message.get("role"), _text(message.get("content"), number, target)
        if role in ("system", "developer"):
            system.append(text)
        elif role in _SPEAKERS:
            turns.append((role, text))
        else:
            raise BadRequestError(
                f"messages[{number}]: {target.provider} only accepts the roles user and assistant, got {str(role)[:20]!r}", target.model
            )
    if not turns:
        raise BadRequestError(f"messages: {target.provider} requires a message besides the system prompt", target.model, target.provider)
    return "\n".join(system), turns


def _text(content: Json, number: int, target: Target) -> str:
    if isinstance(content, str):
        return content
    parts: Sequence[Any] = content if isinstance(content, list) else ()
    if not parts or not all(isinstance(part, Mapping) and isinstance(part.get("text"), str) for part in parts):
        raise BadRequestError(f"messages[{number}]: {target.provider} only accepts text here", target.model, target.provider)
    return "".join(part["text"] for part in parts)


def as_one_text(turns: Sequence[tuple[str, str]]) -> str:
    """A single turn unchanged; several with speaker labels, ending where the assistant continues."""
    if len(turns) == 1:
        return turns[0][1]
    said = [f"{_SPEAKERS[role]}: {text}" for role, text in turns]
    return "\n\n".join(said if turns[-1][0] == "assistant" else [*said, "Assistant:"])


def prompt_of(body: Body, target: Target) -> tuple[str, str]:
    """The system prompt and the prompt, of a chat or a text completion."""
    if "messages" in body:
        system, turns = turns_of(body, target)
        return system, as_one_text(turns)
    prompt = body["prompt"]
    if isinstance(prompt, list) and len(prompt) == 1:
        prompt = prompt[0]
    if not isinstance(prompt, str):
        raise BadRequestError(f"prompt: {target.provider} completes one text at a time: pass a string", target.model, target.provider)
    return "", prompt


def answer_of(body: Body, text: str, *, finish: str = "stop", usage: Mapping[str, int] | None = None, **more: Json) -> dict[str, Json]:
    """A text as a chat completion or a text completion, whichever was requested."""
    chat = "messages" in body
    said = {"message": {"role": "assistant", "content": text}} if chat else {"text": text, "logprobs": None}
    kind = "chat.completion" if chat else "text_completion"
    choice = {"index": 0, **said, "finish_reason": finish}
    counted = {"usage": {**usage, "total_tokens": sum(usage.values())}} if usage else {}
    return {"id": "", "object": kind, "created": 0, "model": body["model"], "choices": [choice], **counted, **more}


def usage_of(prompt: Any, completion: Any) -> dict[str, int] | None:
    """OpenAI's usage; None unless both counts are known."""
    if not isinstance(prompt, int) or not isinstance(completion, int):
        return None
    return {"prompt_tokens": prompt, "completion_tokens": completion}
