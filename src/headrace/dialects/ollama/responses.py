"""Responses, usage and embeddings between Ollama's own API and the hub."""

from __future__ import annotations

import datetime
import re
from collections.abc import Mapping
from typing import Final

from headrace.dialects.base import Target
from headrace.dialects.call_ids import Turn
from headrace.dialects.fields import count, items, merged, obj, rest
from headrace.dialects.ollama.messages import read_assistant, write_assistant
from headrace.dialects.ollama.requests import checked_texts, foreign_extra, posted
from headrace.dialects.vectors import PACKED, vector
from headrace.types import ChatResponse, Choice, Embedding, EmbeddingRequest, EmbeddingResponse, FinishReason, Json, Message, Usage
from headrace.wire import HttpRequest

FINISHES: Final[Mapping[str, FinishReason]] = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop"}

_WORDS: Final[Mapping[FinishReason, str]] = {"length": "length"}

COUNTS: Final = {"prompt_eval_count": "input", "eval_count": "output"}

_RESPONSE: Final = frozenset({"model", "message", "done", "done_reason", "logprobs", *COUNTS})


def read_response(body: Mapping[str, Json]) -> ChatResponse:
    """Raises BadRequestError for a body that is not an Ollama response."""
    stamp = body.get("created_at")
    message = read_assistant(obj(body.get("message"), "message"), "message", Turn(stamp if isinstance(stamp, str) else ""))
    word = body.get("done_reason")
    finish = finish_of(word, called=bool(message.tool_calls))
    choice = Choice(
        index=0,
        message=message,
        finish=finish,
        native_finish=own_word(word, finish),
        logprobs=read_logprobs(body.get("logprobs")),
        extra={"done_reason": word} if finish == "other" else {},
    )
    return ChatResponse(
        id=id_of(stamp),
        model=_text(body.get("model")),
        created=epoch(stamp),
        choices=(choice,),
        usage=read_usage(body),
        extra={**rest(body, _RESPONSE), **kept_counts(body)},
    )


def finish_of(word: Json, *, called: bool) -> FinishReason:
    """The finish reason. Ollama sends `stop` for tool calls too; older versions send none."""
    if called and word in ("stop", None, ""):
        return "tool_calls"
    return "stop" if not word else FINISHES.get(word, "other") if isinstance(word, str) else "other"


def own_word(word: Json, finish: FinishReason) -> str | None:
    """Ollama's reason if it is not the usual one for `finish`; "" if it sent none."""
    return (word if isinstance(word, str) else "") if word != finish_word(finish, None) else None


def finish_word(finish: FinishReason | None, native: str | None) -> str | None:
    if native == "":
        return None
    return native if native in FINISHES else _WORDS.get(finish or "stop", "stop")


def _text(value: Json) -> str:
    return value if isinstance(value, str) else ""


def id_of(stamp: Json) -> str:
    """A response's id, made from its timestamp in nanoseconds because Ollama has no ids; "" without one."""
    return f"ollama-{stamp}" if isinstance(stamp, str) and stamp else ""


_FINE: Final = re.compile(r"(\.\d{6})\d+")


def epoch(stamp: Json) -> int:
    """Epoch seconds of an RFC 3339 timestamp, 0 for anything else. Nanoseconds are cut off because Python cannot parse them."""
    try:
        return int(datetime.datetime.fromisoformat(_FINE.sub(r"\1", stamp)).timestamp()) if isinstance(stamp, str) else 0
    except (ValueError, OverflowError):
        return 0


def moment(created: int) -> str:
    return datetime.datetime.fromtimestamp(min(created, 253402300799), datetime.UTC).isoformat().replace("+00:00", "Z")


def read_usage(body: Mapping[str, Json]) -> Usage | None:
    """Token counts. `prompt_eval_count` may be missing if the prompt was cached."""
    if not any(name in body for name in COUNTS):
        return None
    given, written = (count(body.get(name)) for name in COUNTS)
    return Usage(input=given, output=written, total=given + written)


def kept_counts(body: Mapping[str, Json]) -> dict[str, Json]:
    return {name: body[name] for name in COUNTS if name in body and not count(body[name])}


def write_usage(usage: Usage | None) -> dict[str, Json]:
    return {} if usage is None else {name: count for name, ours in COUNTS.items() if (count := getattr(usage, ours))}


def write_response(response: ChatResponse) -> dict[str, Json]:
    """The response, from the first choice: Ollama has only one."""
    choice = response.choices[0] if response.choices else Choice(index=0, message=Message(role="assistant"), finish="stop")
    said: dict[str, Json] = {
        "model": response.model or None,
        "message": write_assistant(choice.message, "message", foreign=False),
        "done_reason": choice.extra.get("done_reason") or finish_word(choice.finish, choice.native_finish),
        "logprobs": (choice.logprobs or {}).get("content") or None,
        **write_usage(response.usage),
    }
    return merged({"model": "", "created_at": moment(response.created), "done": True}, response.extra, said)


def read_logprobs(value: Json) -> Json:
    """Log probabilities, which have OpenAI's format already; None if there are none."""
    return {"content": value} if isinstance(value, list) and value else None


# ---- embeddings --------------------------------------------------------------------------------------------------------------------


def write_embedding_request(request: EmbeddingRequest, target: Target) -> HttpRequest:
    """Raises BadRequestError for token ids."""
    body = {"model": target.model, "input": checked_texts(request.input), **foreign_extra(request.extra)}
    return posted(target, "/api/embed", body if request.dimensions is None else {**body, "dimensions": request.dimensions})


def read_embedding_response(body: Mapping[str, Json], request: EmbeddingRequest) -> EmbeddingResponse:
    """Raises BadRequestError for a body without embeddings. Their values are base64 if the caller asked for it."""
    found = items(body.get("embeddings"), "embeddings") or items(body.get("embedding") and [body["embedding"]], "embedding")
    packed = request.encoding_format == PACKED
    known = frozenset({"model", "embeddings", "embedding", *COUNTS})
    return EmbeddingResponse(
        model=_text(body.get("model")) or request.model,
        data=tuple([
            Embedding(index=index, values=vector(values, f"embeddings[{index}]", packed=packed)) for index, values in enumerate(found)
        ]),
        usage=read_usage(body),
        extra={name: value for name, value in body.items() if name not in known},
    )  # fmt: skip
