"""Responses of an OpenAI-compatible provider: bodies, streams, errors and headers. `openai_api` reads the requests.

Shapes and messages follow api.openai.com as recorded in 2025 and 2026. Nothing here knows limits, clocks or sockets.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from headrace.simulator.asks import Answer, Call, Chat, Choice, Embed, Rejected
from headrace.simulator.durations import go_duration
from headrace.simulator.embeddings import embedding_base64, embedding_json
from headrace.simulator.enforce import Enforcer, Refused, View
from headrace.simulator.openai_api import ENCODE, no_such_model


class Stamp(msgspec.Struct, frozen=True):
    """Identity of a reply."""

    id: str
    created: int
    """Unix seconds."""
    model: str


def usage_of(answer: Answer, *, legacy: bool = False) -> dict[str, Any]:
    output = answer.output_tokens
    usage: dict[str, Any] = {
        "prompt_tokens": answer.prompt_tokens,
        "completion_tokens": output,
        "total_tokens": answer.prompt_tokens + output,
    }
    if legacy:
        return usage
    usage["prompt_tokens_details"] = {"cached_tokens": answer.cached_tokens, "audio_tokens": 0}
    usage["completion_tokens_details"] = {
        "reasoning_tokens": answer.reasoning_tokens, "audio_tokens": 0, "accepted_prediction_tokens": 0, "rejected_prediction_tokens": 0,
    }  # fmt: skip
    return usage


def write_answer(chat: Chat, answer: Answer, stamp: Stamp, *, show_reasoning: bool = False) -> bytes:
    """The body of a reply that is not streamed."""
    write = _text_choice if chat.legacy else _chat_choice
    return ENCODE(
        {
            "id": stamp.id,
            "object": "text_completion" if chat.legacy else "chat.completion",
            "created": stamp.created,
            "model": stamp.model,
            "choices": [write(chat, index, choice, show_reasoning) for index, choice in enumerate(answer.choices)],
            "usage": usage_of(answer, legacy=chat.legacy),
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
    )


FINGERPRINT: Final = "fp_simulated"


def _chat_choice(chat: Chat, index: int, choice: Choice, show_reasoning: bool) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None if choice.calls else choice.text, "refusal": None}
    if show_reasoning and choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [_call(call, call.arguments) for call in choice.calls]
    else:
        message["annotations"] = []
    logprobs = None if chat.logprobs is None else {"content": [_logprob(piece, chat.logprobs) for piece in choice.pieces], "refusal": None}
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": choice.finish}


def _call(call: Call, arguments: str) -> dict[str, Any]:
    return {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _text_choice(chat: Chat, index: int, choice: Choice, show_reasoning: bool) -> dict[str, Any]:
    text = chat.text + choice.text if chat.echo else choice.text
    return {"text": text, "index": index, "logprobs": _text_logprobs(chat, choice.pieces), "finish_reason": choice.finish}


def _text_logprobs(chat: Chat, pieces: Sequence[str]) -> dict[str, Any] | None:
    if chat.logprobs is None:
        return None
    offsets, at = [], len(chat.text) if chat.echo else 0
    for piece in pieces:
        offsets.append(at)
        at += len(piece)
    found = [_logprob(piece, chat.logprobs) for piece in pieces]
    return {
        "tokens": list(pieces),
        "token_logprobs": [one["logprob"] for one in found],
        "top_logprobs": [{top["token"]: top["logprob"] for top in one["top_logprobs"]} for one in found],
        "text_offset": offsets,
    }


def _logprob(token: str, alternatives: int) -> dict[str, Any]:
    """Log probabilities of a token. The same token always has the same; each alternative is less likely."""
    logprob = -(1 + sum(token.encode()) % 97) / 100
    top = [_token_logprob(token if rank == 0 else f"{token}{rank}", logprob - rank) for rank in range(alternatives)]
    return {**_token_logprob(token, logprob), "top_logprobs": top}


def _token_logprob(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


DONE: Final = b"data: [DONE]\n\n"


def write_stream(
    chat: Chat, answer: Answer, stamp: Stamp, *, chunk_tokens: int = 1, show_reasoning: bool = False
) -> Iterator[tuple[bytes, int]]:
    """Server-sent events, each with the output tokens it carries. `write_stream_end` writes the end."""
    event = _event_writer(chat, stamp)
    runs = [_choice_events(chat, index, choice, event, chunk_tokens, show_reasoning) for index, choice in enumerate(answer.choices)]
    return runs[0] if len(runs) == 1 else _in_turns(runs)


def write_stream_end(chat: Chat, answer: Answer, stamp: Stamp) -> Iterator[bytes]:
    """What follows the last chunk: finish reasons, usage if requested, and `[DONE]`."""
    event = _event_writer(chat, stamp)
    for index, choice in enumerate(answer.choices):
        empty: dict[str, Any] = {"text": ""} if chat.legacy else {"delta": {}}
        yield event({"index": index, **empty, "logprobs": None, "finish_reason": choice.finish})
    if chat.include_usage:
        head = _event_head(chat, stamp)
        yield b"data: " + ENCODE({**head, "choices": [], "usage": usage_of(answer, legacy=chat.legacy)}) + b"\n\n"
    yield DONE


Event = Callable[[dict[str, Any]], bytes]


def _event_head(chat: Chat, stamp: Stamp) -> dict[str, Any]:
    return {
        "id": stamp.id,
        "object": "text_completion" if chat.legacy else "chat.completion.chunk",
        "created": stamp.created,
        "model": stamp.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
    }


def _event_writer(chat: Chat, stamp: Stamp) -> Event:
    before = b"data: " + ENCODE(_event_head(chat, stamp))[:-1] + b',"choices":['
    after = b'],"usage":null}\n\n' if chat.include_usage else b"]}\n\n"
    return lambda choice: before + ENCODE(choice) + after


def _choice_events(
    chat: Chat, index: int, choice: Choice, event: Event, chunk_tokens: int, show_reasoning: bool
) -> Iterator[tuple[bytes, int]]:
    if chat.legacy:
        return _text_events(chat, index, choice, event, chunk_tokens)
    return _chat_events(chat, index, choice, event, chunk_tokens, show_reasoning)


def _text_events(chat: Chat, index: int, choice: Choice, event: Event, chunk_tokens: int) -> Iterator[tuple[bytes, int]]:
    if chat.echo:
        yield event({"index": index, "text": chat.text, "logprobs": None, "finish_reason": None}), 0
    for run in _runs(choice.pieces, chunk_tokens):
        logprobs = _text_logprobs(chat, run)
        yield event({"index": index, "text": "".join(run), "logprobs": logprobs, "finish_reason": None}), len(run)


def _chat_events(
    chat: Chat, index: int, choice: Choice, event: Event, chunk_tokens: int, show_reasoning: bool
) -> Iterator[tuple[bytes, int]]:
    def delta(content: dict[str, Any], logprobs: Any = None) -> bytes:
        return event({"index": index, "delta": content, "logprobs": logprobs, "finish_reason": None})

    yield delta({"role": "assistant", "content": None if choice.calls else "", "refusal": None}), 0
    for run in _runs(choice.reasoning, chunk_tokens):
        # Hidden reasoning still takes time: an SSE comment keeps the connection alive meanwhile.
        yield delta({"reasoning_content": "".join(run)}) if show_reasoning else b": thinking\n\n", len(run)
    for number, call in enumerate(choice.calls):
        yield delta({"tool_calls": [{"index": number, **_call(call, "")}]}), 1
        for run in _runs(call.pieces, chunk_tokens):
            yield delta({"tool_calls": [{"index": number, "function": {"arguments": "".join(run)}}]}), len(run)
    for run in _runs(choice.pieces, chunk_tokens):
        logprobs = None if chat.logprobs is None else {"content": [_logprob(piece, chat.logprobs) for piece in run], "refusal": None}
        yield delta({"content": "".join(run)}, logprobs), len(run)


def _runs(pieces: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    return (pieces[at : at + size] for at in range(0, len(pieces), size))


def _in_turns(runs: Iterable[Iterator[tuple[bytes, int]]]) -> Iterator[tuple[bytes, int]]:
    going = list(runs)
    while going:
        for run in tuple(going):
            piece = next(run, None)
            if piece is None:
                going.remove(run)
            else:
                yield piece


def write_embeddings(embed: Embed, dimensions: int) -> bytes:
    vector = embedding_base64 if embed.base64 else embedding_json
    rows = [
        b'{"object":"embedding","index":%d,"embedding":%b}' % (index, vector(item, dimensions)) for index, item in enumerate(embed.inputs)
    ]
    usage = ENCODE({"prompt_tokens": embed.prompt_tokens, "total_tokens": embed.prompt_tokens})
    return b'{"object":"list","data":[%b],"model":%b,"usage":%b}' % (b",".join(rows), ENCODE(embed.model), usage)


def write_models(models: Sequence[str], created: int, owner: str, only: str | None) -> bytes:
    """The list of models, or one of them. Raises Rejected if it does not exist."""
    rows = [{"id": model, "object": "model", "created": created, "owned_by": owner} for model in models]
    if only is None:
        return ENCODE({"object": "list", "data": rows})
    if only not in models:
        raise no_such_model(only)
    return ENCODE(rows[list(models).index(only)])


# Errors and headers


def write_error(error: Rejected) -> bytes:
    return ENCODE({"error": {"message": error.message, "type": error.type, "param": error.param, "code": error.code}})


def write_error_event(error: Rejected) -> bytes:
    return b"data: " + write_error(error) + b"\n\n"


def rejected_by_limit(refused: Refused, model: str, retry_after: str) -> Rejected:
    verb = "Request too large for" if refused.retry_after is None and refused.scope != "concurrency" else "Rate limit reached for"
    message = f"{verb} {model} in organization org-simulated {refused.message}"
    headers = retry_headers(refused.retry_after, retry_after)
    return Rejected(429, message, type=refused.unit, code="rate_limit_exceeded", headers=headers)


def retry_headers(seconds: float | None, style: str) -> list[tuple[str, str]]:
    """`Retry-After` in whole seconds and, with style "both", `retry-after-ms`; rounded up, so that waiting that long suffices."""
    if seconds is None or style == "none":
        return []
    headers = [("retry-after", str(math.ceil(seconds - 1e-6)))]
    if style == "both":
        headers.append(("retry-after-ms", str(math.ceil(seconds * 1000 - 1e-6))))
    return headers


STATUS_ERRORS: Final[Mapping[int, tuple[str, str | None, str]]] = {
    # status: type, code, message
    400: ("invalid_request_error", None, "The simulator was asked to reject this request."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided: ***."),
    402: ("insufficient_quota", "insufficient_quota", "You exceeded your current quota, please check your plan and billing details."),
    403: ("invalid_request_error", "permission_denied", "You are not allowed to use this model."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached. Please try again later."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    502: ("server_error", None, "Bad gateway."),
    503: ("server_error", "service_unavailable", "The engine is currently overloaded, please try again later."),
    504: ("server_error", None, "The upstream model did not answer in time."),
    529: ("overloaded_error", None, "Overloaded"),
}


def error_for_status(status: int, retry_after: float | None, style: str) -> Rejected:
    """The error that a provider would send with `status`."""
    kind, code, message = STATUS_ERRORS.get(
        status, ("server_error" if status >= 500 else "invalid_request_error", None, f"Status {status}.")
    )
    return Rejected(status, message, type=kind, code=code, headers=retry_headers(retry_after, style))


def limit_headers(enforcer: Enforcer, now: float) -> list[tuple[str, str]]:
    """The state of the per-minute limits after this request."""
    headers: list[tuple[str, str]] = []
    for unit in ("requests", "tokens"):
        view = enforcer.view(now, unit)
        if view is not None:
            headers += _view_headers(unit, view)
    return headers


def _view_headers(unit: str, view: View) -> list[tuple[str, str]]:
    return [
        (f"x-ratelimit-limit-{unit}", str(view.limit)),
        (f"x-ratelimit-remaining-{unit}", str(view.remaining)),
        (f"x-ratelimit-reset-{unit}", go_duration(view.reset)),
    ]
