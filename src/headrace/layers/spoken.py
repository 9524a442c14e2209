"""Calls and responses as attributes of OpenTelemetry's GenAI semantic conventions: pure, and without OpenTelemetry itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from headrace.calls import EMBEDDINGS, Call, encode
from headrace.layers.observing import Outcome
from headrace.rebuild import stream_chunk_builder

_OPERATIONS: Final[Mapping[str, str]] = {"completions": "text_completion", "responses": "chat", "messages": "chat"}
"""Operations with another name in the conventions."""

_PROVIDERS: Final[Mapping[str, str]] = {
    "azure": "azure.ai.openai", "azure_ai": "azure.ai.inference", "bedrock": "aws.bedrock", "gemini": "gcp.gemini",
    "vertex_ai": "gcp.vertex_ai", "mistral": "mistral_ai", "xai": "x_ai", "watsonx": "ibm.watsonx.ai",
}  # fmt: skip
"""Providers with another name in the conventions."""

_ASKED: Final[Mapping[str, str]] = {
    "temperature": "temperature", "top_p": "top_p", "top_k": "top_k", "frequency_penalty": "frequency_penalty",
    "presence_penalty": "presence_penalty", "seed": "seed", "max_tokens": "max_tokens", "max_completion_tokens": "max_tokens",
    "max_output_tokens": "max_tokens",
}  # fmt: skip
"""Parameters that are attributes under `gen_ai.request.`."""


def operation_name(call: Call) -> str:
    return _OPERATIONS.get(call.operation.name, call.operation.name)


def provider_name(provider: str) -> str:
    return _PROVIDERS.get(provider, provider)


def request_attributes(call: Call) -> dict[str, Any]:
    """Attributes of the request, without its content."""
    body = call.body
    known: dict[str, Any] = {"gen_ai.operation.name": operation_name(call), "gen_ai.request.model": call.model}
    for name, word in _ASKED.items():
        if isinstance(value := body.get(name), int | float):
            known[f"gen_ai.request.{word}"] = value
    if call.stream:
        known["gen_ai.request.stream"] = True
    if isinstance(count := body.get("n"), int) and count > 1:
        known["gen_ai.request.choice.count"] = count
    if stop := body.get("stop"):
        known["gen_ai.request.stop_sequences"] = [stop] if isinstance(stop, str) else [str(one) for one in stop]
    if isinstance(wanted := body.get("response_format"), Mapping):
        known["gen_ai.output.type"] = "text" if wanted.get("type") == "text" else "json"
    if call.operation is EMBEDDINGS and isinstance(size := body.get("dimensions"), int):
        known["gen_ai.embeddings.dimension.count"] = size
    return known


def response_attributes(outcome: Outcome, chunks: Sequence[Any] = ()) -> dict[str, Any]:
    """Attributes of the response, without its content.

    chunks: of a stream, at least the first and those with a finish reason.
    """
    hidden, answer = outcome.hidden, outcome.answer if outcome.answer is not None else (chunks[0] if chunks else None)
    first = None if outcome.first is None else outcome.first - outcome.began
    failure = getattr(outcome.error, "failure", None)
    known = {
        "gen_ai.provider.name": provider_name(hidden.get("custom_llm_provider") or getattr(failure, "provider", "") or ""),
        "gen_ai.response.id": getattr(answer, "id", None),
        "gen_ai.response.model": getattr(answer, "model", None),
        "gen_ai.response.finish_reasons": _finish_reasons([answer, *chunks]),
        "gen_ai.response.time_to_first_chunk": first,
        "headrace.deployment": hidden.get("model_id"),
        "headrace.waited": (hidden.get("headrace") or {}).get("waited"),
        "headrace.cache_hit": hidden.get("cache_hit"),
        "headrace.cost": hidden.get("response_cost"),
        **_server(hidden.get("api_base")),
        **usage_attributes(outcome.usage or {}),
    }
    return {name: value for name, value in known.items() if value not in (None, "", [])}


def usage_attributes(usage: Mapping[str, Any]) -> dict[str, Any]:
    """Usage in OpenAI's form as attributes."""
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens", usage.get("input_tokens")),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens", usage.get("output_tokens")),
        "gen_ai.usage.cache_read.input_tokens": prompt.get("cached_tokens"),
        "gen_ai.usage.cache_creation.input_tokens": usage.get("cache_creation_input_tokens") or prompt.get("cache_creation_tokens"),
        "gen_ai.usage.reasoning.output_tokens": completion.get("reasoning_tokens"),
    }


def _server(address: Any) -> dict[str, Any]:
    if not isinstance(address, str):
        return {}
    parts = urlsplit(address)
    return {"server.address": parts.hostname, "server.port": parts.port or {"https": 443, "http": 80}.get(parts.scheme)}


def _finish_reasons(answers: Sequence[Any]) -> list[str]:
    choices = [choice for answer in answers for choice in getattr(answer, "choices", None) or ()]
    return [reason for choice in choices if (reason := getattr(choice, "finish_reason", None))]


# ---- content, only if enabled ----------------------------------------------------------------------------------------


def said(way: str, what: Any, chunks: Sequence[Any] = ()) -> dict[str, str]:
    """The attribute `gen_ai.input.messages` or `gen_ai.output.messages` as JSON; {} if it is no chat.

    what: a prompt or a response; chunks: those of a stream.
    """
    if way == "input":
        messages = [{"role": "user", "content": what}] if isinstance(what, str) else what
        found = [_message(message) for message in messages] if isinstance(messages, list | tuple) else []
    else:
        whole = what if what is not None or not hasattr(next(iter(chunks), None), "choices") else stream_chunk_builder(list(chunks))
        found = [_choice(choice) for choice in getattr(whole, "choices", None) or ()]
    return {f"gen_ai.{way}.messages": encode(found).decode()} if found else {}


def _choice(choice: Any) -> dict[str, Any]:
    message = getattr(choice, "message", None)
    said = {"role": "assistant", "content": getattr(choice, "text", "")} if message is None else message.model_dump()
    return {**_message(said), "finish_reason": getattr(choice, "finish_reason", None) or ""}


def _message(message: Any) -> dict[str, Any]:
    said = message if isinstance(message, Mapping) else getattr(message, "model_dump", lambda: {"content": str(message)})()
    role, content = said.get("role", "user"), said.get("content")
    if role == "tool":
        return {"role": role, "parts": [{"type": "tool_call_response", "id": said.get("tool_call_id"), "response": content}]}
    parts = [{"type": "text", "content": content}] if isinstance(content, str) and content else _parts(content)
    return {"role": role, "parts": [*parts, *map(_tool_call, said.get("tool_calls") or ())]}


def _parts(content: Any) -> list[dict[str, Any]]:
    if not isinstance(content, list | tuple):
        return []
    return [
        {"type": "text", "content": part.get("text")} if part.get("type") == "text" else {"type": str(part.get("type"))} for part in content
    ]


def _tool_call(call: Mapping[str, Any]) -> dict[str, Any]:
    function = call.get("function") or {}
    return {"type": "tool_call", "id": call.get("id"), "name": function.get("name"), "arguments": function.get("arguments")}
